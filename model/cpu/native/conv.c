/*
 * 3x3 convolutions of stride 1 on channels_last tensors by Winograd's algorithm (fast/winograd.c), and their
 * gradients: the input's is the convolution of the output's gradient with the weights turned round; the
 * weights' is summed per thread and then over the threads in order. It needs 2.25 times fewer products than
 * the direct way.
 *
 * The forward pass goes to oneDNN where it is there: it adds in the same order as PyTorch, and a rounding of
 * its own would choose other elements in ReLU and pooling (measured over 20 steps of mnist-cnn with SGD:
 * losses then leave PyTorch's by 5e-5; with only the gradients done here, by 1e-6).
 */
#include "model/cpu/native/conv.h"

#include "base/parallel.h"
#include "model/cpu/internal.h"

/* B' d B and its kin in the order of fast/winograd.c: the weights' side of the transform. */
static const float g_matrix[4][3] = {{1, 0, 0}, {0.5f, 0.5f, 0.5f}, {0.5f, -0.5f, 0.5f}, {0, 0, 1}};

/* Weights as [channel out][channel in][3][3] at any strides. Turned round, `flipped` reads the window
 * backwards and exchanges the channels. */
typedef struct taps {
    const float *data;
    int64_t out, in, row, col; /* strides */
} taps;

static taps taps_of(const td_tensor *w) {
    return (taps){cpu_f32(w), w->strides[0], w->strides[1], w->strides[2], w->strides[3]};
}

static taps flipped(taps t) { return (taps){t.data + 2 * t.row + 2 * t.col, t.in, t.out, -t.row, -t.col}; }

/* u = G g G' of one channel pair, into points that lie `step` apart. */
static void transform_taps(const taps *t, int64_t k, int64_t c, float *u, int64_t step) {
    const float *g = t->data + k * t->out + c * t->in;
    float h[4][3];
    for (int j = 0; j < 3; j++) {
        const float a = g[j * t->col], b = g[t->row + j * t->col], d = g[2 * t->row + j * t->col];
        const float even = 0.5f * (a + d);
        h[0][j] = a, h[1][j] = even + 0.5f * b, h[2][j] = even - 0.5f * b, h[3][j] = d;
    }
    for (int i = 0; i < 4; i++) {
        const float even = 0.5f * (h[i][0] + h[i][2]);
        u[(4 * i + 0) * step] = h[i][0];
        u[(4 * i + 1) * step] = even + 0.5f * h[i][1];
        u[(4 * i + 2) * step] = even - 0.5f * h[i][1];
        u[(4 * i + 3) * step] = h[i][2];
    }
}

typedef struct taps_job {
    const taps *t;
    float *u;
    int64_t outs, ins, padded, panel;
} taps_job;

/* Panels of `panel` output channels: [point][panel][channel in][lane]; lanes beyond the channels are zero. */
static void transform_panels(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const taps_job *j = cookie;
    const int64_t step = j->padded * j->ins;
    for (int64_t p = (int64_t)begin; p < (int64_t)end; p++) {
        for (int64_t c = 0; c < j->ins; c++) {
            for (int64_t lane = 0; lane < j->panel; lane++) {
                const int64_t k = p * j->panel + lane;
                float *u = j->u + (p * j->ins + c) * j->panel + lane;
                if (k < j->outs) {
                    transform_taps(j->t, k, c, u, step);
                } else {
                    for (int i = 0; i < 16; i++) u[i * step] = 0;
                }
            }
        }
    }
}

static bool channels_adjoin(const td_tensor *x) {
    return x->dtype == TD_DTYPE_F32 && (x->strides[1] == 1 || x->sizes[1] == 1) && x->count > 0;
}

/* Is this convolution ours: window 3x3, stride 1, enough channels to fill vectors? */
static bool is_winograd(const td_tensor *x, const td_tensor *w, const td_tensor *y, const int64_t stride[2],
                        const int64_t padding[2], const int64_t dilation[2], int64_t groups) {
    return channels_adjoin(x) && channels_adjoin(y) && w->dtype == TD_DTYPE_F32 && groups == 1 &&
           w->sizes[2] == 3 && w->sizes[3] == 3 && stride[0] == 1 && stride[1] == 1 && dilation[0] == 1 &&
           dilation[1] == 1 && padding[0] <= 2 && padding[1] <= 2;
}

/* Faster than oneDNN's direct convolution: enough channels to fill the vectors, few enough to stay in the
 * second-level cache (measured from 8 to 512 of both). */
