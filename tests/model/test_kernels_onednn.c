/* oneDNN's plug-in through the public operations: against the plain kernels, its cache, and life without it.
 */
#include "base/log.h"
#include "base/parallel.h"
#include "base/plugin.h"
#include "model/autograd/autograd.h"
#include "model/cpu/internal.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

const char *skip_reason(void) {
    const void *table;
    return td_plugin_load("onednn", &table) < 0 ? "oneDNN's plug-in was not built" : NULL;
}

static td_context *open_with(const char *kernels) {
    td_context *context = NULL;
    setenv("TANDEM_KERNELS", kernels, 1);
    ck_ok(td_context_open(&context));
    ck_ok(td_parallel_set_threads(1));
    td_manual_seed(3);
    return context;
}

static cpu_counters counters(td_context *context) { return td_kernels_of(context)->cpu->counters; }

/* --- against the plain kernels -------------------------------------------------------------------------- */

static const struct conv_case {
    int64_t n, c, h, w, k, window, stride, padding, dilation, groups;
    bool channels_last, transposed; /* of the input; of the weights: a view of (window, window, in, out) */
} convs[] = {
    {2, 6, 9, 9, 10, 3, 1, 1, 1, 1, true, false},     {2, 16, 12, 10, 24, 5, 2, 2, 1, 1, true, false},
    {3, 32, 14, 14, 64, 3, 2, 1, 1, 1, false, false}, {1, 8, 9, 9, 8, 3, 1, 2, 2, 1, true, false},
    {2, 12, 8, 8, 18, 3, 1, 1, 1, 3, true, false},    {2, 16, 7, 7, 16, 3, 1, 1, 1, 16, false, false},
    {4, 33, 6, 6, 20, 1, 1, 0, 1, 1, true, true},
};

/* Output and both gradients of a convolution, as one list of numbers. */
static size_t run_conv(const char *kernels, const struct conv_case *s, int threads, float *numbers) {
    td_context *context = open_with(kernels);
    ck_ok(td_parallel_set_threads(threads));
    td_scope *scope = td_scope_open(context);
    td_tensor *x = td_rand(TD_INTS(s->n, s->c, s->h, s->w));
    if (s->channels_last) x = td_contiguous(x, .memory_format = TD_MEMORY_FORMAT_CHANNELS_LAST);
    td_tensor *w = td_randn(TD_INTS(s->k, s->c / s->groups, s->window, s->window));
    if (s->transposed) w = td_permute(td_contiguous(td_permute(w, TD_INTS(2, 3, 1, 0))), TD_INTS(3, 2, 0, 1));
    x = td_detach(x), w = td_detach(w);
    ck_ok(td_tensor_set_requires_grad(x, true));
    ck_ok(td_tensor_set_requires_grad(w, true));
    td_tensor *b = td_rand(TD_INTS(s->k));
    td_tensor *y = td_conv2d(x, w, b, .stride = {s->stride, s->stride}, .padding = {s->padding, s->padding},
                             .dilation = {s->dilation, s->dilation}, .groups = s->groups);
    ck_ok(td_backward(td_sum(td_mul(y, y))));
    td_tensor *const all[] = {y, td_tensor_grad(x), td_tensor_grad(w)};
    size_t count = 0;
    for (int i = 0; i < 3; i++) {
        ck_ok(td_tensor_copy_to(all[i], numbers + count, (size_t)td_tensor_count(all[i]) * sizeof *numbers));
        count += (size_t)td_tensor_count(all[i]);
    }
    ck_ok(td_scope_close(scope));
    if (strcmp(kernels, "auto") == 0) ck_assert_uint_gt(counters(context).primitives_made, 0);
    td_context_close(&context);
    return count;
}

