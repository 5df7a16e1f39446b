/*
 * Max pooling. Beside the largest elements it keeps which window position each came from (row by row, counted
 * from 0, positions in the padding included), so that the gradient needs neither input nor output. As in
 * PyTorch the first of equal elements is chosen, and of several NaN the last.
 */
#include "model/cpu/reference/walk.h"

typedef struct windows {
    int64_t kernel[2], stride[2], padding[2], dilation[2];
} windows;

static windows describe(const int64_t kernel[2], const int64_t stride[2], const int64_t padding[2],
                        const int64_t dilation[2]) {
    windows p;
    for (int i = 0; i < 2; i++)
        p.kernel[i] = kernel[i], p.stride[i] = stride[i], p.padding[i] = padding[i],
        p.dilation[i] = dilation[i];
    return p;
}

static int64_t offset4(const td_tensor *x, int64_t a, int64_t b, int64_t c, int64_t d) {
    return a * x->strides[0] + b * x->strides[1] + c * x->strides[2] + d * x->strides[3];
}

/* Offset in x of window position `choice` of the output at `at`; -1 in the padding. */
static int64_t offset_of(const windows *p, const td_tensor *x, const int64_t at[4], int64_t choice) {
    const int64_t row = at[2] * p->stride[0] - p->padding[0] + choice / p->kernel[1] * p->dilation[0];
    const int64_t col = at[3] * p->stride[1] - p->padding[1] + choice % p->kernel[1] * p->dilation[1];
    if (row < 0 || row >= x->sizes[2] || col < 0 || col >= x->sizes[3]) return -1;
    return offset4(x, at[0], at[1], row, col);
}

#define CHOOSE(dtype, type, name)                                                                            \
    static int64_t choose_##name(const windows *p, const td_tensor *x, const int64_t at[4]) {                \
        const type *data = (const type *)(const void *)td_tensor_bytes(x);                                   \
        int64_t choice = -1;                                                                                 \
        type most = 0;                                                                                       \
        for (int64_t i = 0; i < p->kernel[0] * p->kernel[1]; i++) {                                          \
            const int64_t offset = offset_of(p, x, at, i);                                                   \
            if (offset < 0) continue;                                                                        \
            if (choice < 0 || data[offset] > most || data[offset] != data[offset])                           \
                most = data[offset], choice = i;                                                             \
        }                                                                                                    \
        return choice;                                                                                       \
    }
EACH_DTYPE(CHOOSE)
#undef CHOOSE

static int64_t (*const choose_of[TD_DTYPE_COUNT])(const windows *p, const td_tensor *x,
                                                  const int64_t at[4]) = {
#define CHOOSE(dtype, type, name) [dtype] = choose_##name,
    EACH_DTYPE(CHOOSE)
#undef CHOOSE
};

static td_status max_pool2d_forward(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_max_pool2d_forward_args *a = args;
    const td_tensor *x = a->self;
    if (!choose_of[x->dtype]) return refuse_dtype(x);
    const windows p = describe(a->kernel_size, a->stride, a->padding, a->dilation);
    const size_t size = td_dtype_size(x->dtype);
    walk w = walk_over(out[0], out[1], NULL, NULL);
    if (walk_is_empty(&w)) return TD_OK;
    do {
        const int64_t choice = choose_of[x->dtype](&p, x, w.at);
        store_int(td_tensor_bytes(out[1]), w.offset[1], out[1]->dtype, choice);
        memcpy(td_tensor_bytes(out[0]) + w.offset[0] * (int64_t)size,
               element(td_tensor_bytes(x), offset_of(&p, x, w.at, choice), x->dtype), size);
    } while (walk_next(&w));
    return TD_OK;
}

/* The offset in images `x` that the output at w->at chose, or a failure. */
static td_status chosen(const windows *p, const td_tensor *x, const td_tensor *choice, const walk *w,
                        int64_t choice_offset, int64_t *offset) {
    const int64_t i = load_int(td_tensor_bytes(choice), choice_offset, choice->dtype);
    const int64_t at = i < 0 || i >= p->kernel[0] * p->kernel[1] ? -1 : offset_of(p, x, w->at, i);
    if (at < 0)
        return td_fail(TD_ERR_ARG, 0, "model", "choice %lld is no position of its window inside the image",
                       (long long)i);
    *offset = at;
    return TD_OK;
}

static td_status max_pool2d_backward(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_max_pool2d_backward_args *a = args;
    td_tensor *x = out[0];
    if (!is_computable(x->dtype)) return refuse_dtype(x);
    const windows p = describe(a->kernel_size, a->stride, a->padding, a->dilation);
    walk all = walk_over(x, NULL, NULL, NULL);
    if (walk_is_empty(&all)) return TD_OK;
    do store_int(td_tensor_bytes(x), all.offset[0], x->dtype, 0);
    while (walk_next(&all));
    walk w = walk_over(a->grad_output, a->choice, NULL, NULL);
    if (walk_is_empty(&w)) return TD_OK;
    do {
        int64_t at = 0;
        TD_TRY(chosen(&p, x, a->choice, &w, w.offset[1], &at));
        const double sum = load_real(td_tensor_bytes(x), at, x->dtype) +
                           load_real(td_tensor_bytes(a->grad_output), w.offset[0], a->grad_output->dtype);
        store_real(td_tensor_bytes(x), at, x->dtype, sum);
    } while (walk_next(&w));
    return TD_OK;
}

static td_status max_pool2d_chosen(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_max_pool2d_chosen_args *a = args;
    const td_tensor *x = a->self;
    const windows p = describe(a->kernel_size, a->stride, a->padding, a->dilation);
    const size_t size = td_dtype_size(x->dtype);
    walk w = walk_over(out[0], a->choice, NULL, NULL);
    if (walk_is_empty(&w)) return TD_OK;
    do {
        int64_t at = 0;
        TD_TRY(chosen(&p, x, a->choice, &w, w.offset[1], &at));
        memcpy(td_tensor_bytes(out[0]) + w.offset[0] * (int64_t)size,
               element(td_tensor_bytes(x), at, x->dtype), size);
    } while (walk_next(&w));
    return TD_OK;
}

const td_kernel_row cpu_reference_pool[] = {
    {TD_OP_MAX_POOL2D_FORWARD, max_pool2d_forward},
    {TD_OP_MAX_POOL2D_BACKWARD, max_pool2d_backward},
    {TD_OP_MAX_POOL2D_CHOSEN, max_pool2d_chosen},
    TD_KERNELS_END,
};
