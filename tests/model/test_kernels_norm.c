/* Batch normalisation: our own kernels against the plain ones, for every layout they may be given. */
#include "support/check.h"
#include "support/kernels.h"

#include <stdio.h>

static const struct norm_case {
    int ndim;
    int64_t sizes[5];
    const char *x_layout, *g_layout, *y_layout;
} cases[] = {
    {4, {3, 64, 9, 11}, "last", "last", "last"},
    {4, {2, 17, 7, 5}, "last", "row", "last"},
    {4, {2, 5, 8, 3}, "row", "last", "last"},
    {4, {3, 33, 4, 4}, "lastpad", "last", "lastpad"},
    {4, {2, 16, 30, 40}, "last", "last", "last"},
    {2, {300, 37}, "row", "row", "row"},
    {2, {65, 8}, "gap", "padded", "flip"},
    {3, {5, 19, 23}, "row", "row", "row"},
    {5, {2, 3, 4, 5, 2}, "row", "flip", "padded"},
    {4, {1, 1, 1, 1}, "row", "row", "row"},
    {2, {1, 40}, "row", "row", "row"},
};

static char what[128];

static kernels_case make(td_op op, const void *args, guarded *out, guarded *second) {
    return (kernels_case){op,
                          cpu_reference_norm,
                          cpu_native_norm,
                          args,
                          {out, second},
                          second ? 2 : 1,
                          NEAR_ROUNDED,
                          2e-5,
                          false,
                          false};
}

START_TEST(kernels_match_the_plain_ones) {
    const struct norm_case *s = &cases[_i];
    td_context *context = kernels_open();
    const int64_t channels[] = {s->sizes[1]}, pairs[] = {2, s->sizes[1]};
    guarded x, g, y, w, b, running, statistics, sums;
    guarded_make(&x, TD_DTYPE_F32, s->ndim, s->sizes, s->x_layout);
    guarded_make(&g, TD_DTYPE_F32, s->ndim, s->sizes, s->g_layout);
    guarded_make(&y, TD_DTYPE_F32, s->ndim, s->sizes, s->y_layout);
    guarded_make(&w, TD_DTYPE_F32, 1, channels, "row");
    guarded_make(&b, TD_DTYPE_F32, 1, channels, "gap");
    guarded_make(&running, TD_DTYPE_F32, 1, channels, "gap");
    guarded_make(&statistics, TD_DTYPE_F32, 2, pairs, "padded");
    guarded_make(&sums, TD_DTYPE_F32, 2, pairs, "row");
    for (int64_t c = 0; c < channels[0]; c++) guarded_set(&running, c, 0.5 + guarded_at(&running, c) / 4);
    snprintf(what, sizeof what, "normalisation %d", _i);
    td_batch_norm_forward_args forward = {
        .input = &x.tensor, .weight = &w.tensor, .bias = &b.tensor, .eps = 0.1};
    kernels_case c = make(TD_OP_BATCH_NORM_FORWARD, &forward, &y, &statistics);
    forward.training = true;
    kernels_compare(context, &c, what);
    forward.training = false;
    forward.weight = forward.bias = NULL;
    forward.running_mean = forward.running_var = &running.tensor;
    kernels_compare(context, &c, what);
    const td_batch_norm_statistics_args collect = {.input = &x.tensor};
    c = make(TD_OP_BATCH_NORM_STATISTICS, &collect, &statistics, NULL);
    kernels_compare(context, &c, what);
    const td_batch_norm_backward_sums_args add = {&g.tensor, &x.tensor, &statistics.tensor, 0.1};
    c = make(TD_OP_BATCH_NORM_BACKWARD_SUMS, &add, &sums, NULL);
    kernels_compare(context, &c, what);
    td_batch_norm_backward_input_args back = {&g.tensor,    &x.tensor, &w.tensor, &statistics.tensor,
                                              &sums.tensor, 100,       0.1};
    c = make(TD_OP_BATCH_NORM_BACKWARD_INPUT, &back, &y, NULL);
    kernels_compare(context, &c, what);
    back.weight = back.sums = NULL;
    kernels_compare(context, &c, what);
    kernels_close(context);
    guarded_free(&x), guarded_free(&g), guarded_free(&y), guarded_free(&w), guarded_free(&b);
    guarded_free(&running), guarded_free(&statistics), guarded_free(&sums);
}
END_TEST

/* Values far from 0 with little spread: sums of squares would lose the variance. */
START_TEST(a_small_variance_around_a_large_mean_is_kept) {
    td_context *context = kernels_open();
    guarded x, statistics;
    guarded_make(&x, TD_DTYPE_F32, 2, (int64_t[]){4096, 20}, "row");
    guarded_make(&statistics, TD_DTYPE_F32, 2, (int64_t[]){2, 20}, "row");
    for (int64_t i = 0; i < x.tensor.count; i++) guarded_set(&x, i, 1e6 + (double)(i / 20 % 2));
    const td_batch_norm_statistics_args args = {.input = &x.tensor};
    ck_ok(kernels_find(cpu_native_norm, TD_OP_BATCH_NORM_STATISTICS)(
        context, &args, (td_tensor *const[]){&statistics.tensor}));
    for (int c = 0; c < 20; c++) ck_assert_double_eq_tol(guarded_at(&statistics, 20 + c), 0.25, 1e-6);
    kernels_close(context);
    guarded_free(&x), guarded_free(&statistics);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("kernels_norm");
    TCase *tcase = tcase_create("norm");
    tcase_add_loop_test(tcase, kernels_match_the_plain_ones, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, a_small_variance_around_a_large_mean_is_kept);
    suite_add_tcase(suite, tcase);
    return suite;
}
