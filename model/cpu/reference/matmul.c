/*
 * Products of matrices of any strides. Floating sums run in f64 and are rounded once, so that these kernels
 * are the most exact yardstick for the fast ones; integers wrap around.
 */
#include "model/cpu/reference/walk.h"

/* c[i][j] = sum over k of a[i][k] * b[k][j], plus bias[j] where there is one; strides in elements. */
typedef struct product {
    int64_t rows, cols, depth;
    const void *a, *b, *bias;
    void *c;
    int64_t a_row, a_col, b_row, b_col, c_row, c_col, bias_step;
} product;

#define PRODUCT(dtype, type, name, sum_type)                                                                 \
    static void multiply_##name(const product *p) {                                                          \
        for (int64_t i = 0; i < p->rows; i++) {                                                              \
            for (int64_t j = 0; j < p->cols; j++) {                                                          \
                const type *a = (const type *)p->a + i * p->a_row;                                           \
                const type *b = (const type *)p->b + j * p->b_col;                                           \
                sum_type total = p->bias ? (sum_type)((const type *)p->bias)[j * p->bias_step] : 0;          \
                for (int64_t k = 0; k < p->depth; k++)                                                       \
                    total += (sum_type)a[k * p->a_col] * (sum_type)b[k * p->b_row];                          \
                ((type *)p->c)[i * p->c_row + j * p->c_col] = (type)total;                                   \
            }                                                                                                \
        }                                                                                                    \
    }
#define FLOATING_PRODUCT(dtype, type, name) PRODUCT(dtype, type, name, double)
#define INTEGER_PRODUCT(dtype, type, name)  PRODUCT(dtype, type, name, uint64_t)
EACH_FLOATING(FLOATING_PRODUCT)
EACH_INTEGER(INTEGER_PRODUCT)

static void (*const multiply_of[TD_DTYPE_COUNT])(const product *) = {
#define MULTIPLY(dtype, type, name) [dtype] = multiply_##name,
    EACH_DTYPE(MULTIPLY)
#undef MULTIPLY
};

/* The last two dimensions of a, b and c; c's dtype is theirs too. */
static product product_of(const td_tensor *a, const td_tensor *b, const td_tensor *c) {
    const int m = a->ndim - 2;
    return (product){
        .rows = a->sizes[m],
        .cols = b->sizes[m + 1],
        .depth = a->sizes[m + 1],
        .a = td_tensor_bytes(a),
        .b = td_tensor_bytes(b),
        .c = td_tensor_bytes(c),
        .a_row = a->strides[m],
        .a_col = a->strides[m + 1],
        .b_row = b->strides[m],
        .b_col = b->strides[m + 1],
        .c_row = c->strides[m],
        .c_col = c->strides[m + 1],
    };
}

static td_status mm(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_mm_args *a = args;
    if (!multiply_of[out[0]->dtype]) return refuse_dtype(out[0]);
    product p = product_of(a->self, a->mat2, out[0]);
    multiply_of[out[0]->dtype](&p);
    return TD_OK;
}

static td_status bmm(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_bmm_args *a = args;
    const td_dtype dtype = out[0]->dtype;
    if (!multiply_of[dtype]) return refuse_dtype(out[0]);
    for (int64_t i = 0; i < out[0]->sizes[0]; i++) {
        product p = product_of(a->self, a->mat2, out[0]);
        p.a = element(p.a, i * a->self->strides[0], dtype);
        p.b = element(p.b, i * a->mat2->strides[0], dtype);
        p.c = (char *)p.c + i * out[0]->strides[0] * (int64_t)td_dtype_size(dtype);
        multiply_of[dtype](&p);
    }
    return TD_OK;
}

static td_status linear(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_linear_args *a = args;
    const td_tensor *x = a->input, *w = a->weight, *y = out[0];
    const td_dtype dtype = y->dtype;
    if (!multiply_of[dtype]) return refuse_dtype(y);
    /* All leading dimensions but the last one, which is the product's rows. */
    const int last = x->ndim - 1, rows = last - 1;
    walk outer = {0};
    for (int d = 0; d < rows; d++) walk_add(&outer, x->sizes[d], x->strides[d], y->strides[d], 0, 0);
    if (walk_is_empty(&outer)) return TD_OK;
    product p = {
        .rows = rows >= 0 ? x->sizes[rows] : 1,
        .cols = w->sizes[0],
        .depth = x->sizes[last],
        .b = td_tensor_bytes(w),
        .bias = a->bias ? td_tensor_bytes(a->bias) : NULL,
        .bias_step = a->bias ? a->bias->strides[0] : 0,
        .a_row = rows >= 0 ? x->strides[rows] : 0,
        .a_col = x->strides[last],
        .b_row = w->strides[1],
        .b_col = w->strides[0],
        .c_row = rows >= 0 ? y->strides[rows] : 0,
        .c_col = y->strides[last],
    };
    do {
        p.a = element(td_tensor_bytes(x), outer.offset[0], dtype);
        p.c = td_tensor_bytes(y) + outer.offset[1] * (int64_t)td_dtype_size(dtype);
        multiply_of[dtype](&p);
    } while (walk_next(&outer));
    return TD_OK;
}

const td_kernel_row cpu_reference_matmul[] = {
    {TD_OP_MM, mm},
    {TD_OP_BMM, bmm},
    {TD_OP_LINEAR, linear},
    TD_KERNELS_END,
};
