/* Convolutions and pooling: our own kernels against the plain ones, and the plain ones against known answers.
 */
#include "support/check.h"
#include "support/kernels.h"

#include <stdio.h>

static char what[256];

/* --- convolutions --------------------------------------------------------------------------------------- */

static const struct conv_case {
    int64_t n, c, h, w, k, pad_rows, pad_cols;
    const char *x_layout, *y_layout;
} convs[] = {
    {2, 8, 6, 6, 8, 0, 0, "last", "last"},     {1, 32, 26, 26, 64, 0, 0, "last", "last"},
    {3, 9, 7, 8, 11, 1, 1, "last", "last"},    {2, 17, 5, 9, 33, 2, 0, "lastpad", "last"},
    {5, 16, 3, 3, 16, 0, 0, "last", "last"},   {2, 40, 9, 4, 70, 1, 2, "last", "lastpad"},
    {7, 12, 11, 13, 20, 1, 0, "last", "last"}, {1, 8, 1, 1, 8, 1, 1, "last", "last"},
};

typedef struct conv_tensors {
    guarded x, w, b, y;
} conv_tensors;

static conv_tensors *make_conv(const struct conv_case *s, const char *x_layout) {
    static conv_tensors t;
    guarded_make(&t.x, TD_DTYPE_F32, 4, (int64_t[]){s->n, s->c, s->h, s->w}, x_layout);
    guarded_make(&t.w, TD_DTYPE_F32, 4, (int64_t[]){s->k, s->c, 3, 3}, "row");
    guarded_make(&t.b, TD_DTYPE_F32, 1, (int64_t[]){s->k}, "row");
    guarded_make(&t.y, TD_DTYPE_F32, 4,
                 (int64_t[]){s->n, s->k, s->h + 2 * s->pad_rows - 2, s->w + 2 * s->pad_cols - 2},
                 s->y_layout);
    return &t;
}

static void free_conv(conv_tensors *t) {
    guarded_free(&t->x), guarded_free(&t->w), guarded_free(&t->b), guarded_free(&t->y);
}

START_TEST(convolutions_match_the_plain_ones) {
    td_context *context = kernels_open();
    const struct conv_case *s = &convs[_i];
    conv_tensors *t = make_conv(s, s->x_layout);
    td_conv2d_forward_args args = {
        &t->x.tensor, &t->w.tensor, &t->b.tensor, {1, 1}, {s->pad_rows, s->pad_cols}, {1, 1}, 1};
    kernels_case c = {TD_OP_CONV2D_FORWARD,
                      cpu_reference_conv,
                      cpu_spare_conv,
                      &args,
                      {&t->y},
                      1,
                      NEAR_ROUNDED,
                      3e-5,
                      false,
                      false};
    snprintf(what, sizeof what, "convolution %d", _i);
    kernels_compare(context, &c, what);
    args.bias = NULL;
    kernels_compare(context, &c, what);
    kernels_close(context);
    free_conv(t);
}
END_TEST

START_TEST(input_gradients_match_the_plain_ones) {
    td_context *context = kernels_open();
    const struct conv_case *s = &convs[_i];
    conv_tensors *t = make_conv(s, s->x_layout);
    const td_conv2d_backward_input_args args = {&t->y.tensor,
                                                &t->w.tensor,
                                                td_tensor_sizes(&t->x.tensor),
                                                {1, 1},
                                                {s->pad_rows, s->pad_cols},
                                                {1, 1},
                                                1};
    kernels_case c = {TD_OP_CONV2D_BACKWARD_INPUT,
                      cpu_reference_conv,
                      cpu_spare_conv,
                      &args,
                      {&t->x},
                      1,
                      NEAR_ROUNDED,
                      3e-5,
                      false,
                      false};
    snprintf(what, sizeof what, "input gradient %d", _i);
    kernels_compare(context, &c, what);
    kernels_close(context);
    free_conv(t);
}
END_TEST

