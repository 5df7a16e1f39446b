/*
 * Max pooling of channels_last f32 images, all channels of a window at once. The gradient is written where
 * windows do not overlap, so that nothing needs clearing first; its incoming side may have any strides, since
 * behind the pooling a flattened gradient usually lies N, C, H, W.
 */
#include "base/parallel.h"
#include "model/cpu/internal.h"

#define MAX_WINDOW 64

typedef struct windows {
    const cpu_fast *fast;
    const td_tensor *image, *pooled, *choice;
    int64_t kernel[2], stride[2], padding[2], dilation[2];
} windows;

static void set_window(windows *p, const int64_t kernel[2], const int64_t stride[2], const int64_t padding[2],
                       const int64_t dilation[2]) {
    for (int i = 0; i < 2; i++)
        p->kernel[i] = kernel[i], p->stride[i] = stride[i], p->padding[i] = padding[i],
        p->dilation[i] = dilation[i];
}

static bool channels_adjoin(const td_tensor *x) { return x->strides[1] == 1 || x->sizes[1] == 1; }

/* Offsets in the image of the window positions of output row y, column x, that lie inside; how many. */
static int64_t list_positions(const windows *p, int64_t n, int64_t y, int64_t x, int64_t *offsets,
                              uint8_t *positions) {
    const td_tensor *image = p->image;
    int64_t count = 0;
    for (int64_t r = 0; r < p->kernel[0]; r++) {
        const int64_t row = y * p->stride[0] - p->padding[0] + r * p->dilation[0];
        if (row < 0 || row >= image->sizes[2]) continue;
        for (int64_t s = 0; s < p->kernel[1]; s++) {
            const int64_t col = x * p->stride[1] - p->padding[1] + s * p->dilation[1];
            if (col < 0 || col >= image->sizes[3]) continue;
            offsets[count] = n * image->strides[0] + row * image->strides[2] + col * image->strides[3];
            positions[count++] = (uint8_t)(r * p->kernel[1] + s);
        }
    }
    return count;
}

typedef void one_window(const windows *p, int64_t n, int64_t y, int64_t x, const int64_t *offsets,
                        const uint8_t *positions, int64_t count);

typedef struct job {
    const windows *p;
    one_window *each;
} job;

/* Rows of windows, counted over all images. */
static void run_rows(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const job *j = cookie;
    const td_tensor *pooled = j->p->pooled;
    for (int64_t i = (int64_t)begin; i < (int64_t)end; i++) {
        const int64_t n = i / pooled->sizes[2], y = i % pooled->sizes[2];
        for (int64_t x = 0; x < pooled->sizes[3]; x++) {
            int64_t offsets[MAX_WINDOW];
            uint8_t positions[MAX_WINDOW];
            const int64_t count = list_positions(j->p, n, y, x, offsets, positions);
            j->each(j->p, n, y, x, offsets, positions, count);
        }
    }
}

static int64_t place(const td_tensor *x, int64_t n, int64_t row, int64_t col) {
    return n * x->strides[0] + row * x->strides[2] + col * x->strides[3];
}

static void pool_window(const windows *p, int64_t n, int64_t y, int64_t x, const int64_t *offsets,
                        const uint8_t *positions, int64_t count) {
    p->fast->pool(cpu_f32(p->image), offsets, positions, count, p->image->sizes[1],
                  cpu_f32(p->pooled) + place(p->pooled, n, y, x),
                  (uint8_t *)td_tensor_bytes(p->choice) + place(p->choice, n, y, x));
}

static void unpool_window(const windows *p, int64_t n, int64_t y, int64_t x, const int64_t *offsets,
                          const uint8_t *positions, int64_t count) {
    const float *g = cpu_f32(p->pooled) + place(p->pooled, n, y, x);
    const uint8_t *choice = (const uint8_t *)td_tensor_bytes(p->choice) + place(p->choice, n, y, x);
    for (int64_t c = 0; c < p->image->sizes[1]; c += CPU_UNPOOL_CHANNELS) {
        const int64_t left = p->image->sizes[1] - c;
        p->fast->unpool(g + c * p->pooled->strides[1], p->pooled->strides[1], choice + c, offsets, positions,
                        count, left < CPU_UNPOOL_CHANNELS ? left : CPU_UNPOOL_CHANNELS,
                        cpu_f32(p->image) + c);
    }
}

static bool fits(const windows *p) {
    return p->image->dtype == TD_DTYPE_F32 && p->pooled->dtype == TD_DTYPE_F32 && channels_adjoin(p->image) &&
           p->choice->dtype == TD_DTYPE_U8 && channels_adjoin(p->choice) &&
           p->kernel[0] * p->kernel[1] <= MAX_WINDOW && p->pooled->count > 0;
}

static td_status max_pool2d_forward(td_context *context, const void *args, td_tensor *const *out) {
    const td_max_pool2d_forward_args *a = args;
    windows p = {.fast = cpu_state_of(context)->fast, .image = a->self, .pooled = out[0], .choice = out[1]};
    set_window(&p, a->kernel_size, a->stride, a->padding, a->dilation);
    if (!fits(&p) || !channels_adjoin(out[0])) return TD_PENDING;
    td_parallel_for((size_t)(out[0]->sizes[0] * out[0]->sizes[2]), 8, run_rows, &(job){&p, pool_window});
    return TD_OK;
}

/* Do the windows tile the rows (d = 0) or columns (1) without overlap, and reach the end? */
static bool tiles(const windows *p, int d, bool *covered) {
    *covered = p->pooled->sizes[2 + d] * p->stride[d] - p->padding[d] >= p->image->sizes[2 + d] &&
               p->stride[d] == p->kernel[d];
    return p->dilation[d] == 1 && p->stride[d] >= p->kernel[d];
}

static td_status max_pool2d_backward(td_context *context, const void *args, td_tensor *const *out) {
    const td_max_pool2d_backward_args *a = args;
    windows p = {
        .fast = cpu_state_of(context)->fast, .image = out[0], .pooled = a->grad_output, .choice = a->choice};
    set_window(&p, a->kernel_size, a->stride, a->padding, a->dilation);
    bool rows_covered = false, cols_covered = false;
    if (!fits(&p) || !tiles(&p, 0, &rows_covered) || !tiles(&p, 1, &cols_covered)) return TD_PENDING;
    if (!rows_covered || !cols_covered) {
        if (!cpu_is_dense_f32(out[0])) return TD_PENDING;
        p.fast->fill(cpu_f32(out[0]), 0, out[0]->count);
    }
    td_parallel_for((size_t)(p.pooled->sizes[0] * p.pooled->sizes[2]), 8, run_rows,
                    &(job){&p, unpool_window});
    return TD_OK;
}

const td_kernel_row cpu_native_pool[] = {
    {TD_OP_MAX_POOL2D_FORWARD, max_pool2d_forward},
    {TD_OP_MAX_POOL2D_BACKWARD, max_pool2d_backward},
    TD_KERNELS_END,
};
