/*
 * SyncBatchNorm against BatchNorm on the whole batch, ranks being threads: outputs, gradients of input, weight
 * and bias, running statistics; even and uneven shares, a rank without samples; and under DDP.
 */
#include "base/context.h"
#include "base/parallel.h"
#include "dist/ranks.h"
#include "model/autograd/autograd.h"
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/parallel/ddp.h"
#include "model/parallel/sync_batch_norm.h"
#include "model/tensor/scope.h"
#include "support/check.h"

#include <math.h>

enum { SAMPLES = 12, CHANNELS = 5, HIGH = 3, WIDE = 2, SAMPLE = CHANNELS * HIGH * WIDE, STEPS = 3 };

/* Where each rank's samples begin; the last entry is where they end. */
static const struct shares {
    int world, begin[5];
} shares[] = {
    {1, {0, 12}},    {2, {0, 6, 12}},    {3, {0, 4, 8, 12}},    {4, {0, 3, 6, 9, 12}},
    {2, {0, 1, 12}}, {3, {0, 5, 5, 12}}, {4, {0, 0, 1, 2, 12}}, {2, {0, 12, 12}},
};

/* What a run leaves: of every sample in the last step, and of the layer after it. */
typedef struct results {
    float y[SAMPLES * SAMPLE], dx[SAMPLES * SAMPLE];
    float dw[4][CHANNELS], db[4][CHANNELS]; /* each rank's own */
    float mean[4][CHANNELS], var[4][CHANNELS], y_eval[SAMPLES * SAMPLE];
} results;

typedef struct scenario {
    const struct shares *shares;
    results *got;
    bool cumulative;
} scenario;

static float input_at(int i) { return sinf((float)(i * i % 89)) * 2 + (float)(i / SAMPLE % 3); }
static float weight_at(int i) { return cosf((float)(i % 61)); }

/* Samples begin to end of a fixed set, another one for each step. */
static td_tensor *samples(int begin, int end, int step, float (*at)(int)) {
    float x[SAMPLES * SAMPLE];
    for (int i = 0; i < SAMPLES * SAMPLE; i++) x[i] = at(i + 7 * step);
    return td_tensor_from(x + begin * SAMPLE, TD_DTYPE_F32, TD_INTS(end - begin, CHANNELS, HIGH, WIDE));
}

static void copy(const td_tensor *x, float *to, size_t count) {
    ck_ok(td_tensor_copy_to(x, to, count * sizeof *to));
}

static void train(td_module *net, const scenario *s, int rank) {
    int begin = s->shares->begin[rank], end = s->shares->begin[rank + 1];
    size_t count = (size_t)(end - begin) * SAMPLE;
    results *got = s->got;
    for (int step = 0; step < STEPS; step++) {
        td_scope *scope = td_scope_open(td_context_current());
        td_module_zero_grad(net);
        td_tensor *x = samples(begin, end, step, input_at);
        ck_ok(td_tensor_set_requires_grad(x, true));
        td_tensor *y = td_module_forward(net, x);
        ck_ok(td_backward(td_sum(td_mul(y, samples(begin, end, step, weight_at)))));
        copy(y, got->y + begin * SAMPLE, count);
        copy(td_tensor_grad(x), got->dx + begin * SAMPLE, count);
        ck_ok(td_scope_close(scope));
    }
    copy(td_tensor_grad(td_module_parameter(net, "weight")), got->dw[rank], CHANNELS);
    copy(td_tensor_grad(td_module_parameter(net, "bias")), got->db[rank], CHANNELS);
    copy(td_module_buffer(net, "running_mean"), got->mean[rank], CHANNELS);
    copy(td_module_buffer(net, "running_var"), got->var[rank], CHANNELS);
    td_module_eval(net);
    td_scope *scope = td_scope_open(td_context_current());
    copy(td_module_forward(net, samples(begin, end, 0, input_at)), got->y_eval + begin * SAMPLE, count);
    ck_ok(td_scope_close(scope));
}

static td_module *open_layer(bool cumulative) {
    td_module *net;
    td_nn_batch_norm_options o = {CHANNELS, TD_NN_BATCH_NORM_DEFAULTS};
    if (cumulative) o.momentum = TD_NN_CUMULATIVE;
    ck_ok(td_module_open(&td_nn_batch_norm2d, &o, &net));
    for (int c = 0; c < CHANNELS; c++)
        ((float *)td_tensor_data(td_module_parameter(net, "weight")))[c] = 0.5f + 0.25f * (float)c;
    return net;
}