START_TEST(weight_gradients_match_the_plain_ones) {
    td_context *context = kernels_open();
    const struct conv_case *s = &convs[_i];
    conv_tensors *t = make_conv(s, s->x_layout);
    const td_conv2d_backward_weight_args args = {&t->y.tensor,
                                                 &t->x.tensor,
                                                 td_tensor_sizes(&t->w.tensor),
                                                 {1, 1},
                                                 {s->pad_rows, s->pad_cols},
                                                 {1, 1},
                                                 1};
    kernels_case c = {TD_OP_CONV2D_BACKWARD_WEIGHT,
                      cpu_reference_conv,
                      cpu_spare_conv,
                      &args,
                      {&t->w},
                      1,
                      NEAR_SUMMED,
                      3e-5,
                      false,
                      false};
    snprintf(what, sizeof what, "weight gradient %d", _i);
    kernels_compare(context, &c, what);
    kernels_close(context);
    free_conv(t);
}
END_TEST

/* A network's first layer: few channels, any window. */
static const struct direct_case {
    int64_t n, c, h, w, k, window[2], stride[2], padding[2], dilation[2];
    const char *x_layout;
} directs[] = {
    {2, 1, 28, 28, 32, {3, 3}, {1, 1}, {0, 0}, {1, 1}, "row"},
    {3, 3, 9, 11, 17, {5, 3}, {2, 1}, {2, 1}, {1, 1}, "row"},
    {1, 2, 12, 7, 40, {3, 2}, {1, 2}, {0, 1}, {2, 3}, "last"},
    {2, 4, 8, 8, 5, {1, 1}, {1, 1}, {0, 0}, {1, 1}, "flip"},
    {2, 3, 16, 16, 64, {4, 4}, {4, 4}, {0, 0}, {1, 1}, "gap"},
};

START_TEST(convolutions_of_few_channels_match_the_plain_ones) {
    const struct direct_case *s = &directs[_i];
    td_context *context = kernels_open();
    int64_t side[2];
    for (int i = 0; i < 2; i++)
        side[i] =
            ((i ? s->w : s->h) + 2 * s->padding[i] - s->dilation[i] * (s->window[i] - 1) - 1) / s->stride[i] +
            1;
    guarded x, w, b, y;
    guarded_make(&x, TD_DTYPE_F32, 4, (int64_t[]){s->n, s->c, s->h, s->w}, s->x_layout);
    guarded_make(&w, TD_DTYPE_F32, 4, (int64_t[]){s->k, s->c, s->window[0], s->window[1]}, "row");
    guarded_make(&b, TD_DTYPE_F32, 1, (int64_t[]){s->k}, "gap");
    guarded_make(&y, TD_DTYPE_F32, 4, (int64_t[]){s->n, s->k, side[0], side[1]}, "last");
    td_conv2d_forward_args forward = {
        .input = &x.tensor, .weight = &w.tensor, .bias = &b.tensor, .groups = 1};
    td_conv2d_backward_weight_args weight = {
        .grad_output = &y.tensor, .input = &x.tensor, .weight_size = td_tensor_sizes(&w.tensor), .groups = 1};
    for (int i = 0; i < 2; i++) {
        forward.stride[i] = weight.stride[i] = s->stride[i];
        forward.padding[i] = weight.padding[i] = s->padding[i];
        forward.dilation[i] = weight.dilation[i] = s->dilation[i];
    }
    snprintf(what, sizeof what, "convolution of few channels %d", _i);
    kernels_case c = {TD_OP_CONV2D_FORWARD,
                      cpu_reference_conv,
                      cpu_native_conv,
                      &forward,
                      {&y},
                      1,
                      NEAR_ROUNDED,
                      1e-5,
                      false,
                      false};
    kernels_compare(context, &c, what);
    c = (kernels_case){TD_OP_CONV2D_BACKWARD_WEIGHT,
                       cpu_reference_conv,
                       cpu_native_conv,
                       &weight,
                       {&w},
                       1,
                       NEAR_SUMMED,
                       3e-5,
                       false,
                       false};
    kernels_compare(context, &c, what);
    kernels_close(context);
    guarded_free(&x), guarded_free(&w), guarded_free(&b), guarded_free(&y);
}
END_TEST