START_TEST(convolutions_match_the_plain_ones) {
    static float plain[1 << 17], fast[1 << 17];
    const size_t count = run_conv("reference", &convs[_i], 1, plain);
    for (int threads = 1; threads <= 2; threads++) {
        ck_assert_uint_eq(run_conv("auto", &convs[_i], threads, fast), count);
        double worst = 0, largest = 0;
        for (size_t i = 0; i < count; i++) {
            worst = fmax(worst, fabs((double)(fast[i] - plain[i])));
            largest = fmax(largest, fabs((double)plain[i]));
        }
        ck_assert_msg(worst < 2e-6 * largest, "case %d, %d threads: off by %g of %g", _i, threads, worst,
                      largest);
    }
}
END_TEST

static const struct product_case {
    int64_t rows, depth, cols;
    bool a_transposed, b_transposed;
} products[] = {{100, 120, 90, false, false},
                {65, 300, 70, true, false},
                {80, 66, 200, false, true},
                {70, 70, 70, true, true}};

static void run_product(const char *kernels, const struct product_case *s, float *numbers) {
    td_context *context = open_with(kernels);
    td_scope *scope = td_scope_open(context);
    td_tensor *a =
        s->a_transposed ? td_t(td_rand(TD_INTS(s->depth, s->rows))) : td_rand(TD_INTS(s->rows, s->depth));
    td_tensor *b =
        s->b_transposed ? td_t(td_rand(TD_INTS(s->cols, s->depth))) : td_rand(TD_INTS(s->depth, s->cols));
    td_tensor *list = td_bmm(td_expand(td_unsqueeze(a, 0), TD_INTS(2, s->rows, s->depth)),
                             td_contiguous(td_expand(td_unsqueeze(b, 0), TD_INTS(2, s->depth, s->cols))));
    td_tensor *all[] = {td_mm(a, b), td_linear(a, td_contiguous(td_t(b)), td_rand(TD_INTS(s->cols))),
                        td_select(list, 0, 1)};
    for (int i = 0; i < 3; i++)
        ck_ok(td_tensor_copy_to(all[i], numbers + i * s->rows * s->cols,
                                (size_t)(s->rows * s->cols) * sizeof *numbers));
    ck_ok(td_scope_close(scope));
    td_context_close(&context);
}

START_TEST(products_match_the_plain_ones) {
    static float plain[1 << 16], fast[1 << 16];
    const struct product_case *s = &products[_i];
    run_product("reference", s, plain);
    run_product("auto", s, fast);
    for (int64_t i = 0; i < 3 * s->rows * s->cols; i++)
        if (fabs((double)(fast[i] - plain[i])) > 1e-5 * fabs((double)plain[i]))
            ck_abort_msg("case %d, element %d: %g, plainly %g", _i, (int)i, (double)fast[i],
                         (double)plain[i]);
}
END_TEST

/* --- the cache ------------------------------------------------------------------------------------------ */

START_TEST(a_second_call_makes_no_primitive) {
    td_context *context = open_with("auto");
    td_scope *scope = td_scope_open(context);
    td_tensor *a = td_rand(TD_INTS(80, 80)), *b = td_rand(TD_INTS(80, 80));
    td_mm(a, b);
    const cpu_counters first = counters(context);
    ck_assert_uint_eq(first.primitives_made, 1);
    td_mm(b, a);
    td_mm(td_rand(TD_INTS(80, 80)), a);
    ck_assert_uint_eq(counters(context).primitives_made, 1);
    ck_assert_uint_eq(counters(context).primitives_found, first.primitives_found + 2);
    td_mm(td_t(a), b); /* other strides, then another number of threads */
    ck_assert_uint_eq(counters(context).primitives_made, 2);
    ck_ok(td_parallel_set_threads(2));
    td_mm(a, b);
    ck_assert_uint_eq(counters(context).primitives_made, 3);
    ck_ok(td_scope_close(scope));
    td_context_close(&context);
}
END_TEST

