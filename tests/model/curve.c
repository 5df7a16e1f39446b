/*
 * Every rank seeds, builds the model, wraps it, iterates a loader over its share of MNIST, whose base seed is
 * drawn from the same generator as the dropout masks. One compute thread per rank, as in the golden runs.
 */
#include "model/curve.h"

#include "base/context.h"
#include "base/parallel.h"
#include "dist/ranks.h"
#include "model/autograd/autograd.h"
#include "model/ops/ops.h"
#include "model/optim/optimizer.h"
#include "model/parallel/ddp.h"
#include "model/tensor/scope.h"
#include "model/zoo/zoo.h"
#include "sampler/loader.h"
#include "sampler/mnist.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>

enum { MAX_STEPS = 64, MAX_WORLD = 2 };

typedef struct curve {
    const json_t *record;
    const char *model;
    int64_t steps;
    const td_dataset *dataset;
    double losses[MAX_WORLD][MAX_STEPS];
    int64_t checksums[MAX_WORLD]; /* of all final weights */
} curve;

static td_optimizer *open_optimizer(const json_t *record, const td_state_dict *parameters) {
    const json_t *options = json_object_get(record, "options");
    const char *rule = golden_text(record, "optimizer");
    td_optimizer *optimizer = NULL;
    if (!strcmp(rule, "SGD")) {
        td_sgd_options sgd = {TD_SGD_DEFAULTS};
        sgd.lr = golden_real_or(options, "lr", sgd.lr);
        sgd.momentum = golden_real_or(options, "momentum", sgd.momentum);
        sgd.weight_decay = golden_real_or(options, "weight_decay", sgd.weight_decay);
        sgd.nesterov = golden_flag(options, "nesterov");
        ck_ok(td_sgd_open(parameters, &sgd, &optimizer));
    } else {
        td_adam_options adam = {TD_ADAM_DEFAULTS}, adamw = {TD_ADAMW_DEFAULTS};
        adam.lr = adamw.lr = golden_real_or(options, "lr", adam.lr);
        ck_ok(strcmp(rule, "Adam") ? td_adamw_open(parameters, &adamw, &optimizer)
                                   : td_adam_open(parameters, &adam, &optimizer));
    }
    return optimizer;
}

/* One step on one batch; its loss. */
static double train_step(const td_batch *batch, td_module *net, td_ddp *ddp, td_optimizer *optimizer) {
    td_scope *scope = td_scope_open(td_context_current());
    td_optimizer_zero_grad(optimizer);
    ck_ok(td_ddp_begin(ddp, batch->count));
    td_tensor *x = td_tensor_from(batch->inputs, TD_DTYPE_F32, TD_INTS(batch->count, 1, 28, 28));
    td_tensor *y = td_tensor_from(batch->labels, TD_DTYPE_I64, TD_INTS(batch->count));
    td_tensor *loss = td_nll_loss(td_module_forward(net, x), y);
    ck_ok(td_backward(loss));
    ck_ok(td_optimizer_step(optimizer));
    double value;
    ck_ok(td_tensor_item(loss, &value));
    ck_ok(td_scope_close(scope));
    return value;
}

static void train(const curve *c, int rank, int world, td_module *net, td_ddp *ddp, td_optimizer *optimizer,
                  double *losses) {
    td_distributed_options options = TD_DISTRIBUTED_DEFAULTS;
    options.batch_size = golden_int(c->record, "batch_size");
    options.world_size = world;
    options.rank = rank;
    options.seed = golden_seed(c->record);
    td_loader_options loading = TD_LOADER_DEFAULTS;
    loading.generator = td_context_generator(td_context_current());
    td_sampler *sampler;
    td_loader *loader;
    ck_ok(td_sampler_distributed(td_dataset_count(c->dataset), &options, &sampler));
    ck_ok(td_loader_open(c->dataset, sampler, &loading, &loader));
    ck_ok(td_loader_start(loader, 0));
    for (int64_t step = 0; step < c->steps; step++) {
        td_batch batch;
        ck_ok(td_loader_next(loader, &batch));
        ck_assert_int_eq(batch.count, options.batch_size); /* the golden runs end within the first epoch */
        losses[step] = train_step(&batch, net, ddp, optimizer);
    }
    td_loader_close(&loader);
    td_sampler_close(&sampler);
}