START_TEST(other_convolutions_are_left_to_others) {
    td_context *context = kernels_open();
    struct conv_case s = convs[2];
    conv_tensors *t = make_conv(&s, "row"); /* N, C, H, W in memory */
    td_conv2d_forward_args args = {&t->x.tensor, &t->w.tensor, NULL, {1, 1}, {1, 1}, {1, 1}, 1};
    kernels_case c = {TD_OP_CONV2D_FORWARD,
                      cpu_reference_conv,
                      cpu_spare_conv,
                      &args,
                      {&t->y},
                      1,
                      NEAR_ROUNDED,
                      0,
                      true,
                      false};
    kernels_compare(context, &c, "a convolution of N, C, H, W");
    kernels_close(context);
    free_conv(t);
}
END_TEST

/* 1 x 1 x 3 x 3 counting up, a 2 x 2 window of ones: sums of four neighbours, with stride, padding, dilation.
 */
START_TEST(the_plain_convolution_gives_known_answers) {
    td_context *context = kernels_open();
    guarded x, w, y;
    guarded_make(&x, TD_DTYPE_F32, 4, (int64_t[]){1, 1, 3, 3}, "row");
    guarded_make(&w, TD_DTYPE_F32, 4, (int64_t[]){1, 1, 2, 2}, "row");
    for (int i = 0; i < 9; i++) guarded_set(&x, i, i + 1);
    for (int i = 0; i < 4; i++) guarded_set(&w, i, 1);
    static const struct {
        int64_t stride, padding, dilation, side;
        double sums[16];
    } known[] = {{1, 0, 1, 2, {12, 16, 24, 28}},
                 {2, 1, 1, 2, {1, 5, 11, 28}},
                 {1, 0, 2, 1, {20}},
                 {1, 1, 2, 3, {5, 10, 5, 10, 20, 10, 5, 10, 5}}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        const int64_t side = known[k].side;
        guarded_make(&y, TD_DTYPE_F32, 4, (int64_t[]){1, 1, side, side}, "gap");
        const td_conv2d_forward_args args = {&x.tensor,
                                             &w.tensor,
                                             NULL,
                                             {known[k].stride, known[k].stride},
                                             {known[k].padding, known[k].padding},
                                             {known[k].dilation, known[k].dilation},
                                             1};
        ck_ok(kernels_find(cpu_reference_conv, TD_OP_CONV2D_FORWARD)(context, &args,
                                                                     (td_tensor *const[]){&y.tensor}));
        for (int64_t i = 0; i < side * side; i++)
            ck_assert_msg(guarded_at(&y, i) == known[k].sums[i], "case %zu, element %d is %g", k, (int)i,
                          guarded_at(&y, i));
        guarded_check(&y, "plain convolution");
        guarded_free(&y);
    }
    kernels_close(context);
    guarded_free(&x), guarded_free(&w);
}
END_TEST

/* The gradients by the definition: <conv(x, w), g> is linear in x and in w, so <dx, x> and <dw, w> equal it.
 */