static void run_rank(td_job *job, void *cookie) {
    const scenario *s = cookie;
    td_context *context;
    td_group *group;
    ck_ok(td_context_open(&context));
    ck_ok(td_parallel_set_threads(1));
    ck_ok(td_group_open(job, NULL, &group));
    td_module *net = open_layer(s->cumulative);
    td_sync_batch_norm_convert(net, group);
    train(net, s, td_job_rank(job));
    td_module_close(&net);
    td_group_close(&group);
    td_context_close(&context);
}

/* One rank with plain BatchNorm and all samples. */
static void run_whole(td_job *job, void *cookie) {
    (void)job;
    const scenario *s = cookie;
    td_context *context;
    ck_ok(td_context_open(&context));
    td_module *net = open_layer(s->cumulative);
    train(net, s, 0);
    td_module_close(&net);
    td_context_close(&context);
}

static void agree(const float *got, const float *wanted, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(got[i] - wanted[i]) <= 2e-5f * fmaxf(1, fabsf(wanted[i]))))
            ck_abort_msg("shares %s: element %zu is %.9g, not %.9g", what, i, (double)got[i],
                         (double)wanted[i]);
}

static void compare(int number, bool cumulative) {
    static results whole, got;
    static const struct shares all = {1, {0, SAMPLES}};
    memset(&got, 0, sizeof got);
    run_threads(1, run_whole, &(scenario){&all, &whole, cumulative});
    run_threads(shares[number].world, run_rank, &(scenario){&shares[number], &got, cumulative});
    agree(got.y, whole.y, SAMPLES * SAMPLE, "y");
    agree(got.dx, whole.dx, SAMPLES * SAMPLE, "dx");
    agree(got.y_eval, whole.y_eval, SAMPLES * SAMPLE, "y in evaluation");
    for (int rank = 0; rank < shares[number].world; rank++) {
        agree(got.mean[rank], whole.mean[0], CHANNELS, "running_mean");
        agree(got.var[rank], whole.var[0], CHANNELS, "running_var");
        ck_assert_mem_eq(got.mean[rank], got.mean[0], sizeof got.mean[0]);
        ck_assert_mem_eq(got.var[rank], got.var[0], sizeof got.var[0]);
        for (int c = 0; rank && c < CHANNELS; c++)
            got.dw[0][c] += got.dw[rank][c], got.db[0][c] += got.db[rank][c];
    }
    agree(got.dw[0], whole.dw[0], CHANNELS, "the sum of the weight's gradients");
    agree(got.db[0], whole.db[0], CHANNELS, "the sum of the bias's gradients");
}

START_TEST(all_is_as_on_the_whole_batch) { compare(_i, false); }
END_TEST

START_TEST(cumulative_averages_are_too) { compare(3, true); }
END_TEST

/* --- within a network, under DDP ---------------------------------------------------------------------- */

static td_status build_net(td_module *net, const void *options) {
    (void)options;
    TD_TRY(td_add_conv2d(net, "conv", CHANNELS, 8, {2, 2}));
    TD_TRY(td_add_batch_norm2d(net, "norm", 8));
    TD_TRY(td_add_linear(net, "fc", 8 * 2, 3));
    return td_add_batch_norm1d(net, "norm2", 3, .affine = false);
}

static td_tensor *forward_net(td_module *net, td_tensor *x) {
    x = td_module_forward(td_module_child(net, "norm"), td_module_forward(td_module_child(net, "conv"), x));
    x = td_module_forward(td_module_child(net, "fc"), td_flatten(td_relu(x), 1));
    return td_module_forward(td_module_child(net, "norm2"), x);
}

static const td_module_class net_class = {.name = "Net", .build = build_net, .forward = forward_net};

enum { PARAMETERS = CHANNELS * 8 * 4 + 8 + 16 + 48 + 3 };

typedef struct ddp_scenario {
    const struct shares *shares;
    float grads[4][PARAMETERS];
} ddp_scenario;