START_TEST(the_cache_starts_afresh_when_it_is_full) {
    td_context *context = open_with("auto");
    for (int64_t rows = 65; rows < 65 + 1030; rows++) {
        td_scope *scope = td_scope_open(context);
        td_mm(td_rand(TD_INTS(rows, 65)), td_rand(TD_INTS(65, 65)));
        ck_ok(td_scope_close(scope));
    }
    td_scope *scope = td_scope_open(context);
    const uint64_t made = counters(context).primitives_made;
    td_tensor *a = td_ones(TD_INTS(65, 65)), *c = td_mm(a, a); /* was thrown out */
    double value = 0;
    ck_ok(td_tensor_item(td_select(td_select(c, 0, 64), 0, 64), &value));
    ck_assert_double_eq(value, 65);
    ck_assert_uint_eq(counters(context).primitives_made, made + 1);
    ck_ok(td_scope_close(scope));
    td_context_close(&context);
}
END_TEST

START_TEST(weights_are_reordered_only_when_they_were_written) {
    td_context *context = open_with("auto");
    td_scope *scope = td_scope_open(context);
    td_tensor *x =
        td_contiguous(td_rand(TD_INTS(2, 16, 8, 8)), .memory_format = TD_MEMORY_FORMAT_CHANNELS_LAST);
    td_tensor *w = td_rand(TD_INTS(16, 16, 5, 5)), *first = td_conv2d(x, w);
    const uint64_t reorders = counters(context).reorders;
    ck_assert_uint_le(reorders, 1);
    td_tensor *second = td_conv2d(x, w);
    ck_assert_uint_eq(counters(context).reorders, reorders);
    td_mul_scalar_(w, td_num(2));
    td_tensor *third = td_conv2d(x, w);
    ck_assert_uint_eq(counters(context).reorders, 2 * reorders);
    double a = 0, b = 0, c = 0;
    ck_ok(td_tensor_item(td_sum(first), &a));
    ck_ok(td_tensor_item(td_sum(second), &b));
    ck_ok(td_tensor_item(td_sum(third), &c));
    ck_assert_double_eq(a, b);
    ck_assert_double_eq_tol(c / a, 2, 1e-5);
    ck_ok(td_scope_close(scope));
    td_context_close(&context);
}
END_TEST

START_TEST(images_in_another_layout_are_reordered_and_counted) {
    td_context *context = open_with("auto");
    td_scope *scope = td_scope_open(context);
    td_tensor *w = td_rand(TD_INTS(16, 16, 5, 5)), *x = td_rand(TD_INTS(2, 16, 8, 8));
    td_conv2d(td_contiguous(x, .memory_format = TD_MEMORY_FORMAT_CHANNELS_LAST), w);
    const uint64_t last = counters(context).reorders;
    td_conv2d(x, w);
    ck_assert_uint_eq(counters(context).reorders,
                      2 * last + 1); /* the other primitive's weights, and the image */
    ck_ok(td_scope_close(scope));
    td_context_close(&context);
}
END_TEST

/* The network of PyTorch's MNIST example, forwards and backwards: its layouts fit from layer to layer. */
static void run_mnist_cnn(td_tensor *x, td_tensor *y, td_tensor *const p[8]) {
    td_tensor *h = td_relu(td_conv2d(x, p[0], p[1]));
    h = td_max_pool2d(td_relu(td_conv2d(h, p[2], p[3])), {2, 2});
    h = td_flatten(td_dropout(h, .p = 0.25), 1);
    h = td_dropout(td_relu(td_linear(h, p[4], p[5])), .p = 0.5);
    ck_ok(td_backward(td_nll_loss(td_log_softmax(td_linear(h, p[6], p[7]), 1), y)));
}

