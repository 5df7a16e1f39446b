/* Our own fast kernels against the plain ones: sizes around every vector and block border, every layout. */
#include "support/check.h"
#include "support/kernels.h"

#include <math.h>
#include <stdio.h>

static char what[256];

/* --- element by element -------------------------------------------------------------------------------- */

static const struct pointwise_shape {
    int ndim;
    int64_t sizes[4];
} pointwise_shapes[] = {{0, {0}},      {1, {1}},          {1, {15}},   {1, {17}},
                        {2, {33, 65}}, {4, {2, 5, 7, 3}}, {1, {70001}}};
static const char *const pointwise_layouts[] = {"row", "flip", "last"};

static bool suits(const char *layout, int ndim) { return strncmp(layout, "last", 4) != 0 || ndim == 4; }

static void run_pointwise(td_context *context, td_op op, const struct pointwise_shape *shape,
                          const char *layout) {
    guarded a, b, y;
    guarded_make(&a, TD_DTYPE_F32, shape->ndim, shape->sizes, layout);
    guarded_make(&b, TD_DTYPE_F32, shape->ndim, shape->sizes, layout);
    guarded_make(&y, TD_DTYPE_F32, shape->ndim, shape->sizes, layout);
    const td_relu_args unary = {&a.tensor};
    const td_threshold_backward_args threshold = {&a.tensor, &b.tensor, td_scalar_real(0.25)};
    const td_add_args add = {&a.tensor, &b.tensor, td_scalar_real(0.3)};
    const td_mul_args binary = {&a.tensor, &b.tensor};
    const td_mul_scalar_args scalar = {&a.tensor, td_scalar_real(0.7)};
    const td_fill_in_place_args fill = {&y.tensor, td_scalar_real(0.7)};
    kernels_case c = {
        .op = op, .plain = cpu_reference_pointwise, .native = cpu_native_pointwise, .out = {&y}, .outs = 1};
    switch (op) {
    case TD_OP_RELU: c.args = &unary, c.plain = cpu_reference_unary; break;
    case TD_OP_THRESHOLD_BACKWARD: c.args = &threshold; break;
    case TD_OP_ADD:
    case TD_OP_SUB: c.args = &add; break;
    case TD_OP_FILL_: c.args = &fill, c.plain = cpu_reference_copy; break;
    case TD_OP_ADD_SCALAR:
    case TD_OP_MUL_SCALAR: c.args = &scalar; break;
    default: c.args = &binary; break;
    }
    snprintf(what, sizeof what, "op %d of %d dims, layout %s", (int)op, shape->ndim, layout);
    kernels_compare(context, &c, what);
    guarded_free(&a), guarded_free(&b), guarded_free(&y);
}

START_TEST(elementwise_kernels_give_the_plain_bits) {
    static const td_op ops[] = {TD_OP_RELU, TD_OP_THRESHOLD_BACKWARD, TD_OP_ADD,        TD_OP_SUB,  TD_OP_MUL,
                                TD_OP_DIV,  TD_OP_ADD_SCALAR,         TD_OP_MUL_SCALAR, TD_OP_FILL_};
    td_context *context = kernels_open();
    for (size_t o = 0; o < sizeof ops / sizeof *ops; o++)
        for (size_t s = 0; s < sizeof pointwise_shapes / sizeof *pointwise_shapes; s++)
            for (size_t l = 0; l < 3; l++)
                if (suits(pointwise_layouts[l], pointwise_shapes[s].ndim))
                    run_pointwise(context, ops[o], &pointwise_shapes[s], pointwise_layouts[l]);
    kernels_close(context);
}
END_TEST

START_TEST(relu_and_its_gradient_keep_nan) {
    td_context *context = kernels_open();
    guarded a, y;
    guarded_make(&a, TD_DTYPE_F32, 1, (int64_t[]){37}, "row");
    guarded_make(&y, TD_DTYPE_F32, 1, (int64_t[]){37}, "row");
    for (int64_t i = 0; i < 37; i += 3) guarded_set(&a, i, (double)NAN);
    const td_relu_args relu = {&a.tensor};
    kernels_case c = {
        TD_OP_RELU, cpu_reference_unary, cpu_native_pointwise, &relu, {&y}, 1, NEAR_SAME_BITS, 0, false,
        false};
    kernels_compare(context, &c, "relu of NaN");
    ck_assert(isnan(guarded_at(&y, 3)));
    kernels_close(context);
    guarded_free(&a), guarded_free(&y);
}
END_TEST

/* --- products ------------------------------------------------------------------------------------------ */

