/*
 * Communication hooks, ranks being threads: what a hook is given, that the ready-made ones give the job's mean,
 * and that error feedback loses nothing in the long run.
 */
#include "base/context.h"
#include "base/parallel.h"
#include "dist/ranks.h"
#include "model/autograd/autograd.h"
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/parallel/ddp.h"
#include "model/parallel/hooks.h"
#include "model/tensor/scope.h"
#include "support/check.h"

#include <math.h>

enum { IN = 37, OUT = 5, COUNT = OUT * IN + OUT, RANKS = 4, STEPS = 64 };

typedef struct td_rank {
    int rank;
    td_context *context;
    td_group *group;
    td_module *net;
    td_ddp *ddp;
    td_scope *scope;
} td_rank;

static td_rank open_rank(td_job *job, size_t bucket_bytes) {
    td_rank r = {.rank = td_job_rank(job)};
    ck_ok(td_context_open(&r.context));
    ck_ok(td_parallel_set_threads(1));
    ck_ok(td_group_open(job, NULL, &r.group));
    ck_ok(td_module_open(&td_nn_linear, &(td_nn_linear_options){IN, OUT, true}, &r.net));
    ck_ok(td_ddp_open(r.net, r.group, &(td_ddp_options){.bucket_cap_mb = (double)bucket_bytes * 0x1p-20},
                      &r.ddp));
    r.scope = td_scope_open(r.context);
    return r;
}

static void close_rank(td_rank *r) {
    ck_ok(td_scope_close(r->scope));
    td_ddp_close(&r->ddp);
    td_group_close(&r->group);
    td_module_close(&r->net);
    td_context_close(&r->context);
}

/* A loss whose gradients are known: rank r's weights' are factor * (1 + r + i / 100), the bias's 1 + r. */
static float input_at(int rank, int i) { return 1 + (float)rank + (float)i / 100; }

static td_status pass(td_rank *r, float factor) {
    float x[IN];
    for (int i = 0; i < IN; i++) x[i] = factor * input_at(r->rank, i);
    td_tensor *y = td_module_forward(r->net, td_tensor_from(x, TD_DTYPE_F32, TD_INTS(1, IN)));
    return td_backward(td_sum(td_mul_scalar(y, td_num(1.0))));
}

static float weight_grad(const td_rank *r, int i) {
    return ((const float *)td_tensor_data(td_tensor_grad(td_module_parameter(r->net, "weight"))))[i];
}

/* --- what a hook is given ------------------------------------------------------------------------------- */

typedef struct witness {
    int posts, finishes, closes;
    double scale;
    size_t count, buckets;
} witness;

static td_status watch_post(void *cookie, td_group *group, const td_grad_bucket *bucket, td_work **work) {
    witness *w = cookie;
    ck_assert_uint_eq(bucket->index, (size_t)(w->posts % (int)bucket->buckets));
    w->posts++;
    w->scale = bucket->scale;
    w->count = bucket->count;
    w->buckets = bucket->buckets;
    ck_assert_int_eq(bucket->dtype, TD_DTYPE_F32);
    return td_ddp_allreduce_hook.post(NULL, group, bucket, work);
}

static td_status watch_finish(void *cookie, td_group *group, const td_grad_bucket *bucket) {
    (void)group, (void)bucket;
    ((witness *)cookie)->finishes++;
    return TD_OK;
}

static void watch_close(void *cookie, td_group *group) {
    ck_assert_int_eq(td_group_size(group), 2);
    ((witness *)cookie)->closes++;
}

static void run_watched(td_job *job, void *cookie) {
    (void)cookie;
    witness w = {0};
    const td_ddp_hook hook = {"watch", watch_post, watch_finish, watch_close, &w};
    td_rank r = open_rank(job, 1);
    ck_ok(td_ddp_set_hook(r.ddp, &hook));
    ck_fails(td_ddp_set_hook(r.ddp, &hook), TD_ERR_STATE, "has the hook 'watch'");
    ck_ok(td_ddp_begin(r.ddp, 6));
    ck_ok(pass(&r, 1));
    ck_assert_int_eq(w.posts, 0); /* no scale is known yet */
    td_module_zero_grad(r.net);
    ck_ok(td_ddp_begin(r.ddp, 3));
    ck_ok(pass(&r, 1));
    ck_assert_int_eq(w.posts, 2);
    ck_assert_int_eq(w.finishes, 2);
    ck_assert_double_eq(w.scale, 1.0 / 12);
    ck_assert_uint_eq(w.buckets, 2);
    for (int i = 0; i < IN; i++) ck_assert_float_eq_tol(weight_grad(&r, i), 1.5f + (float)i / 100, 1e-6f);
    td_module_zero_grad(r.net);
    ck_ok(pass(&r, 1)); /* without weights */
    ck_assert_double_eq(w.scale, 0.5);
    for (int i = 0; i < IN; i++) ck_assert_float_eq_tol(weight_grad(&r, i), 1.5f + (float)i / 100, 1e-6f);
    ck_assert_int_eq(w.closes, 0);
    close_rank(&r);
    ck_assert_int_eq(w.closes, 1);
}