START_TEST(a_step_of_mnist_cnn_reorders_the_second_layers_weights_only) {
    static const td_ints sizes[] = {{4, {32, 1, 3, 3}}, {1, {32}},  {4, {64, 32, 3, 3}}, {1, {64}},
                                    {2, {128, 9216}},   {1, {128}}, {2, {10, 128}},      {1, {10}}};
    td_context *context = open_with("auto");
    td_scope *scope = td_scope_open(context);
    td_tensor *p[8];
    for (int i = 0; i < 8; i++) {
        p[i] = td_detach(td_mul_scalar(td_randn(sizes[i]), td_num(0.05)));
        ck_ok(td_tensor_set_requires_grad(p[i], true));
    }
    td_tensor *x = td_rand(TD_INTS(4, 1, 28, 28)), *y = td_zeros(TD_INTS(4), .dtype = TD_DTYPE_I64);
    run_mnist_cnn(x, y, p);
    const cpu_counters warm = counters(context);
    run_mnist_cnn(x, y, p);
    ck_assert_uint_eq(counters(context).reorders, warm.reorders); /* nothing was written since */
    td_no_grad_begin();
    td_mul_scalar_(p[2], td_num(0.5));
    td_no_grad_end();
    run_mnist_cnn(x, y, p);
    ck_assert_uint_eq(warm.reorders, 1);
    ck_assert_uint_eq(counters(context).reorders, 2);
    ck_assert_uint_eq(counters(context).primitives_made, warm.primitives_made);
    ck_ok(td_scope_close(scope));
    td_context_close(&context);
}
END_TEST

/* --- without it ----------------------------------------------------------------------------------------- */

static void count_debug(td_log_level level, const char *origin, const char *text, void *cookie) {
    (void)origin;
    if (level == TD_LOG_DEBUG && strstr(text, "without oneDNN")) ++*(int *)cookie;
}

START_TEST(without_the_plugin_everything_still_works_and_only_debug_says_so) {
    char folder[] = "/tmp/tandem-kernels-XXXXXX", file[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/tandem-onednn.so", folder);
    FILE *broken = fopen(file, "w");
    ck_assert_ptr_nonnull(broken);
    fclose(broken);
    setenv("TANDEM_PLUGIN_PATH", folder, 1);
    int lines = 0;
    td_log_set_hook(count_debug, TD_LOG_DEBUG, &lines);
    td_context *context = open_with("auto");
    td_error_clear();
    td_scope *scope = td_scope_open(context);
    double value = 0;
    td_tensor *a = td_ones(TD_INTS(80, 80));
    ck_ok(td_tensor_item(td_sum(td_mm(a, a)), &value));
    ck_assert_double_eq(value, 80.0 * 80 * 80);
    ck_ok(td_tensor_item(td_sum(td_conv2d(td_ones(TD_INTS(1, 8, 5, 5)), td_ones(TD_INTS(8, 8, 5, 5)))),
                         &value));
    ck_assert_double_eq(value, 8 * 8 * 25);
    ck_ok(td_scope_close(scope));
    ck_assert_int_eq(lines, 1);
    ck_assert_int_eq(td_error_last()->status, TD_OK);
    ck_assert_uint_eq(counters(context).primitives_made, 0);
    td_context_close(&context);
    td_log_set_hook(NULL, TD_LOG_ERROR, NULL);
    unsetenv("TANDEM_PLUGIN_PATH");
    unlink(file);
    rmdir(folder);
}
END_TEST

START_TEST(an_unknown_choice_of_kernels_is_refused) {
    td_context *context = open_with("fastest");
    td_scope *scope = td_scope_open(context);
    ck_assert_ptr_null(scope);
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "TANDEM_KERNELS=fastest"));
    td_context_close(&context);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("kernels_onednn");
    TCase *tcase = tcase_create("kernels_onednn");
    tcase_add_loop_test(tcase, convolutions_match_the_plain_ones, 0, (int)(sizeof convs / sizeof *convs));
    tcase_add_loop_test(tcase, products_match_the_plain_ones, 0, (int)(sizeof products / sizeof *products));
    tcase_add_test(tcase, a_second_call_makes_no_primitive);
    tcase_add_test(tcase, the_cache_starts_afresh_when_it_is_full);
    tcase_add_test(tcase, weights_are_reordered_only_when_they_were_written);
    tcase_add_test(tcase, images_in_another_layout_are_reordered_and_counted);
    tcase_add_test(tcase, a_step_of_mnist_cnn_reorders_the_second_layers_weights_only);
    tcase_add_test(tcase, without_the_plugin_everything_still_works_and_only_debug_says_so);
    tcase_add_test(tcase, an_unknown_choice_of_kernels_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
