/*
 * Dropout of f32 tensors: the mask is drawn in logical order by the calling thread (there is one stream), in
 * stretches that stay in the cache, and applied at once.
 */
#include "model/cpu/internal.h"

#define STRETCH 4096

/* Logical order is memory order: one dimension. */
static void drop_contiguous(const cpu_fast *fast, td_generator *g, const td_tensor *x, double p, float scale,
                            td_tensor *y, td_tensor *mask) {
    uint8_t *kept = (uint8_t *)td_tensor_bytes(mask);
    for (int64_t i = 0; i < x->count; i += STRETCH) {
        const int64_t count = x->count - i < STRETCH ? x->count - i : STRETCH;
        td_generator_bernoulli(g, kept + i, (size_t)count, 1 - p);
        fast->drop(cpu_f32(x) + i, kept + i, scale, cpu_f32(y) + i, count);
    }
}

/* Images whose rows and columns lie like one dimension of pixels: each channel's mask is drawn in order, then
 * spread over the pixels. */
static void drop_images(const cpu_fast *fast, td_generator *g, const td_tensor *x, double p, float scale,
                        td_tensor *y, td_tensor *mask) {
    const int64_t channels = x->sizes[1], pixels = x->sizes[2] * x->sizes[3];
    uint8_t drawn[STRETCH];
    for (int64_t n = 0; n < x->sizes[0]; n++) {
        uint8_t *kept = (uint8_t *)td_tensor_bytes(mask) + n * mask->strides[0];
        for (int64_t c = 0; c < channels; c++) {
            for (int64_t i = 0; i < pixels; i += STRETCH) {
                const int64_t count = pixels - i < STRETCH ? pixels - i : STRETCH;
                td_generator_bernoulli(g, drawn, (size_t)count, 1 - p);
                for (int64_t k = 0; k < count; k++) kept[(i + k) * channels + c] = drawn[k];
            }
        }
        fast->drop(cpu_f32(x) + n * x->strides[0], kept, scale, cpu_f32(y) + n * y->strides[0],
                   pixels * channels);
    }
}

static bool is_channels_last(const td_tensor *x) {
    return x->ndim == 4 && x->strides[1] == 1 && x->strides[3] == x->sizes[1] &&
           x->strides[2] == x->sizes[3] * x->sizes[1];
}

static td_status dropout_forward(td_context *context, const void *args, td_tensor *const *out) {
    const td_dropout_forward_args *a = args;
    const td_tensor *x = a->input;
    if (x->dtype != TD_DTYPE_F32) return TD_PENDING;
    const cpu_fast *fast = cpu_state_of(context)->fast;
    const float scale = 1.0f / (float)(1 - a->p);
    if (x->contiguous && out[0]->contiguous && out[1]->contiguous)
        drop_contiguous(fast, context->generator, x, a->p, scale, out[0], out[1]);
    else if (is_channels_last(x) && is_channels_last(out[0]) && is_channels_last(out[1]))
        drop_images(fast, context->generator, x, a->p, scale, out[0], out[1]);
    else
        return TD_PENDING;
    return TD_OK;
}

/* The gradient of a flattened image lies N, C, H, W, its mask channels_last: pixel by pixel through one
 * image, which fits the first-level cache. */
static void drop_mixed(const td_tensor *g, const td_tensor *mask, float scale, td_tensor *y) {
    const int64_t channels = g->sizes[1], pixels = g->sizes[2] * g->sizes[3];
    for (int64_t n = 0; n < g->sizes[0]; n++) {
        const float *from = cpu_f32(g) + n * g->strides[0];
        const uint8_t *kept = (const uint8_t *)td_tensor_bytes(mask) + n * mask->strides[0];
        float *to = cpu_f32(y) + n * y->strides[0];
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < pixels; i++)
                to[c * pixels + i] = from[c * pixels + i] * (kept[i * channels + c] ? scale : 0.0f);
    }
}

static td_status dropout_backward(td_context *context, const void *args, td_tensor *const *out) {
    const td_dropout_backward_args *a = args;
    const td_tensor *g = a->grad_output, *mask = a->mask;
    td_tensor *y = out[0];
    if (g->dtype != TD_DTYPE_F32 || y->dtype != TD_DTYPE_F32) return TD_PENDING;
    const float scale = 1.0f / (float)(1 - a->p);
    if (cpu_is_dense_f32(g) && cpu_same_layout(g, y) && cpu_same_layout(g, mask))
        cpu_state_of(context)->fast->drop(cpu_f32(g), (const uint8_t *)td_tensor_bytes(mask), scale,
                                          cpu_f32(y), g->count);
    else if (g->ndim == 4 && g->contiguous && y->contiguous && is_channels_last(mask))
        drop_mixed(g, mask, scale, y);
    else
        return TD_PENDING;
    return TD_OK;
}

const td_kernel_row cpu_native_dropout[] = {
    {TD_OP_DROPOUT_FORWARD, dropout_forward},
    {TD_OP_DROPOUT_BACKWARD, dropout_backward},
    TD_KERNELS_END,
};
