/*
 * PyTorch's basic MNIST example, data-parallel, in C. Alone it trains on one rank; started by a launcher it
 * is one rank of many, and each sees its share of every epoch:
 *
 *     cc mnist.c $(pkg-config --cflags --libs tandem) -o mnist
 *     ./mnist
 *     tandem run -n 2 -- ./mnist
 *     mpirun -np 2 ./mnist
 *
 * Arguments: [EPOCHS [STEPS]], STEPS being the most of an epoch.
 */
#include <stdio.h>
#include <stdlib.h>
#include <tandem/base/context.h>
#include <tandem/dist/group.h>
#include <tandem/dist/job.h>
#include <tandem/model/autograd/autograd.h>
#include <tandem/model/nn/layers.h>
#include <tandem/model/ops/ops.h>
#include <tandem/model/optim/optimizer.h>
#include <tandem/model/parallel/ddp.h>
#include <tandem/model/tensor/scope.h>
#include <tandem/sampler/loader.h>
#include <tandem/sampler/mnist.h>

enum { BATCH = 32, TEST_BATCH = 64 }; /* of each rank */

static int rank, world_size;

/* Say what went wrong and leave; the other ranks notice. */
static void check(td_status status) {
    if (status >= 0) return;
    fprintf(stderr, "rank %d: %s\n", rank, td_error_last()->text);
    exit(1);
}

/* --- the network ---------------------------------------------------------------------------------- */

static td_status build_net(td_module *net, const void *options) {
    (void)options;
    TD_TRY(td_add_conv2d(net, "conv1", 1, 32, {3, 3}));
    TD_TRY(td_add_conv2d(net, "conv2", 32, 64, {3, 3}));
    TD_TRY(td_add_dropout(net, "dropout1", 0.25));
    TD_TRY(td_add_dropout(net, "dropout2", 0.5));
    TD_TRY(td_add_linear(net, "fc1", 9216, 128));
    return td_add_linear(net, "fc2", 128, 10);
}

static td_tensor *run_layer(td_module *net, const char *name, td_tensor *x) {
    return td_module_forward(td_module_child(net, name), x);
}

static td_tensor *forward_net(td_module *net, td_tensor *x) {
    x = td_relu(run_layer(net, "conv1", x));
    x = td_relu(run_layer(net, "conv2", x));
    x = run_layer(net, "dropout1", td_max_pool2d(x, {2, 2}));
    x = td_relu(run_layer(net, "fc1", td_flatten(x, 1)));
    x = run_layer(net, "fc2", run_layer(net, "dropout2", x));
    return td_log_softmax(x, 1);
}

static const td_module_class net_class = {.name = "Net", .build = build_net, .forward = forward_net};

/* --- one epoch of training, one of testing --------------------------------------------------------- */

static td_tensor *images(const td_batch *batch) {
    return td_tensor_from(batch->inputs, TD_DTYPE_F32, TD_INTS(batch->count, 1, 28, 28));
}
static td_tensor *labels(const td_batch *batch) {
    return td_tensor_from(batch->labels, TD_DTYPE_I64, TD_INTS(batch->count));
}

static void train(td_context *context, td_module *net, td_ddp *ddp, td_optimizer *optimizer,
                  td_loader *loader, int epoch, long most_steps) {
    td_batch batch;
    td_module_train(net);
    check(td_loader_start(loader, 0));
    for (long step = 0; step < most_steps; step++) {
        check(td_loader_next(loader, &batch));
        if (batch.count == TD_SAMPLER_END) break;
        double value = 0;
        td_optimizer_zero_grad(optimizer);
        check(td_ddp_begin(ddp, batch.count));
        td_scope *scope = td_scope_open(context);
        td_tensor *loss = td_nll_loss(td_module_forward(net, images(&batch)), labels(&batch));
        td_backward(loss);
        td_tensor_item(loss, &value);
        check(td_scope_close(scope));
        check(td_optimizer_step(optimizer));
        if (step % 100 == 0 && rank == 0) printf("epoch %d  step %ld  loss %.6f\n", epoch, step, value);
    }
}