static const int64_t products[][3] = {{1, 1, 1},      {3, 5, 7},      {6, 16, 16},    {7, 17, 33},
                                      {13, 300, 31},  {72, 256, 384}, {75, 257, 390}, {32, 9, 128},
                                      {128, 32, 600}, {5, 1, 70}};
static const char *const matrix_layouts[] = {"row", "flip", "gap", "padded"};

static void run_mm(td_context *context, const int64_t size[3], const char *a_layout, const char *b_layout,
                   const char *c_layout) {
    guarded a, b, y;
    guarded_make(&a, TD_DTYPE_F32, 2, (int64_t[]){size[0], size[1]}, a_layout);
    guarded_make(&b, TD_DTYPE_F32, 2, (int64_t[]){size[1], size[2]}, b_layout);
    guarded_make(&y, TD_DTYPE_F32, 2, (int64_t[]){size[0], size[2]}, c_layout);
    const td_mm_args args = {&a.tensor, &b.tensor};
    kernels_case c = {
        TD_OP_MM, cpu_reference_matmul, cpu_spare_matmul, &args, {&y}, 1, NEAR_ROUNDED, 2e-5, false, false};
    snprintf(what, sizeof what, "mm %d x %d x %d, %s x %s to %s", (int)size[0], (int)size[1], (int)size[2],
             a_layout, b_layout, c_layout);
    kernels_compare(context, &c, what);
    guarded_free(&a), guarded_free(&b), guarded_free(&y);
}

START_TEST(products_of_any_strides_match_the_plain_ones) {
    td_context *context = kernels_open();
    for (size_t s = 0; s < sizeof products / sizeof *products; s++)
        for (int a = 0; a < 4; a++)
            for (int b = 0; b < 4; b++)
                run_mm(context, products[s], matrix_layouts[a], matrix_layouts[b],
                       matrix_layouts[(a + b) % 4]);
    kernels_close(context);
}
END_TEST

START_TEST(linear_takes_leading_dimensions_and_a_bias) {
    td_context *context = kernels_open();
    guarded x, w, b, y;
    guarded_make(&x, TD_DTYPE_F32, 3, (int64_t[]){4, 9, 37}, "row");
    guarded_make(&w, TD_DTYPE_F32, 2, (int64_t[]){21, 37}, "row");
    guarded_make(&b, TD_DTYPE_F32, 1, (int64_t[]){21}, "row");
    guarded_make(&y, TD_DTYPE_F32, 3, (int64_t[]){4, 9, 21}, "row");
    td_linear_args args = {&x.tensor, &w.tensor, &b.tensor};
    kernels_case c = {
        TD_OP_LINEAR, cpu_reference_matmul, cpu_spare_matmul, &args, {&y}, 1, NEAR_ROUNDED, 2e-5, false,
        false};
    kernels_compare(context, &c, "linear with bias");
    args.bias = NULL;
    kernels_compare(context, &c, "linear without bias");
    kernels_close(context);
    guarded_free(&x), guarded_free(&w), guarded_free(&b), guarded_free(&y);
}
END_TEST

START_TEST(lists_of_products_match_the_plain_ones) {
    td_context *context = kernels_open();
    guarded a, b, y;
    guarded_make(&a, TD_DTYPE_F32, 3, (int64_t[]){3, 20, 11}, "row");
    guarded_make(&b, TD_DTYPE_F32, 3, (int64_t[]){3, 11, 18}, "same");
    guarded_make(&y, TD_DTYPE_F32, 3, (int64_t[]){3, 20, 18}, "row");
    const td_bmm_args args = {&a.tensor, &b.tensor};
    kernels_case c = {
        TD_OP_BMM, cpu_reference_matmul, cpu_spare_matmul, &args, {&y}, 1, NEAR_ROUNDED, 2e-5, false, false};
    kernels_compare(context, &c, "bmm");
    kernels_close(context);
    guarded_free(&a), guarded_free(&b), guarded_free(&y);
}
END_TEST

/* --- sums ---------------------------------------------------------------------------------------------- */

static const struct sum_case {
    int ndim;
    int64_t sizes[4];
    const char *layout;
    td_ints dims;
} sums[] = {
    {1, {100003}, "row", {-1, {0}}},
    {2, {300, 130}, "row", {1, {0}}},
    {2, {300, 130}, "row", {1, {1}}},
    {2, {300, 130}, "padded", {1, {0}}},
    {2, {300, 130}, "flip", {-1, {0}}},
    {4, {3, 70, 9, 11}, "last", {3, {0, 2, 3}}},
    {4, {3, 70, 9, 11}, "lastpad", {3, {0, 2, 3}}},
    {3, {4, 5, 6}, "row", {2, {1, 2}}},
    {3, {4, 5, 6}, "row", {2, {0, -2}}},
};