static bool suits(const td_tensor *w) {
    return w->sizes[0] >= 16 && w->sizes[1] >= 16 && w->sizes[0] * w->sizes[1] <= 256 * 256;
}

static cpu_winograd describe(const cpu_fast *fast, const td_tensor *x, const td_tensor *y, int64_t pad_rows,
                             int64_t pad_cols) {
    return (cpu_winograd){
        .input = cpu_image_of(x),
        .output = cpu_image_of(y),
        .pad_rows = pad_rows,
        .pad_cols = pad_cols,
        .tile_rows = (y->sizes[2] + 1) / 2,
        .tile_cols = (y->sizes[3] + 1) / 2,
        .c_padded = cpu_round_up(x->sizes[1], fast->lanes),
        .k_padded = cpu_round_up(y->sizes[1], 2 * fast->lanes),
    };
}

/* Blocks of tiles for the threads, each thread with scratch (and sums) of its own. */
typedef struct tiles_job {
    const cpu_fast *fast;
    const cpu_winograd *w;
    float *scratch, *sums;
    size_t scratch_floats, sums_floats; /* per thread */
    int64_t tiles;
} tiles_job;

static void run_forward(size_t begin, size_t end, int thread, void *cookie) {
    const tiles_job *j = cookie;
    const int64_t last = (int64_t)end * CPU_WINOGRAD_BLOCK;
    j->fast->winograd_forward(j->w, (int64_t)begin * CPU_WINOGRAD_BLOCK, last < j->tiles ? last : j->tiles,
                              j->scratch + (size_t)thread * j->scratch_floats);
}

/* Sums over thousands of tiles round too much in one go: each stretch of blocks has sums of its own, which are
 * added to the thread's. */
#define STRETCH 16

static void run_weights(size_t begin, size_t end, int thread, void *cookie) {
    const tiles_job *j = cookie;
    float *scratch = j->scratch + (size_t)thread * j->scratch_floats;
    float *sums = j->sums + (size_t)thread * 2 * j->sums_floats, *part = sums + j->sums_floats;
    for (size_t block = begin; block < end; block += STRETCH) {
        const int64_t last = (int64_t)(end - block < STRETCH ? end : block + STRETCH) * CPU_WINOGRAD_BLOCK;
        memset(part, 0, j->sums_floats * sizeof *part);
        j->fast->winograd_weights(j->w, (int64_t)block * CPU_WINOGRAD_BLOCK,
                                  last < j->tiles ? last : j->tiles, scratch, part);
        j->fast->add(sums, part, 1, sums, (int64_t)j->sums_floats);
    }
}

static tiles_job job_of(const cpu_fast *fast, const cpu_winograd *w, const td_tensor *y) {
    return (tiles_job){
        .fast = fast,
        .w = w,
        .scratch_floats = (size_t)(16 * CPU_WINOGRAD_BLOCK * (w->c_padded + w->k_padded)),
        .sums_floats = (size_t)(16 * w->input.channels * w->k_padded),
        .tiles = y->sizes[0] * w->tile_rows * w->tile_cols,
    };
}

static size_t blocks_of(const tiles_job *job) {
    return (size_t)((job->tiles + CPU_WINOGRAD_BLOCK - 1) / CPU_WINOGRAD_BLOCK);
}

static td_status convolve(td_context *context, const td_tensor *x, taps t, const float *bias, td_tensor *y,
                          int64_t pad_rows, int64_t pad_cols) {
    const cpu_fast *fast = cpu_state_of(context)->fast;
    cpu_winograd w = describe(fast, x, y, pad_rows, pad_cols);
    tiles_job job = job_of(fast, &w, y);
    const size_t taps_floats = (size_t)(16 * w.k_padded * w.input.channels);
    float *u = cpu_scratch(context, taps_floats + (size_t)td_parallel_threads() * job.scratch_floats);
    if (!u) return TD_ERR_MEMORY;
    w.weights = u;
    w.bias = bias;
    job.scratch = u + taps_floats;
    taps_job transform = {&t, u, w.output.channels, w.input.channels, w.k_padded, 2 * fast->lanes};
    td_parallel_for((size_t)(w.k_padded / transform.panel), 1, transform_panels, &transform);
    td_parallel_for(blocks_of(&job), 1, run_forward, &job);
    return TD_OK;
}

static td_status few_channels(td_context *context, const void *args, td_tensor *const *out) {
    return cpu_direct_forward(context, args, out[0]);
}

