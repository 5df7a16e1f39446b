/* Batch normalisation, channel by channel, any strides, in f64. */
#include "model/cpu/internal.h"
#include "model/cpu/reference/walk.h"

#include <math.h>

/* A walk over one channel of x, and of y and z beside it. */
static walk channel_of(const td_tensor *x, const td_tensor *y, const td_tensor *z, int64_t c) {
    walk w = {0};
    for (int d = 0; d < x->ndim; d++)
        if (d != 1) walk_add(&w, x->sizes[d], x->strides[d], y ? y->strides[d] : 0, z ? z->strides[d] : 0, 0);
    w.offset[0] = c * x->strides[1];
    w.offset[1] = y ? c * y->strides[1] : 0;
    w.offset[2] = z ? c * z->strides[1] : 0;
    return w;
}

static double at(const td_tensor *x, int64_t offset) {
    return load_real(td_tensor_bytes(x), offset, (td_dtype)x->dtype);
}

static void put(const td_tensor *x, int64_t offset, double value) {
    store_real(td_tensor_bytes(x), offset, (td_dtype)x->dtype, value);
}

/* Number i of a list with one for each channel, `otherwise` where there is no list. */
static double given(const td_tensor *x, int64_t i, double otherwise) {
    return x ? at(x, i * x->strides[0]) : otherwise;
}

static double statistic(const td_tensor *s, int row, int64_t c) {
    return at(s, row * s->strides[0] + c * s->strides[1]);
}

static void set_statistic(const td_tensor *s, int row, int64_t c, double value) {
    put(s, row * s->strides[0] + c * s->strides[1], value);
}

static void collect(const td_tensor *x, int64_t c, double *mean, double *variance) {
    walk w = channel_of(x, NULL, NULL, c);
    double sum = 0, squares = 0, count = 0;
    *mean = *variance = 0;
    if (walk_is_empty(&w)) return;
    do sum += at(x, w.offset[0]), count++;
    while (walk_next(&w));
    *mean = sum / count;
    w = channel_of(x, NULL, NULL, c);
    do {
        const double d = at(x, w.offset[0]) - *mean;
        squares += d * d;
    } while (walk_next(&w));
    *variance = squares / count;
}

static td_status batch_norm_statistics(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_batch_norm_statistics_args *a = args;
    if (!is_computable((td_dtype)a->input->dtype)) return refuse_dtype(a->input);
    for (int64_t c = 0; c < a->input->sizes[1]; c++) {
        double mean, variance;
        collect(a->input, c, &mean, &variance);
        set_statistic(out[0], 0, c, mean);
        set_statistic(out[0], 1, c, variance);
    }
    return TD_OK;
}

static td_status batch_norm_forward(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_batch_norm_forward_args *a = args;
    const td_tensor *x = a->input;
    if (!is_computable((td_dtype)x->dtype)) return refuse_dtype(x);
    for (int64_t c = 0; c < x->sizes[1]; c++) {
        double mean, variance;
        if (a->training)
            collect(x, c, &mean, &variance);
        else
            mean = given(a->running_mean, c, 0), variance = given(a->running_var, c, 1);
        set_statistic(out[1], 0, c, mean);
        set_statistic(out[1], 1, c, variance);
        const double scale = given(a->weight, c, 1) / sqrt(variance + a->eps), bias = given(a->bias, c, 0);
        walk w = channel_of(x, out[0], NULL, c);
        if (walk_is_empty(&w)) continue;
        do put(out[0], w.offset[1], (at(x, w.offset[0]) - mean) * scale + bias);
        while (walk_next(&w));
    }
    return TD_OK;
}

static td_status batch_norm_backward_sums(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_batch_norm_backward_sums_args *a = args;
    const td_tensor *x = a->input, *g = a->grad_output;
    if (!is_computable((td_dtype)x->dtype)) return refuse_dtype(x);
    for (int64_t c = 0; c < x->sizes[1]; c++) {
        const double mean = statistic(a->statistics, 0, c),
                     scale = 1 / sqrt(statistic(a->statistics, 1, c) + a->eps);
        double sum = 0, products = 0;
        walk w = channel_of(x, g, NULL, c);
        if (!walk_is_empty(&w)) do {
                sum += at(g, w.offset[1]);
                products += at(g, w.offset[1]) * (at(x, w.offset[0]) - mean);
            } while (walk_next(&w));
        set_statistic(out[0], 0, c, products * scale);
        set_statistic(out[0], 1, c, sum);
    }
    return TD_OK;
}

static td_status batch_norm_backward_input(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_batch_norm_backward_input_args *a = args;
    const td_tensor *x = a->input, *g = a->grad_output;
    if (!is_computable((td_dtype)x->dtype)) return refuse_dtype(x);
    for (int64_t c = 0; c < x->sizes[1]; c++) {
        const double mean = statistic(a->statistics, 0, c),
                     scale = 1 / sqrt(statistic(a->statistics, 1, c) + a->eps);
        double offset = 0, slope = 0;
        if (a->sums) {
            slope = statistic(a->sums, 0, c) * scale / a->count;
            offset = statistic(a->sums, 1, c) / a->count;
        }
        walk w = channel_of(x, g, out[0], c);
        if (walk_is_empty(&w)) continue;
        do
            put(out[0], w.offset[2],
                (at(g, w.offset[1]) - offset - (at(x, w.offset[0]) - mean) * slope) * scale *
                    given(a->weight, c, 1));
        while (walk_next(&w));
    }
    return TD_OK;
}

const td_kernel_row cpu_reference_norm[] = {
    {TD_OP_BATCH_NORM_FORWARD, batch_norm_forward},
    {TD_OP_BATCH_NORM_STATISTICS, batch_norm_statistics},
    {TD_OP_BATCH_NORM_BACKWARD_SUMS, batch_norm_backward_sums},
    {TD_OP_BATCH_NORM_BACKWARD_INPUT, batch_norm_backward_input},
    TD_KERNELS_END,
};