START_TEST(sums_match_the_plain_ones) {
    td_context *context = kernels_open();
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        const struct sum_case *s = &sums[i];
        guarded x, y;
        int64_t kept[4];
        int ndim = 0;
        for (int d = 0; d < s->ndim; d++) {
            bool summed = s->dims.count < 0;
            for (int64_t k = 0; k < s->dims.count; k++) summed |= (s->dims.at[k] + s->ndim) % s->ndim == d;
            if (!summed) kept[ndim++] = s->sizes[d];
        }
        guarded_make(&x, TD_DTYPE_F32, s->ndim, s->sizes, s->layout);
        guarded_make(&y, TD_DTYPE_F32, ndim, kept, "row");
        const td_sum_args sum = {&x.tensor, s->dims, false, TD_DTYPE_NONE};
        const td_mean_args mean = {&x.tensor, s->dims, false, TD_DTYPE_NONE};
        kernels_case c = {
            TD_OP_SUM, cpu_reference_reduce, cpu_native_reduce, &sum, {&y}, 1, NEAR_ROUNDED, 1e-7, false,
            false};
        snprintf(what, sizeof what, "sum %zu", i);
        kernels_compare(context, &c, what);
        c.op = TD_OP_MEAN, c.args = &mean;
        kernels_compare(context, &c, what);
        guarded_free(&x), guarded_free(&y);
    }
    kernels_close(context);
}
END_TEST

/* --- dropout and copies --------------------------------------------------------------------------------- */

START_TEST(dropout_draws_the_plain_mask_in_every_layout) {
    static const char *const layouts[] = {"row", "last"};
    td_context *context = kernels_open();
    for (int l = 0; l < 2; l++) {
        const int64_t sizes[] = {3, 19, 9, 13};
        guarded x, y, mask, g, dx;
        guarded_make(&x, TD_DTYPE_F32, 4, sizes, layouts[l]);
        guarded_make(&y, TD_DTYPE_F32, 4, sizes, layouts[l]);
        guarded_make(&mask, TD_DTYPE_BOOL, 4, sizes, layouts[l]);
        const td_dropout_forward_args args = {&x.tensor, 0.25};
        kernels_case c = {TD_OP_DROPOUT_FORWARD,
                          cpu_reference_random,
                          cpu_native_dropout,
                          &args,
                          {&y, &mask},
                          2,
                          NEAR_SAME_BITS,
                          0,
                          false,
                          true};
        kernels_compare(context, &c, "dropout");
        for (int k = 0; k < 2; k++) {
            guarded_make(&g, TD_DTYPE_F32, 4, sizes, layouts[k]);
            guarded_make(&dx, TD_DTYPE_F32, 4, sizes, layouts[k]);
            const td_dropout_backward_args back = {&g.tensor, &mask.tensor, 0.25};
            kernels_case b = {TD_OP_DROPOUT_BACKWARD,
                              cpu_reference_random,
                              cpu_native_dropout,
                              &back,
                              {&dx},
                              1,
                              NEAR_SAME_BITS,
                              0,
                              l == 0 && k == 1,
                              false};
            kernels_compare(context, &b, "gradient of dropout");
            guarded_free(&g), guarded_free(&dx);
        }
        guarded_free(&x), guarded_free(&y), guarded_free(&mask);
    }
    kernels_close(context);
}
END_TEST

START_TEST(copies_between_layouts_keep_every_element) {
    static const char *const layouts[] = {"row", "last", "gap"};
    td_context *context = kernels_open();
    for (int from = 0; from < 3; from++)
        for (int to = 0; to < 2; to++) {
            const int64_t sizes[] = {2, 21, 17, 5};
            guarded x, y;
            guarded_make(&x, TD_DTYPE_F32, 4, sizes, layouts[from]);
            guarded_make(&y, TD_DTYPE_F32, 4, sizes, layouts[to]);
            const td_copy_in_place_args args = {&y.tensor, &x.tensor};
            kernels_case c = {TD_OP_COPY_,
                              cpu_reference_copy,
                              cpu_native_copy,
                              &args,
                              {&y},
                              1,
                              NEAR_SAME_BITS,
                              0,
                              from == 2,
                              false};
            kernels_compare(context, &c, "copy_");
            guarded_free(&x), guarded_free(&y);
        }
    kernels_close(context);
}
END_TEST

SUITE("kernels", elementwise_kernels_give_the_plain_bits, relu_and_its_gradient_keep_nan,
      products_of_any_strides_match_the_plain_ones, linear_takes_leading_dimensions_and_a_bias,
      lists_of_products_match_the_plain_ones, sums_match_the_plain_ones,
      dropout_draws_the_plain_mask_in_every_layout, copies_between_layouts_keep_every_element)