START_TEST(plain_gradients_are_adjoint_to_the_convolution) {
    static const struct {
        int64_t groups, stride, padding, dilation;
    } cases[] = {{1, 1, 0, 1}, {2, 1, 1, 1}, {1, 2, 1, 1}, {4, 2, 0, 2}, {2, 3, 2, 1}};
    td_context *context = kernels_open();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t side = (9 + 2 * cases[i].padding - cases[i].dilation * 2 - 1) / cases[i].stride + 1;
        guarded x, w, y, g, dx, dw;
        guarded_make(&x, TD_DTYPE_F64, 4, (int64_t[]){2, 4, 9, 9}, "flip");
        guarded_make(&w, TD_DTYPE_F64, 4, (int64_t[]){8, 4 / cases[i].groups, 3, 3}, "row");
        guarded_make(&y, TD_DTYPE_F64, 4, (int64_t[]){2, 8, side, side}, "last");
        guarded_make(&g, TD_DTYPE_F64, 4, (int64_t[]){2, 8, side, side}, "row");
        guarded_make(&dx, TD_DTYPE_F64, 4, (int64_t[]){2, 4, 9, 9}, "last");
        guarded_make(&dw, TD_DTYPE_F64, 4, (int64_t[]){8, 4 / cases[i].groups, 3, 3}, "gap");
        const int64_t s = cases[i].stride, p = cases[i].padding, d = cases[i].dilation;
        const td_conv2d_forward_args forward = {&x.tensor, &w.tensor, NULL,           {s, s},
                                                {p, p},    {d, d},    cases[i].groups};
        const td_conv2d_backward_input_args input = {
            &g.tensor, &w.tensor, td_tensor_sizes(&x.tensor), {s, s}, {p, p}, {d, d}, cases[i].groups};
        const td_conv2d_backward_weight_args weight = {
            &g.tensor, &x.tensor, td_tensor_sizes(&w.tensor), {s, s}, {p, p}, {d, d}, cases[i].groups};
        ck_ok(kernels_find(cpu_reference_conv, TD_OP_CONV2D_FORWARD)(context, &forward,
                                                                     (td_tensor *const[]){&y.tensor}));
        ck_ok(kernels_find(cpu_reference_conv,
                           TD_OP_CONV2D_BACKWARD_INPUT)(context, &input, (td_tensor *const[]){&dx.tensor}));
        ck_ok(kernels_find(cpu_reference_conv,
                           TD_OP_CONV2D_BACKWARD_WEIGHT)(context, &weight, (td_tensor *const[]){&dw.tensor}));
        double out = 0, by_input = 0, by_weight = 0;
        for (int64_t k = 0; k < y.tensor.count; k++) out += guarded_at(&y, k) * guarded_at(&g, k);
        for (int64_t k = 0; k < x.tensor.count; k++) by_input += guarded_at(&x, k) * guarded_at(&dx, k);
        for (int64_t k = 0; k < w.tensor.count; k++) by_weight += guarded_at(&w, k) * guarded_at(&dw, k);
        ck_assert_double_eq_tol(out, by_input, 1e-10);
        ck_assert_double_eq_tol(out, by_weight, 1e-10);
        guarded_free(&x), guarded_free(&w), guarded_free(&y), guarded_free(&g), guarded_free(&dx),
            guarded_free(&dw);
    }
    kernels_close(context);
}
END_TEST

/* --- pooling -------------------------------------------------------------------------------------------- */

static const struct pool_case {
    int64_t c, h, w, kernel[2], stride[2], padding[2], dilation[2];
    bool overlaps; /* the native gradient declines */
} pools[] = {
    {64, 24, 24, {2, 2}, {2, 2}, {0, 0}, {1, 1}, false}, {5, 7, 9, {2, 3}, {2, 3}, {0, 0}, {1, 1}, false},
    {17, 9, 9, {3, 3}, {2, 2}, {1, 1}, {1, 1}, true},    {33, 8, 8, {2, 2}, {3, 3}, {0, 0}, {1, 1}, false},
    {8, 11, 7, {2, 2}, {2, 2}, {1, 1}, {1, 1}, false},   {16, 9, 9, {2, 2}, {2, 2}, {0, 0}, {2, 2}, true},
};

