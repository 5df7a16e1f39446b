/*
 * Convolutions with few taps (input channels x window), as a network's first layer has: any strides of the
 * images, any stride, padding and dilation. Each image is copied with its padding, which costs little next to
 * its many outputs.
 */
#include "base/parallel.h"
#include "model/cpu/internal.h"
#include "model/cpu/native/conv.h"

static bool is_direct(const td_tensor *x, const td_tensor *w, const td_tensor *y, int64_t groups) {
    return groups == 1 && x->dtype == TD_DTYPE_F32 && w->dtype == TD_DTYPE_F32 && y->dtype == TD_DTYPE_F32 &&
           x->sizes[1] <= 4 && w->sizes[1] * w->sizes[2] * w->sizes[3] <= CPU_DIRECT_TAPS && y->count > 0 &&
           x->count > 0 && (y->strides[1] == 1 || y->sizes[1] == 1);
}

typedef struct direct_job {
    const cpu_fast *fast;
    cpu_direct v;
    const td_tensor *x;
    int64_t pad_rows, pad_cols, rows, cols; /* padding, and the padded image's sizes */
    float *images, *sums, *spare;           /* per thread, of these floats: */
    size_t image_floats, sums_floats, spare_floats;
} direct_job;

/* The padded image keeps the channels innermost. */
static direct_job describe(td_context *context, const td_tensor *x, const td_tensor *w, const td_tensor *y,
                           const int64_t stride[2], const int64_t padding[2], const int64_t dilation[2]) {
    direct_job j = {
        .fast = cpu_state_of(context)->fast, .x = x, .pad_rows = padding[0], .pad_cols = padding[1]};
    const int64_t channels = x->sizes[1];
    j.rows = x->sizes[2] + 2 * padding[0];
    j.cols = x->sizes[3] + 2 * padding[1];
    j.v.output = cpu_image_of(y);
    j.v.k_padded = cpu_round_up(y->sizes[1], 2 * j.fast->lanes);
    j.v.step = stride[1] * channels;
    j.v.row_step = stride[0] * j.cols * channels;
    for (int64_t r = 0; r < w->sizes[2]; r++)
        for (int64_t s = 0; s < w->sizes[3]; s++)
            for (int64_t c = 0; c < channels; c++)
                j.v.offsets[j.v.taps++] = (r * dilation[0] * j.cols + s * dilation[1]) * channels + c;
    j.image_floats = (size_t)cpu_round_up(j.rows * j.cols * channels, 16);
    j.sums_floats = (size_t)(j.v.taps * j.v.k_padded);
    j.spare_floats = (size_t)(y->sizes[3] * 2 * j.fast->lanes);
    return j;
}

static void copy_padded(const direct_job *j, int64_t n, float *to) {
    const td_tensor *x = j->x;
    const int64_t channels = x->sizes[1];
    memset(to, 0, j->image_floats * sizeof *to);
    for (int64_t c = 0; c < channels; c++)
        for (int64_t row = 0; row < x->sizes[2]; row++) {
            const float *from = cpu_f32(x) + n * x->strides[0] + c * x->strides[1] + row * x->strides[2];
            float *at = to + ((row + j->pad_rows) * j->cols + j->pad_cols) * channels + c;
            for (int64_t col = 0; col < x->sizes[3]; col++) at[col * channels] = from[col * x->strides[3]];
        }
}

static void run_forward(size_t begin, size_t end, int thread, void *cookie) {
    const direct_job *j = cookie;
    float *image = j->images + (size_t)thread * j->image_floats;
    for (int64_t n = (int64_t)begin; n < (int64_t)end; n++) {
        copy_padded(j, n, image);
        j->fast->direct_forward(&j->v, image, n);
    }
}

static void run_weights(size_t begin, size_t end, int thread, void *cookie) {
    const direct_job *j = cookie;
    float *image = j->images + (size_t)thread * j->image_floats;
    for (int64_t n = (int64_t)begin; n < (int64_t)end; n++) {
        copy_padded(j, n, image);
        j->fast->direct_weights(&j->v, image, n, j->sums + (size_t)thread * j->sums_floats,
                                j->spare + (size_t)thread * j->spare_floats);
    }
}

/* Offset in w of tap t, which counts rows, columns, channels from outermost to innermost. */
static int64_t tap_offset(const td_tensor *w, int64_t t) {
    const int64_t channels = w->sizes[1], pixel = t / channels;
    return t % channels * w->strides[1] + pixel / w->sizes[3] * w->strides[2] +
           pixel % w->sizes[3] * w->strides[3];
}

td_status cpu_direct_forward(td_context *context, const td_conv2d_forward_args *a, td_tensor *y) {
    if (!is_direct(a->input, a->weight, y, a->groups)) return TD_PENDING;
    direct_job j = describe(context, a->input, a->weight, y, a->stride, a->padding, a->dilation);
    const size_t threads = (size_t)td_parallel_threads(), k_padded = (size_t)j.v.k_padded;
    float *packed = cpu_scratch(context, j.sums_floats + k_padded + threads * j.image_floats);
    if (!packed) return TD_ERR_MEMORY;
    float *bias = packed + j.sums_floats;
    memset(packed, 0, (j.sums_floats + k_padded) * sizeof *packed);
    for (int64_t k = 0; k < y->sizes[1]; k++) {
        const float *w = cpu_f32(a->weight) + k * a->weight->strides[0];
        if (a->bias) bias[k] = cpu_f32(a->bias)[k * a->bias->strides[0]];
        for (int64_t t = 0; t < j.v.taps; t++) packed[t * j.v.k_padded + k] = w[tap_offset(a->weight, t)];
    }
    j.v.weights = packed;
    j.v.bias = bias;
    j.images = bias + k_padded;
    td_parallel_for((size_t)y->sizes[0], 1, run_forward, &j);
    return TD_OK;
}

td_status cpu_direct_weights(td_context *context, const td_conv2d_backward_weight_args *a, td_tensor *dw) {
    if (!is_direct(a->input, dw, a->grad_output, a->groups)) return TD_PENDING;
    direct_job j = describe(context, a->input, dw, a->grad_output, a->stride, a->padding, a->dilation);
    const size_t threads = (size_t)td_parallel_threads();
    j.sums = cpu_scratch(context, threads * (j.sums_floats + j.image_floats + j.spare_floats));
    if (!j.sums) return TD_ERR_MEMORY;
    j.images = j.sums + threads * j.sums_floats;
    j.spare = j.images + threads * j.image_floats;
    memset(j.sums, 0, threads * j.sums_floats * sizeof *j.sums);
    td_parallel_for((size_t)a->grad_output->sizes[0], 1, run_weights, &j);
    for (size_t t = 1; t < threads; t++)
        j.fast->add(j.sums, j.sums + t * j.sums_floats, 1, j.sums, (int64_t)j.sums_floats);
    for (int64_t k = 0; k < dw->sizes[0]; k++)
        for (int64_t t = 0; t < j.v.taps; t++)
            cpu_f32(dw)[k * dw->strides[0] + tap_offset(dw, t)] = j.sums[t * j.v.k_padded + k];
    return TD_OK;
}