START_TEST(a_hook_reduces_the_buckets_and_ddp_does_the_rest) { run_threads(2, run_watched, NULL); }
END_TEST

/* --- compression ---------------------------------------------------------------------------------------- */

typedef struct squeeze {
    td_dtype dtype;
    bool feedback, weighted;
    float factor;
    double mean_error; /* of the sum of all steps, relative */
} squeeze;

static void run_squeezed(td_job *job, void *cookie) {
    squeeze *s = cookie;
    int world = td_job_world_size(job);
    td_rank r = open_rank(job, 1);
    ck_ok(td_ddp_compress(r.ddp, s->dtype, s->feedback));
    double sum[OUT * IN] = {0}, worst = 0;
    for (int step = 0; step < STEPS; step++) {
        td_scope *scope = td_scope_open(r.context);
        td_module_zero_grad(r.net);
        if (s->weighted) ck_ok(td_ddp_begin(r.ddp, 500));
        ck_ok(pass(&r, s->factor));
        double eps = s->dtype == TD_DTYPE_F16 ? 0x1p-10 : 0x1p-7;
        for (int i = 0; i < OUT * IN; i++) {
            double mean = s->factor * (1 + (world - 1) / 2.0 + i % IN / 100.0);
            ck_assert_double_eq_tol(weight_grad(&r, i), mean, 2 * eps * mean);
            sum[i] += weight_grad(&r, i);
        }
        ck_ok(td_scope_close(scope));
    }
    for (int i = 0; i < OUT * IN; i++) {
        double mean = s->factor * (1 + (world - 1) / 2.0 + i % IN / 100.0);
        worst = fmax(worst, fabs(sum[i] / STEPS / mean - 1));
    }
    if (r.rank == 0) s->mean_error = worst;
    close_rank(&r);
}

START_TEST(compressed_gradients_are_near_and_with_feedback_right_on_average) {
    static const struct {
        int world;
        td_dtype dtype;
        bool weighted;
        float factor;
    } cases[] = {{2, TD_DTYPE_BF16, false, 1},
                 {3, TD_DTYPE_BF16, true, 1},
                 {2, TD_DTYPE_F16, true, 1},
                 {4, TD_DTYPE_F16, false, 1},
                 {2, TD_DTYPE_F16, true, 999.3f}}; /* times 500 samples: beyond f16 */
    squeeze with = {.dtype = cases[_i].dtype,
                    .feedback = true,
                    .weighted = cases[_i].weighted,
                    .factor = cases[_i].factor},
            without = with;
    without.feedback = false;
    run_threads(cases[_i].world, run_squeezed, &with);
    run_threads(cases[_i].world, run_squeezed, &without);
    /* What is left with feedback is the rounding of the sum on its way, which nobody gives back. */
    ck_assert_msg(with.mean_error < without.mean_error, "case %d: %g with feedback, %g without", _i,
                  with.mean_error, without.mean_error);
}
END_TEST

static void run_refused(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r = open_rank(job, 0);
    ck_fails(td_ddp_compress(r.ddp, TD_DTYPE_F64, false), TD_ERR_ARG, "compression to f64");
    ck_ok(td_ddp_set_hook(r.ddp, &td_ddp_allreduce_hook));
    ck_fails(td_ddp_compress(r.ddp, TD_DTYPE_F16, false), TD_ERR_STATE, "has the hook 'allreduce'");
    ck_ok(pass(&r, 1));
    td_ddp *zero;
    td_module *net;
    ck_ok(td_module_open(&td_nn_linear, &(td_nn_linear_options){IN, OUT, true}, &net));
    ck_ok(td_ddp_open(net, r.group, &(td_ddp_options){.sync = TD_SYNC_ZERO1}, &zero));
    ck_fails(td_ddp_compress(zero, TD_DTYPE_F16, false), TD_ERR_UNSUPPORTED, "zero1 reduces slices");
    td_ddp_close(&zero);
    td_module_close(&net);
    close_rank(&r);
}

START_TEST(there_is_one_hook_and_a_group_of_one_has_no_use_for_it) {
    run_threads(1, run_refused, NULL);
    run_threads(2, run_refused, NULL);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("ddp_hooks");
    TCase *tcase = tcase_create("ddp_hooks");
    tcase_add_test(tcase, a_hook_reduces_the_buckets_and_ddp_does_the_rest);
    tcase_add_loop_test(tcase, compressed_gradients_are_near_and_with_feedback_right_on_average, 0, 5);
    tcase_add_test(tcase, there_is_one_hook_and_a_group_of_one_has_no_use_for_it);
    suite_add_tcase(suite, tcase);
    return suite;
}