static void run_ddp(td_job *job, void *cookie) {
    ddp_scenario *s = cookie;
    int rank = td_job_rank(job), begin = s->shares->begin[rank], end = s->shares->begin[rank + 1];
    td_context *context;
    td_group *group;
    td_module *net;
    td_ddp *ddp;
    ck_ok(td_context_open(&context));
    ck_ok(td_parallel_set_threads(1));
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_manual_seed(1));
    ck_ok(td_module_open(&net_class, NULL, &net));
    ck_ok(td_ddp_open(net, group, &(td_ddp_options){.bucket_cap_mb = 1 * 0x1p-20}, &ddp));
    td_sync_batch_norm_convert(net, group);
    td_scope *scope = td_scope_open(context);
    ck_ok(td_ddp_begin(ddp, end - begin));
    td_tensor *y = td_module_forward(net, samples(begin, end, 0, input_at));
    td_tensor *g = samples(begin, end, 0, weight_at);
    y = td_mul(y, td_narrow(td_flatten(g, 1), 1, 0, 3));
    ck_ok(td_backward(td_div_scalar(td_sum(y), td_num(end > begin ? (double)(end - begin) : 1.0))));
    td_state_dict parameters = {0};
    ck_ok(td_module_parameters(net, &parameters));
    float *to = s->grads[rank];
    for (size_t i = 0; i < parameters.count; i++) {
        size_t count = (size_t)td_tensor_count(parameters.at[i].tensor);
        copy(td_tensor_grad(parameters.at[i].tensor), to, count);
        to += count;
    }
    ck_assert_ptr_eq(to, s->grads[rank] + PARAMETERS);
    td_state_dict_clear(&parameters);
    ck_ok(td_scope_close(scope));
    td_ddp_close(&ddp);
    td_module_close(&net);
    td_group_close(&group);
    td_context_close(&context);
}

START_TEST(gradients_under_ddp_are_those_of_one_rank) {
    static ddp_scenario one, many;
    one.shares = &shares[0];
    many.shares = &shares[_i];
    run_threads(1, run_ddp, &one);
    run_threads(many.shares->world, run_ddp, &many);
    agree(many.grads[0], one.grads[0], PARAMETERS, "gradients");
    for (int rank = 1; rank < many.shares->world; rank++)
        ck_assert_mem_eq(many.grads[rank], many.grads[0], sizeof many.grads[0]);
}
END_TEST

/* --- what it refuses, and the way back ---------------------------------------------------------------- */

static void run_edges(td_job *job, void *cookie) {
    (void)cookie;
    td_context *context;
    td_group *group;
    ck_ok(td_context_open(&context));
    ck_ok(td_group_open(job, NULL, &group));
    td_module *net = open_layer(false);
    td_sync_batch_norm_convert(net, group);
    td_scope *scope = td_scope_open(context);
    td_tensor *x = samples(0, 2, 0, input_at), *grad = NULL;
    ck_ok(td_tensor_set_requires_grad(x, true));
    td_tensor *y = td_sum(td_module_forward(net, x));
    td_scope *inner = td_scope_open(context);
    ck_fails(td_grad(y, (td_tensor *[]){x}, 1, &grad, .create_graph = true), TD_ERR_UNSUPPORTED, "second");
    td_scope_close(inner);
    td_scope_close(scope);
    scope = td_scope_open(context);
    td_no_grad_begin();
    ck_assert(!td_tensor_requires_grad(td_module_forward(net, samples(0, 2, 0, input_at))));
    td_no_grad_end();
    td_sync_batch_norm_convert(net, NULL);
    if (td_job_rank(job) == 0) /* alone, and no other rank is waited for */
        ck_assert_ptr_nonnull(td_module_forward(net, samples(0, 2, 0, input_at)));
    ck_ok(td_scope_close(scope));
    td_module_close(&net);
    td_group_close(&group);
    td_context_close(&context);
}

START_TEST(second_derivatives_are_refused_and_it_can_be_undone) { run_threads(2, run_edges, NULL); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("sync_batch_norm");
    TCase *tcase = tcase_create("sync_batch_norm");
    tcase_add_loop_test(tcase, all_is_as_on_the_whole_batch, 0, (int)(sizeof shares / sizeof *shares));
    tcase_add_test(tcase, cumulative_averages_are_too);
    tcase_add_loop_test(tcase, gradients_under_ddp_are_those_of_one_rank, 1,
                        (int)(sizeof shares / sizeof *shares));
    tcase_add_test(tcase, second_derivatives_are_refused_and_it_can_be_undone);
    suite_add_tcase(suite, tcase);
    return suite;
}