static void test(td_context *context, td_module *net, td_group *group, td_loader *loader) {
    int64_t sums[2] = {0, 0}; /* correct, samples */
    td_batch batch;
    td_module_eval(net);
    td_no_grad_begin();
    check(td_loader_start(loader, 0));
    for (;;) {
        check(td_loader_next(loader, &batch));
        if (batch.count == TD_SAMPLER_END) break;
        if (batch.count == 0) continue; /* the last batch may have nothing for this rank */
        int64_t correct = 0;
        td_scope *scope = td_scope_open(context);
        td_tensor *guess = td_argmax(td_module_forward(net, images(&batch)), 1);
        td_tensor_item_i64(td_sum(td_eq(guess, labels(&batch))), &correct);
        check(td_scope_close(scope));
        sums[0] += correct;
        sums[1] += batch.count;
    }
    td_no_grad_end();
    td_device cpu = {TD_DEVICE_CPU, 0};
    check(td_group_all_reduce(group, sums, 2, TD_DTYPE_I64, TD_REDUCE_SUM, cpu, NULL, NULL));
    if (rank == 0)
        printf("test accuracy %.2f %% (%lld of %lld)\n", 100.0 * (double)sums[0] / (double)sums[1],
               (long long)sums[0], (long long)sums[1]);
}

int main(int argc, char **argv) {
    int epochs = argc > 1 ? atoi(argv[1]) : 1;
    long most_steps = argc > 2 ? atol(argv[2]) : 1000000;

    td_job *job;
    td_group *group;
    check(td_job_open(&job));
    check(td_group_open(job, NULL, &group));
    rank = td_group_rank(group);
    world_size = td_group_size(group);

    td_context *context;
    td_module *net;
    td_ddp *ddp;
    td_state_dict parameters = {0};
    td_optimizer *optimizer;
    check(td_context_open(&context));
    check(td_manual_seed(1));
    check(td_module_open(&net_class, NULL, &net));
    check(td_ddp_open(net, group, NULL, &ddp));
    check(td_module_parameters(net, &parameters));
    check(td_adam_open(&parameters, NULL, &optimizer));

    td_dataset *train_set, *test_set;
    td_sampler *train_order, *test_order;
    td_loader *train_loader, *test_loader;
    td_distributed_options share = {
        .batch_size = BATCH, .world_size = world_size, .rank = rank, .shuffle = true};
    td_global_batch_options once = {
        .global_batch_size = (int64_t)TEST_BATCH * world_size, .world_size = world_size, .rank = rank};
    check(td_mnist_open("mnist", true, &train_set));
    check(td_mnist_open("mnist", false, &test_set));
    check(td_sampler_distributed(td_dataset_count(train_set), &share, &train_order));
    check(td_sampler_global_batch(td_dataset_count(test_set), &once, &test_order));
    check(td_loader_open(train_set, train_order, NULL, &train_loader));
    check(td_loader_open(test_set, test_order, NULL, &test_loader));

    for (int epoch = 0; epoch < epochs; epoch++) {
        td_sampler_set_epoch(train_order, (uint64_t)epoch);
        train(context, net, ddp, optimizer, train_loader, epoch, most_steps);
        test(context, net, group, test_loader);
    }

    td_loader_close(&test_loader);
    td_loader_close(&train_loader);
    td_sampler_close(&test_order);
    td_sampler_close(&train_order);
    td_dataset_close(&test_set);
    td_dataset_close(&train_set);
    td_state_dict_clear(&parameters);
    td_optimizer_close(&optimizer);
    td_ddp_close(&ddp);
    td_module_close(&net);
    td_context_close(&context);
    td_group_close(&group);
    td_job_close(&job);
    return 0;
}