/* Append the module's floating buffers. */
static void add_buffers(const td_module *net, td_state_dict *dict) {
    td_state_dict buffers = {0};
    ck_ok(td_module_buffers(net, &buffers));
    for (size_t i = 0; i < buffers.count; i++)
        if (td_tensor_dtype(buffers.at[i].tensor) == TD_DTYPE_F32)
            ck_ok(td_state_dict_add(dict, buffers.at[i].name, buffers.at[i].tensor));
    td_state_dict_clear(&buffers);
}

/* Of rank 0; the others' parameters have the same checksums. */
static void compare_weights(const curve *c, const td_module *net, td_state_dict *parameters) {
    add_buffers(net, parameters);
    const json_t *weights = json_object_get(c->record, "weights");
    ck_assert_uint_eq(json_array_size(weights), parameters->count);
    for (size_t i = 0; i < parameters->count; i++) {
        const json_t *weight = json_array_get(weights, i), *values = json_object_get(weight, "values");
        ck_assert_str_eq(golden_text(weight, "name"), parameters->at[i].name);
        const float *got = td_tensor_data(parameters->at[i].tensor);
        for (size_t v = 0; v < json_array_size(values); v++) {
            double is = got[v * (size_t)golden_int(weight, "stride")];
            double wanted = json_number_value(json_array_get(values, v));
            if (!(fabs(is - wanted) <= 1e-4))
                ck_abort_msg("%s: value %zu of %s is %.9g, not %.9g", golden_text(c->record, "name"), v,
                             parameters->at[i].name, is, wanted);
        }
    }
}

static int64_t checksum(const td_state_dict *parameters) {
    uint64_t sum = 0;
    for (size_t i = 0; i < parameters->count; i++) {
        const td_tensor *x = parameters->at[i].tensor;
        sum = sum * 31 + golden_crc(td_tensor_data(x), (size_t)td_tensor_count(x) * sizeof(float));
    }
    return (int64_t)sum;
}

static void run_rank(td_job *job, void *cookie) {
    curve *c = cookie;
    int rank = td_job_rank(job), world = td_job_world_size(job);
    td_context *context;
    td_group *group;
    td_module *net;
    td_ddp *ddp;
    td_state_dict parameters = {0};
    ck_ok(td_context_open(&context));
    ck_ok(td_parallel_set_threads(1));
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_manual_seed(golden_seed(c->record)));
    ck_ok(td_zoo_open(c->model, &net));
    ck_ok(td_ddp_open(net, group, NULL, &ddp));
    ck_ok(td_module_parameters(net, &parameters));
    td_optimizer *optimizer = open_optimizer(c->record, &parameters);
    train(c, rank, world, net, ddp, optimizer, c->losses[rank]);
    c->checksums[rank] = checksum(&parameters);
    if (rank == 0 && c->steps == golden_int(c->record, "steps")) compare_weights(c, net, &parameters);
    td_optimizer_close(&optimizer);
    td_state_dict_clear(&parameters);
    td_ddp_close(&ddp);
    td_group_close(&group);
    td_module_close(&net);
    td_context_close(&context);
}

static void compare_losses(const curve *c, int world) {
    const json_t *losses = json_object_get(c->record, "losses");
    for (int64_t step = 0; step < c->steps; step++) {
        double mean = 0, wanted = json_number_value(json_array_get(losses, (size_t)step));
        for (int rank = 0; rank < world; rank++) mean += c->losses[rank][step] / world;
        if (!(fabs(mean - wanted) <= 1e-5 * wanted))
            ck_abort_msg("%s, %d ranks: the loss of step %d is %.9g, not %.9g",
                         golden_text(c->record, "name"), world, (int)step, mean, wanted);
    }
    for (int rank = 1; rank < world; rank++) ck_assert_int_eq(c->checksums[rank], c->checksums[0]);
}

void check_curve(const char *file, const char *model, const char *name, int world) {
    curve c;
    json_t *root = golden_load(file), *record;
    td_dataset *dataset;
    size_t i;
    bool found = false;
    ck_ok(td_mnist_open("mnist", true, &dataset));
    json_array_foreach(golden_list(root, "curves"), i, record) {
        if (strcmp(golden_text(record, "name"), name) || golden_int(record, "world") != world) continue;
        found = true;
        c = (curve){
            .record = record, .model = model, .dataset = dataset, .steps = golden_curve_steps(record)};
        ck_assert_int_le(c.steps, MAX_STEPS);
        run_threads(world, run_rank, &c);
        compare_losses(&c, world);
    }
    ck_assert_msg(found, "%s has no curve '%s' for %d ranks", file, name, world);
    td_dataset_close(&dataset);
    json_decref(root);
}
