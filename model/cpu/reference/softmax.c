/* softmax and log_softmax along one dimension, and their gradients. Arithmetic in f64, rounded once. */
#include "model/cpu/reference/walk.h"

#include <math.h>

/* Dimension `dim` as rows; the others as a walk with the strides of a, b and out. */
typedef struct lines {
    walk others;
    int64_t count, a_step, b_step, out_step;
} lines;

static lines lines_along(int64_t dim, const td_tensor *a, const td_tensor *b, const td_tensor *out) {
    const int64_t along = wrap_dim(dim, a->ndim);
    lines l = {.count = 1};
    for (int d = 0; d < a->ndim; d++) {
        if (d == along) {
            l.count = a->sizes[d];
            l.a_step = a->strides[d], l.b_step = b->strides[d], l.out_step = out->strides[d];
        } else {
            walk_add(&l.others, a->sizes[d], a->strides[d], b->strides[d], out->strides[d], 0);
        }
    }
    return l;
}

static td_status normalise(const td_tensor *x, int64_t dim, bool logarithm, td_tensor *out) {
    if (!is_computable(x->dtype)) return refuse_dtype(x);
    if (!is_computable(out->dtype)) return refuse_dtype(out);
    lines l = lines_along(dim, x, x, out);
    if (walk_is_empty(&l.others) || l.count == 0) return TD_OK;
    const void *in = td_tensor_bytes(x);
    void *to = td_tensor_bytes(out);
    do {
        const int64_t from = l.others.offset[0], into = l.others.offset[2];
        double most = -INFINITY, total = 0;
        for (int64_t i = 0; i < l.count; i++) {
            double v = load_real(in, from + i * l.a_step, x->dtype);
            if (v > most || isnan(v)) most = v;
        }
        for (int64_t i = 0; i < l.count; i++)
            total += exp(load_real(in, from + i * l.a_step, x->dtype) - most);
        for (int64_t i = 0; i < l.count; i++) {
            double v = load_real(in, from + i * l.a_step, x->dtype) - most;
            store_real(to, into + i * l.out_step, out->dtype, logarithm ? v - log(total) : exp(v) / total);
        }
    } while (walk_next(&l.others));
    return TD_OK;
}

static td_status normalise_backward(const td_tensor *grad, const td_tensor *y, int64_t dim, bool logarithm,
                                    td_tensor *out) {
    if (!is_computable(out->dtype)) return refuse_dtype(out);
    lines l = lines_along(dim, grad, y, out);
    if (walk_is_empty(&l.others) || l.count == 0) return TD_OK;
    const void *g = td_tensor_bytes(grad), *r = td_tensor_bytes(y);
    do {
        const int64_t gi = l.others.offset[0], ri = l.others.offset[1], oi = l.others.offset[2];
        double total = 0;
        for (int64_t i = 0; i < l.count; i++) {
            double v = load_real(g, gi + i * l.a_step, grad->dtype);
            total += logarithm ? v : v * load_real(r, ri + i * l.b_step, y->dtype);
        }
        for (int64_t i = 0; i < l.count; i++) {
            double v = load_real(g, gi + i * l.a_step, grad->dtype);
            double result = load_real(r, ri + i * l.b_step, y->dtype);
            store_real(td_tensor_bytes(out), oi + i * l.out_step, out->dtype,
                       logarithm ? v - exp(result) * total : (v - total) * result);
        }
    } while (walk_next(&l.others));
    return TD_OK;
}

static td_status softmax(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_softmax_args *a = args;
    return normalise(a->self, a->dim, false, out[0]);
}

static td_status log_softmax(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_log_softmax_args *a = args;
    return normalise(a->self, a->dim, true, out[0]);
}

static td_status softmax_backward(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_softmax_backward_args *a = args;
    return normalise_backward(a->grad_output, a->output, a->dim, false, out[0]);
}

static td_status log_softmax_backward(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_log_softmax_backward_args *a = args;
    return normalise_backward(a->grad_output, a->output, a->dim, true, out[0]);
}

const td_kernel_row cpu_reference_softmax[] = {
    {TD_OP_SOFTMAX, softmax},
    {TD_OP_LOG_SOFTMAX, log_softmax},
    {TD_OP_SOFTMAX_BACKWARD, softmax_backward},
    {TD_OP_LOG_SOFTMAX_BACKWARD, log_softmax_backward},
    TD_KERNELS_END,
};
