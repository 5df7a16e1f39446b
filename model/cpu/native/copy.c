/* Copies of f32 between tensors that lie alike, and from channels_last to N, C, H, W or back. */
#include "base/parallel.h"
#include "model/cpu/internal.h"

typedef struct copy {
    const td_tensor *from;
    td_tensor *to;
} copy;

static bool is_channels_last(const td_tensor *x) {
    return x->ndim == 4 && x->strides[1] == 1 && x->strides[3] == x->sizes[1] &&
           x->strides[2] == x->sizes[3] * x->sizes[1];
}

static bool is_rows_of_pixels(const td_tensor *x) {
    return x->ndim == 4 && x->strides[3] == 1 && x->strides[2] == x->sizes[3] &&
           x->strides[1] == x->sizes[3] * x->sizes[2];
}

#define SQUARE 16

/* to[j * rows + i] = from[i * cols + j], in squares that use whole cache lines on both sides. */
static void transpose(const float *from, int64_t rows, int64_t cols, float *to) {
    for (int64_t i = 0; i < rows; i += SQUARE)
        for (int64_t j = 0; j < cols; j += SQUARE) {
            const int64_t i_end = rows - i < SQUARE ? rows : i + SQUARE,
                          j_end = cols - j < SQUARE ? cols : j + SQUARE;
            for (int64_t l = j; l < j_end; l++)
                for (int64_t k = i; k < i_end; k++) to[l * rows + k] = from[k * cols + l];
        }
}

static void copy_images(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const copy *c = cookie;
    const int64_t channels = c->to->sizes[1], pixels = c->to->sizes[2] * c->to->sizes[3];
    const bool last = is_channels_last(c->from);
    for (int64_t n = (int64_t)begin; n < (int64_t)end; n++)
        transpose(cpu_f32(c->from) + n * c->from->strides[0], last ? pixels : channels,
                  last ? channels : pixels, cpu_f32(c->to) + n * c->to->strides[0]);
}

static void copy_bytes(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const copy *c = cookie;
    memcpy(cpu_f32(c->to) + begin, cpu_f32(c->from) + begin, (end - begin) * sizeof(float));
}

static td_status copy_f32(const td_tensor *from, td_tensor *to) {
    if (from->dtype != TD_DTYPE_F32 || to->dtype != TD_DTYPE_F32 || to->count == 0) return TD_PENDING;
    if (!td_layout_same_sizes(from, to) || from->storage == to->storage) return TD_PENDING;
    copy c = {from, to};
    if (cpu_is_dense_f32(to) && cpu_same_layout(from, to))
        td_parallel_for((size_t)to->count, 65536, copy_bytes, &c);
    else if ((is_channels_last(from) && is_rows_of_pixels(to)) ||
             (is_rows_of_pixels(from) && is_channels_last(to)))
        td_parallel_for((size_t)to->sizes[0], 4, copy_images, &c);
    else
        return TD_PENDING;
    return TD_OK;
}

static td_status clone_kernel(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_clone_args *a = args;
    return copy_f32(a->self, out[0]);
}

static td_status copy_(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_copy_in_place_args *a = args;
    return copy_f32(a->src, out[0]);
}

const td_kernel_row cpu_native_copy[] = {{TD_OP_CLONE, clone_kernel}, {TD_OP_COPY_, copy_}, TD_KERNELS_END};
