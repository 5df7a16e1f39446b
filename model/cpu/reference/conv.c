/*
 * Two-dimensional convolution and its gradients, straight from the definition: images N, C, H, W and weights
 * O, C / groups, R, S of any strides. Sums run in f64 and are rounded once.
 *
 *     output[n][o][y][x] = bias[o] + sum over c, r, s of
 *         input[n][c][y * stride - padding + r * dilation][same for x] * weight[o][c][r][s]
 */
#include "model/cpu/reference/walk.h"

typedef struct convolution {
    const td_tensor *input, *weight, *bias, *output;
    int64_t stride[2], padding[2], dilation[2];
    int64_t per_group, outs_per_group; /* input and output channels of a group */
} convolution;

static convolution describe(const td_tensor *input, const td_tensor *weight, const td_tensor *bias,
                            const td_tensor *output, const int64_t stride[2], const int64_t padding[2],
                            const int64_t dilation[2], int64_t groups) {
    convolution c = {input, weight, bias, output};
    for (int i = 0; i < 2; i++)
        c.stride[i] = stride[i], c.padding[i] = padding[i], c.dilation[i] = dilation[i];
    c.per_group = weight->sizes[1];
    c.outs_per_group = weight->sizes[0] / groups;
    return c;
}

static inline int64_t offset4(const td_tensor *x, int64_t a, int64_t b, int64_t c, int64_t d) {
    return a * x->strides[0] + b * x->strides[1] + c * x->strides[2] + d * x->strides[3];
}

/* Window positions [from, to) of one direction whose input lies inside the image. */
static inline void clip_window(int64_t first, int64_t dilation, int64_t extent, int64_t window, int64_t *from,
                               int64_t *to) {
    *from = first < 0 ? (-first + dilation - 1) / dilation : 0;
    *to = first >= extent ? 0 : (extent - 1 - first) / dilation + 1;
    if (*to > window) *to = window;
}

/* The inverse: does window position r of some output row read input row i, and of which? */
static inline bool output_of(int64_t i, int64_t r, int64_t stride, int64_t padding, int64_t dilation,
                             int64_t extent, int64_t *y) {
    const int64_t at = i + padding - r * dilation;
    *y = at / stride;
    return at >= 0 && at % stride == 0 && *y < extent;
}