static td_status conv2d_forward(td_context *context, const void *args, td_tensor *const *out) {
    const td_conv2d_forward_args *a = args;
    if (!is_winograd(a->input, a->weight, out[0], a->stride, a->padding, a->dilation, a->groups))
        return TD_PENDING;
    if (a->bias && (a->bias->dtype != TD_DTYPE_F32 || a->bias->strides[0] != 1)) return TD_PENDING;
    return convolve(context, a->input, taps_of(a->weight), a->bias ? cpu_f32(a->bias) : NULL, out[0],
                    a->padding[0], a->padding[1]);
}

static td_status conv2d_backward_input(td_context *context, const void *args, td_tensor *const *out) {
    const td_conv2d_backward_input_args *a = args;
    if (!is_winograd(a->grad_output, a->weight, out[0], a->stride, a->padding, a->dilation, a->groups))
        return TD_PENDING;
    return convolve(context, a->grad_output, flipped(taps_of(a->weight)), NULL, out[0], 2 - a->padding[0],
                    2 - a->padding[1]);
}

/* dg = G' m G of one channel pair, from points that lie `step` apart. */
static void finish_taps(const float *m, int64_t step, float *dg, const td_tensor *w) {
    float h[3][4];
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 3; i++) {
            float total = 0;
            for (int r = 0; r < 4; r++) total += g_matrix[r][i] * m[(4 * r + j) * step];
            h[i][j] = total;
        }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            float total = 0;
            for (int s = 0; s < 4; s++) total += h[i][s] * g_matrix[s][j];
            dg[i * w->strides[2] + j * w->strides[3]] = total;
        }
}

static td_status conv2d_backward_weight(td_context *context, const void *args, td_tensor *const *out) {
    const td_conv2d_backward_weight_args *a = args;
    td_tensor *dw = out[0];
    if (!is_winograd(a->input, dw, a->grad_output, a->stride, a->padding, a->dilation, a->groups))
        return TD_PENDING;
    const cpu_fast *fast = cpu_state_of(context)->fast;
    const cpu_winograd w = describe(fast, a->input, a->grad_output, a->padding[0], a->padding[1]);
    tiles_job job = job_of(fast, &w, a->grad_output);
    const size_t threads = (size_t)td_parallel_threads();
    job.sums = cpu_scratch(context, threads * (job.scratch_floats + 2 * job.sums_floats));
    if (!job.sums) return TD_ERR_MEMORY;
    job.scratch = job.sums + threads * 2 * job.sums_floats;
    memset(job.sums, 0, threads * 2 * job.sums_floats * sizeof *job.sums);
    td_parallel_for(blocks_of(&job), 1, run_weights, &job);
    for (size_t t = 1; t < threads; t++)
        fast->add(job.sums, job.sums + t * 2 * job.sums_floats, 1, job.sums, (int64_t)job.sums_floats);
    for (int64_t k = 0; k < dw->sizes[0]; k++)
        for (int64_t c = 0; c < dw->sizes[1]; c++)
            finish_taps(job.sums + c * w.k_padded + k, w.input.channels * w.k_padded,
                        cpu_f32(dw) + k * dw->strides[0] + c * dw->strides[1], dw);
    return TD_OK;
}

static td_status first_backward_input(td_context *context, const void *args, td_tensor *const *out) {
    const td_conv2d_backward_input_args *a = args;
    return suits(a->weight) ? conv2d_backward_input(context, args, out) : TD_PENDING;
}

static td_status first_backward_weight(td_context *context, const void *args, td_tensor *const *out) {
    td_status status = cpu_direct_weights(context, args, out[0]);
    if (status == TD_PENDING && suits(out[0])) status = conv2d_backward_weight(context, args, out);
    return status;
}

const td_kernel_row cpu_native_conv[] = {
    {TD_OP_CONV2D_FORWARD, few_channels},
    {TD_OP_CONV2D_BACKWARD_INPUT, first_backward_input},
    {TD_OP_CONV2D_BACKWARD_WEIGHT, first_backward_weight},
    TD_KERNELS_END,
};

const td_kernel_row cpu_spare_conv[] = {
    {TD_OP_CONV2D_FORWARD, conv2d_forward},
    {TD_OP_CONV2D_BACKWARD_INPUT, conv2d_backward_input},
    {TD_OP_CONV2D_BACKWARD_WEIGHT, conv2d_backward_weight},
    TD_KERNELS_END,
};
