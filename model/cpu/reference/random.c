/*
 * Fills from the context's generator, and dropout. In-place fills draw in memory order, as PyTorch does;
 * dropout draws in logical order, so that its mask does not depend on the layout.
 */
#include "model/cpu/reference/walk.h"

/* A walk over x in the order in which its elements lie in memory. */
static walk walk_in_memory(const td_tensor *x) {
    int order[TD_MAX_DIMS];
    for (int d = 0; d < x->ndim; d++) {
        int at = d;
        for (; at > 0 && x->strides[order[at - 1]] < x->strides[d]; at--) order[at] = order[at - 1];
        order[at] = d;
    }
    walk w = {0};
    for (int d = 0; d < x->ndim; d++) walk_add(&w, x->sizes[order[d]], x->strides[order[d]], 0, 0, 0);
    return w;
}

static td_status uniform_(td_context *context, const void *args, td_tensor *const *out) {
    const td_uniform_in_place_args *a = args;
    td_tensor *x = out[0];
    td_generator *g = context->generator;
    float *f32 = (float *)(void *)td_tensor_bytes(x);
    double *f64 = (double *)(void *)td_tensor_bytes(x);
    if (!td_dtype_is_floating(x->dtype) || !is_computable(x->dtype)) return refuse_dtype(x);
    if (a->from > a->to) return td_fail(TD_ERR_ARG, 0, "model", "from %g is above to %g", a->from, a->to);
    walk w = walk_in_memory(x);
    if (walk_is_empty(&w)) return TD_OK;
    const size_t at_once = td_tensor_is_dense(x) ? (size_t)x->count : 1;
    do {
        if (x->dtype == TD_DTYPE_F32)
            td_generator_uniform_f32(g, f32 + w.offset[0], at_once, a->from, a->to);
        else
            td_generator_uniform_f64(g, f64 + w.offset[0], at_once, a->from, a->to);
    } while (at_once == 1 && walk_next(&w));
    return TD_OK;
}

/* Only a contiguous tensor gets PyTorch's vector fill; any other one is drawn serially, value by value. */
static td_status normal_(td_context *context, const void *args, td_tensor *const *out) {
    const td_normal_in_place_args *a = args;
    td_tensor *x = out[0];
    td_generator *g = context->generator;
    float *f32 = (float *)(void *)td_tensor_bytes(x);
    double *f64 = (double *)(void *)td_tensor_bytes(x);
    if (!td_dtype_is_floating(x->dtype) || !is_computable(x->dtype)) return refuse_dtype(x);
    if (!(a->std >= 0)) return td_fail(TD_ERR_ARG, 0, "model", "std %g is negative", a->std);
    walk w = walk_in_memory(x);
    if (walk_is_empty(&w)) return TD_OK;
    const size_t at_once = x->contiguous ? (size_t)x->count : 1;
    do {
        if (x->dtype == TD_DTYPE_F32)
            td_generator_normal_f32(g, f32 + w.offset[0], at_once, a->mean, a->std);
        else
            td_generator_normal_f64(g, f64 + w.offset[0], at_once, a->mean, a->std);
    } while (at_once == 1 && walk_next(&w));
    return TD_OK;
}

static td_status bernoulli_(td_context *context, const void *args, td_tensor *const *out) {
    const td_bernoulli_in_place_args *a = args;
    td_tensor *x = out[0];
    if (!is_computable(x->dtype)) return refuse_dtype(x);
    if (!(a->p >= 0 && a->p <= 1))
        return td_fail(TD_ERR_ARG, 0, "model", "probability %g is not within [0, 1]", a->p);
    walk w = walk_in_memory(x);
    if (walk_is_empty(&w)) return TD_OK;
    do {
        uint8_t kept;
        td_generator_bernoulli(context->generator, &kept, 1, a->p);
        store_int(td_tensor_bytes(x), w.offset[0], x->dtype, kept);
    } while (walk_next(&w));
    return TD_OK;
}

/* Probabilities in f32 take one word each, in f64 two (rng of PyTorch's bernoulli(Tensor)). */
static td_status bernoulli(td_context *context, const void *args, td_tensor *const *out) {
    const td_bernoulli_args *a = args;
    const td_tensor *p = a->self;
    if (!td_dtype_is_floating(p->dtype) || !is_computable(p->dtype)) return refuse_dtype(p);
    walk w = walk_over(p, out[0], NULL, NULL);
    if (walk_is_empty(&w)) return TD_OK;
    do {
        const double limit = load_real(td_tensor_bytes(p), w.offset[0], p->dtype);
        double draw;
        if (p->dtype == TD_DTYPE_F32) {
            float u;
            td_generator_uniform_f32(context->generator, &u, 1, 0, 1);
            draw = (double)u;
        } else {
            td_generator_uniform_f64(context->generator, &draw, 1, 0, 1);
        }
        store_int(td_tensor_bytes(out[0]), w.offset[1], out[0]->dtype, draw < limit);
    } while (walk_next(&w));
    return TD_OK;
}

/* x times PyTorch's noise: 0, or 1 / (1 - p) rounded in x's dtype. */
static double drop(double x, bool kept, double p, td_dtype dtype) {
    if (dtype == TD_DTYPE_F32) return (double)((float)x * (kept ? 1.0f / (float)(1 - p) : 0.0f));
    return x * (kept ? 1 / (1 - p) : 0.0);
}

static td_status dropout_forward(td_context *context, const void *args, td_tensor *const *out) {
    const td_dropout_forward_args *a = args;
    const td_tensor *x = a->input;
    const td_dtype dtype = x->dtype;
    if (!td_dtype_is_floating(dtype) || !is_computable(dtype)) return refuse_dtype(x);
    walk w = walk_over(x, out[0], out[1], NULL);
    if (walk_is_empty(&w)) return TD_OK;
    do {
        uint8_t kept;
        td_generator_bernoulli(context->generator, &kept, 1, 1 - a->p);
        store_int(td_tensor_bytes(out[1]), w.offset[2], TD_DTYPE_BOOL, kept);
        store_real(td_tensor_bytes(out[0]), w.offset[1], dtype,
                   drop(load_real(td_tensor_bytes(x), w.offset[0], dtype), kept, a->p, dtype));
    } while (walk_next(&w));
    return TD_OK;
}

static td_status dropout_backward(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_dropout_backward_args *a = args;
    const td_tensor *grad = a->grad_output;
    const td_dtype dtype = grad->dtype;
    if (!td_dtype_is_floating(dtype) || !is_computable(dtype)) return refuse_dtype(grad);
    walk w = walk_over(grad, out[0], a->mask, NULL);
    if (walk_is_empty(&w)) return TD_OK;
    do {
        const bool kept = load_int(td_tensor_bytes(a->mask), w.offset[2], a->mask->dtype);
        store_real(td_tensor_bytes(out[0]), w.offset[1], dtype,
                   drop(load_real(td_tensor_bytes(grad), w.offset[0], dtype), kept, a->p, dtype));
    } while (walk_next(&w));
    return TD_OK;
}

const td_kernel_row cpu_reference_random[] = {
    {TD_OP_UNIFORM_, uniform_},
    {TD_OP_NORMAL_, normal_},
    {TD_OP_BERNOULLI_, bernoulli_},
    {TD_OP_BERNOULLI, bernoulli},
    {TD_OP_DROPOUT_FORWARD, dropout_forward},
    {TD_OP_DROPOUT_BACKWARD, dropout_backward},
    TD_KERNELS_END,
};