#define CONVOLUTION(dtype, type, name)                                                                       \
    static double output_##name(const convolution *v, const int64_t at[4]) {                                 \
        const type *x = (const type *)(const void *)td_tensor_bytes(v->input);                               \
        const type *w = (const type *)(const void *)td_tensor_bytes(v->weight);                              \
        const int64_t y0 = at[2] * v->stride[0] - v->padding[0], x0 = at[3] * v->stride[1] - v->padding[1];  \
        const int64_t first = at[1] / v->outs_per_group * v->per_group;                                      \
        int64_t r0, r1, s0, s1;                                                                              \
        clip_window(y0, v->dilation[0], v->input->sizes[2], v->weight->sizes[2], &r0, &r1);                  \
        clip_window(x0, v->dilation[1], v->input->sizes[3], v->weight->sizes[3], &s0, &s1);                  \
        double total = 0;                                                                                    \
        for (int64_t r = r0; r < r1; r++)                                                                    \
            for (int64_t s = s0; s < s1; s++) {                                                              \
                const type *xi =                                                                             \
                    x + offset4(v->input, at[0], first, y0 + r * v->dilation[0], x0 + s * v->dilation[1]);   \
                const type *wi = w + offset4(v->weight, at[1], 0, r, s);                                     \
                for (int64_t c = 0; c < v->per_group; c++)                                                   \
                    total += (double)xi[c * v->input->strides[1]] * (double)wi[c * v->weight->strides[1]];   \
            }                                                                                                \
        if (v->bias)                                                                                         \
            total +=                                                                                         \
                (double)((const type *)(const void *)td_tensor_bytes(v->bias))[at[1] * v->bias->strides[0]]; \
        return total;                                                                                        \
    }                                                                                                        \
    static double input_gradient_##name(const convolution *v, const int64_t at[4]) {                         \
        const type *g = (const type *)(const void *)td_tensor_bytes(v->output);                              \
        const type *w = (const type *)(const void *)td_tensor_bytes(v->weight);                              \
        const int64_t first = at[1] / v->per_group * v->outs_per_group, c = at[1] % v->per_group;            \
        double total = 0;                                                                                    \
        for (int64_t r = 0; r < v->weight->sizes[2]; r++)                                                    \
            for (int64_t s = 0; s < v->weight->sizes[3]; s++) {                                              \
                int64_t y, x;                                                                                \
                if (!output_of(at[2], r, v->stride[0], v->padding[0], v->dilation[0], v->output->sizes[2],   \
                               &y) ||                                                                        \
                    !output_of(at[3], s, v->stride[1], v->padding[1], v->dilation[1], v->output->sizes[3],   \
                               &x))                                                                          \
                    continue;                                                                                \
                const type *gi = g + offset4(v->output, at[0], first, y, x);                                 \
                const type *wi = w + offset4(v->weight, first, c, r, s);                                     \
                for (int64_t o = 0; o < v->outs_per_group; o++)                                              \
                    total += (double)gi[o * v->output->strides[1]] * (double)wi[o * v->weight->strides[0]];  \
            }                                                                                                \
        return total;                                                                                        \
    }                                                                                                        \
    static double weight_gradient_##name(const convolution *v, const int64_t at[4]) {                        \
        const type *x = (const type *)(const void *)td_tensor_bytes(v->input);                               \
        const type *g = (const type *)(const void *)td_tensor_bytes(v->output);                              \
        const int64_t c = at[0] / v->outs_per_group * v->per_group + at[1];                                  \
        double total = 0;                                                                                    \
        for (int64_t n = 0; n < v->output->sizes[0]; n++)                                                    \
            for (int64_t y = 0; y < v->output->sizes[2]; y++) {                                              \
                const int64_t i = y * v->stride[0] - v->padding[0] + at[2] * v->dilation[0];                 \
                if (i < 0 || i >= v->input->sizes[2]) continue;                                              \
                for (int64_t z = 0; z < v->output->sizes[3]; z++) {                                          \
                    const int64_t j = z * v->stride[1] - v->padding[1] + at[3] * v->dilation[1];             \
                    if (j < 0 || j >= v->input->sizes[3]) continue;                                          \
                    total += (double)x[offset4(v->input, n, c, i, j)] *                                      \
                             (double)g[offset4(v->output, n, at[0], y, z)];                                  \
                }                                                                                            \
            }                                                                                                \
        return total;                                                                                        \
    }
EACH_FLOATING(CONVOLUTION)
#undef CONVOLUTION

typedef double point(const convolution *v, const int64_t at[4]);

/* Every element of `out` from its own sum. */
static td_status fill(const convolution *v, point *f32, point *f64, td_tensor *out) {
    if (out->dtype != TD_DTYPE_F32 && out->dtype != TD_DTYPE_F64) return refuse_dtype(out);
    walk w = walk_over(out, NULL, NULL, NULL);
    if (walk_is_empty(&w)) return TD_OK;
    do {
        if (out->dtype == TD_DTYPE_F32)
            ((float *)(void *)td_tensor_bytes(out))[w.offset[0]] = (float)f32(v, w.at);
        else
            ((double *)(void *)td_tensor_bytes(out))[w.offset[0]] = f64(v, w.at);
    } while (walk_next(&w));
    return TD_OK;
}

static td_status conv2d_forward(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_conv2d_forward_args *a = args;
    convolution v =
        describe(a->input, a->weight, a->bias, out[0], a->stride, a->padding, a->dilation, a->groups);
    return fill(&v, output_f32, output_f64, out[0]);
}

static td_status conv2d_backward_input(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_conv2d_backward_input_args *a = args;
    convolution v =
        describe(out[0], a->weight, NULL, a->grad_output, a->stride, a->padding, a->dilation, a->groups);
    return fill(&v, input_gradient_f32, input_gradient_f64, out[0]);
}

static td_status conv2d_backward_weight(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_conv2d_backward_weight_args *a = args;
    convolution v =
        describe(a->input, out[0], NULL, a->grad_output, a->stride, a->padding, a->dilation, a->groups);
    return fill(&v, weight_gradient_f32, weight_gradient_f64, out[0]);
}

const td_kernel_row cpu_reference_conv[] = {
    {TD_OP_CONV2D_FORWARD, conv2d_forward},
    {TD_OP_CONV2D_BACKWARD_INPUT, conv2d_backward_input},
    {TD_OP_CONV2D_BACKWARD_WEIGHT, conv2d_backward_weight},
    TD_KERNELS_END,
};
