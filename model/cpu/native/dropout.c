/*
 * Dropout of f32 tensors: the mask is drawn in logical order by the calling thread (there is one stream), in
 * stretches that stay in the cache, and applied at once.
 */
#include "model/cpu/internal.h"

#include <emmintrin.h>

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

/* 16 x 16 bytes: four rounds of dealing two halves of the rows into one another. */
static void transpose_square(const uint8_t *from, int64_t from_stride, uint8_t *to, int64_t to_stride) {
    __m128i rows[16], dealt[16];
    for (int i = 0; i < 16; i++)
        rows[i] = _mm_loadu_si128((const __m128i *)(const void *)(from + i * from_stride));
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            dealt[2 * i] = _mm_unpacklo_epi8(rows[i], rows[i + 8]);
            dealt[2 * i + 1] = _mm_unpackhi_epi8(rows[i], rows[i + 8]);
        }
        memcpy(rows, dealt, sizeof rows);
    }
    for (int i = 0; i < 16; i++) _mm_storeu_si128((__m128i *)(void *)(to + i * to_stride), rows[i]);
}

/* to[j * rows + i] = from[i * cols + j]. */
static void transpose_bytes(const uint8_t *from, int64_t rows, int64_t cols, uint8_t *to) {
    int64_t i = 0;
    for (; i + 16 <= rows; i += 16) {
        int64_t j = 0;
        for (; j + 16 <= cols; j += 16) transpose_square(from + i * cols + j, cols, to + j * rows + i, rows);
        for (; j < cols; j++)
            for (int64_t k = i; k < i + 16; k++) to[j * rows + k] = from[k * cols + j];
    }
    for (; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) to[j * rows + i] = from[i * cols + j];
}

/* One image's mask, as bytes, channel by channel or pixel by pixel. */
static uint8_t *mask_buffer(td_context *context, const td_tensor *x) {
    return (uint8_t *)cpu_scratch(context,
                                  (size_t)(x->sizes[1] * x->sizes[2] * x->sizes[3]) / sizeof(float) + 1);
}

/* Images in channels_last: each one's mask is drawn channel by channel, then turned. */
static td_status drop_images(td_context *context, const td_tensor *x, double p, float scale, td_tensor *y,
                             td_tensor *mask) {
    const int64_t channels = x->sizes[1], pixels = x->sizes[2] * x->sizes[3];
    uint8_t *drawn = mask_buffer(context, x);
    if (!drawn) return TD_ERR_MEMORY;
    for (int64_t n = 0; n < x->sizes[0]; n++) {
        uint8_t *kept = (uint8_t *)td_tensor_bytes(mask) + n * mask->strides[0];
        td_generator_bernoulli(context->generator, drawn, (size_t)(channels * pixels), 1 - p);
        transpose_bytes(drawn, channels, pixels, kept);
        cpu_state_of(context)->fast->drop(cpu_f32(x) + n * x->strides[0], kept, scale,
                                          cpu_f32(y) + n * y->strides[0], pixels * channels);
    }
    return TD_OK;
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
        return drop_images(context, x, a->p, scale, out[0], out[1]);
    else
        return TD_PENDING;
    return TD_OK;
}

/* The gradient of flattened images lies N, C, H, W, their mask channels_last: it is turned image by image. */
static td_status drop_mixed(td_context *context, const td_tensor *g, const td_tensor *mask, float scale,
                            td_tensor *y) {
    const int64_t channels = g->sizes[1], pixels = g->sizes[2] * g->sizes[3];
    uint8_t *turned = mask_buffer(context, g);
    if (!turned) return TD_ERR_MEMORY;
    for (int64_t n = 0; n < g->sizes[0]; n++) {
        transpose_bytes((const uint8_t *)td_tensor_bytes(mask) + n * mask->strides[0], pixels, channels,
                        turned);
        cpu_state_of(context)->fast->drop(cpu_f32(g) + n * g->strides[0], turned, scale,
                                          cpu_f32(y) + n * y->strides[0], pixels * channels);
    }
    return TD_OK;
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
        return drop_mixed(context, g, mask, scale, y);
    else
        return TD_PENDING;
    return TD_OK;
}

const td_kernel_row cpu_native_dropout[] = {
    {TD_OP_DROPOUT_FORWARD, dropout_forward},
    {TD_OP_DROPOUT_BACKWARD, dropout_backward},
    TD_KERNELS_END,
};