static int64_t pooled(int64_t extent, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    return (extent + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
}

START_TEST(pooling_and_its_gradient_match_the_plain_ones) {
    td_context *context = kernels_open();
    const struct pool_case *s = &pools[_i];
    const int64_t in[] = {3, s->c, s->h, s->w};
    const int64_t out[] = {3, s->c, pooled(s->h, s->kernel[0], s->stride[0], s->padding[0], s->dilation[0]),
                           pooled(s->w, s->kernel[1], s->stride[1], s->padding[1], s->dilation[1])};
    guarded x, y, choice, dx;
    guarded_make(&x, TD_DTYPE_F32, 4, in, "last");
    guarded_make(&y, TD_DTYPE_F32, 4, out, "last");
    guarded_make(&choice, TD_DTYPE_U8, 4, out, "last");
    guarded_make(&dx, TD_DTYPE_F32, 4, in, "last");
    for (int64_t i = 0; i < x.tensor.count; i += 11) guarded_set(&x, i, i % 22 ? (double)NAN : 2);
    td_max_pool2d_forward_args args = {.self = &x.tensor};
    memcpy(args.kernel_size, s->kernel, sizeof s->kernel), memcpy(args.stride, s->stride, sizeof s->stride);
    memcpy(args.padding, s->padding, sizeof s->padding),
        memcpy(args.dilation, s->dilation, sizeof s->dilation);
    kernels_case c = {TD_OP_MAX_POOL2D_FORWARD,
                      cpu_reference_pool,
                      cpu_native_pool,
                      &args,
                      {&y, &choice},
                      2,
                      NEAR_SAME_BITS,
                      0,
                      false,
                      false};
    snprintf(what, sizeof what, "pooling %d", _i);
    kernels_compare(context, &c, what);
    for (int l = 0; l < 2; l++) {
        guarded g;
        guarded_make(&g, TD_DTYPE_F32, 4, out, l ? "row" : "last");
        td_max_pool2d_backward_args back = {
            .grad_output = &g.tensor, .choice = &choice.tensor, .input_size = td_tensor_sizes(&x.tensor)};
        memcpy(back.kernel_size, s->kernel, sizeof s->kernel),
            memcpy(back.stride, s->stride, sizeof s->stride);
        memcpy(back.padding, s->padding, sizeof s->padding),
            memcpy(back.dilation, s->dilation, sizeof s->dilation);
        kernels_case b = {TD_OP_MAX_POOL2D_BACKWARD,
                          cpu_reference_pool,
                          cpu_native_pool,
                          &back,
                          {&dx},
                          1,
                          NEAR_SAME_BITS,
                          0,
                          s->overlaps,
                          false};
        kernels_compare(context, &b, what);
        guarded_free(&g);
    }
    kernels_close(context);
    guarded_free(&x), guarded_free(&y), guarded_free(&choice), guarded_free(&dx);
}
END_TEST

START_TEST(of_equal_elements_the_first_is_chosen) {
    td_context *context = kernels_open();
    guarded x, y, choice;
    guarded_make(&x, TD_DTYPE_F32, 4, (int64_t[]){1, 1, 2, 2}, "row");
    guarded_make(&y, TD_DTYPE_F32, 4, (int64_t[]){1, 1, 1, 1}, "row");
    guarded_make(&choice, TD_DTYPE_U8, 4, (int64_t[]){1, 1, 1, 1}, "row");
    const double values[] = {1, 3, 3, 2};
    for (int i = 0; i < 4; i++) guarded_set(&x, i, values[i]);
    const td_max_pool2d_forward_args args = {&x.tensor, {2, 2}, {2, 2}, {0, 0}, {1, 1}, false};
    kernels_case c = {TD_OP_MAX_POOL2D_FORWARD,
                      cpu_reference_pool,
                      cpu_native_pool,
                      &args,
                      {&y, &choice},
                      2,
                      NEAR_SAME_BITS,
                      0,
                      false,
                      false};
    kernels_compare(context, &c, "pooling of equal elements");
    ck_assert(guarded_at(&choice, 0) == 1);
    kernels_close(context);
    guarded_free(&x), guarded_free(&y), guarded_free(&choice);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("kernels_images");
    TCase *once = tcase_create("images");
    const int conv_count = sizeof convs / sizeof *convs;
    tcase_add_loop_test(once, convolutions_match_the_plain_ones, 0, conv_count);
    tcase_add_loop_test(once, input_gradients_match_the_plain_ones, 0, conv_count);
    tcase_add_loop_test(once, weight_gradients_match_the_plain_ones, 0, conv_count);
    tcase_add_loop_test(once, convolutions_of_few_channels_match_the_plain_ones, 0,
                        (int)(sizeof directs / sizeof *directs));
    tcase_add_test(once, other_convolutions_are_left_to_others);
    tcase_add_test(once, the_plain_convolution_gives_known_answers);
    tcase_add_test(once, plain_gradients_are_adjoint_to_the_convolution);
    tcase_add_loop_test(once, pooling_and_its_gradient_match_the_plain_ones, 0,
                        (int)(sizeof pools / sizeof *pools));
    tcase_add_test(once, of_equal_elements_the_first_is_chosen);
    suite_add_tcase(suite, once);
    return suite;
}
