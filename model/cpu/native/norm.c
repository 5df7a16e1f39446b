/*
 * Batch normalisation of f32. Images are seen as rows of channels, one row a pixel; what does not lie so
 * (N, C, H, W in memory, or slices) is copied there first, since every pass after that is at memory's speed.
 * Sums are cut into blocks of fixed size whose f64 results are added in order, so they do not depend on the
 * number of threads.
 */
#include "base/memory.h"
#include "base/parallel.h"
#include "model/cpu/internal.h"

#include <math.h>

#define BLOCK 32768 /* elements in one go */

/* A tensor as rows: of its own memory, or of a copy. */
typedef struct pixels {
    const td_tensor *x;
    float *data;
    int64_t rows, stride; /* floats from row to row */
    bool copied;
} pixels;

typedef struct job {
    const cpu_fast *fast;
    const pixels *from, *grad, *to;
    int64_t rows_per_part;
    double *parts; /* two lists of channels each */
    cpu_norm n;
    const float *shift;
} job;

/* --- rows ------------------------------------------------------------------------------------------- */

/* Do the channels lie side by side, and the pixels at equal distances, in logical order? */
static bool are_rows(const td_tensor *x, int64_t *stride) {
    int64_t count = 1;
    *stride = x->sizes[1];
    for (int d = x->ndim - 1; d >= 0; d--) {
        if (d == 1 || x->sizes[d] == 1) continue;
        if (count == 1)
            *stride = x->strides[d];
        else if (x->strides[d] != count * *stride)
            return false;
        count *= x->sizes[d];
    }
    return x->strides[1] == 1 || x->sizes[1] == 1;
}

static pixels look_at(const td_tensor *x) {
    pixels p = {.x = x, .data = cpu_f32(x)};
    p.rows = x->count / x->sizes[1];
    p.copied = !are_rows(x, &p.stride);
    return p;
}

/* Floats of scratch memory that it needs. */
static size_t room_for(const pixels *p) { return p->copied ? ((size_t)p->x->count + 15) / 16 * 16 : 0; }

/* Take them from *at. */
static void place(pixels *p, float **at) {
    if (!p->copied) return;
    p->data = *at;
    p->stride = p->x->sizes[1];
    *at += room_for(p);
}

/* Where row r of the tensor itself begins. */
static int64_t offset_of_row(const td_tensor *x, int64_t r) {
    int64_t offset = 0;
    for (int d = x->ndim - 1; d >= 0; d--) {
        if (d == 1) continue;
        offset += r % x->sizes[d] * x->strides[d];
        r /= x->sizes[d];
    }
    return offset;
}

static void gather_rows(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const pixels *p = cookie;
    const int64_t channels = p->x->sizes[1], step = p->x->strides[1];
    for (size_t r = begin; r < end; r++) {
        const float *from = cpu_f32(p->x) + offset_of_row(p->x, (int64_t)r);
        float *to = p->data + (int64_t)r * p->stride;
        for (int64_t c = 0; c < channels; c++) to[c] = from[c * step];
    }
}

static void scatter_rows(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const pixels *p = cookie;
    const int64_t channels = p->x->sizes[1], step = p->x->strides[1];
    for (size_t r = begin; r < end; r++) {
        float *to = cpu_f32(p->x) + offset_of_row(p->x, (int64_t)r);
        const float *from = p->data + (int64_t)r * p->stride;
        for (int64_t c = 0; c < channels; c++) to[c * step] = from[c];
    }
}

static size_t grain(const pixels *p) {
    const int64_t rows = 4096 / p->x->sizes[1];
    return rows < 1 ? 1 : (size_t)rows;
}

static void gather(pixels *p) {
    if (p->copied) td_parallel_for((size_t)p->rows, grain(p), gather_rows, p);
}

static void scatter(pixels *p) {
    if (p->copied) td_parallel_for((size_t)p->rows, grain(p), scatter_rows, p);
}

static bool is_ours(const td_tensor *x) { return x->dtype == TD_DTYPE_F32 && x->count > 0; }

/* --- sums ------------------------------------------------------------------------------------------- */

static void sum_parts(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const job *j = cookie;
    const int64_t channels = j->n.cols;
    for (int64_t p = (int64_t)begin; p < (int64_t)end; p++) {
        const int64_t first = p * j->rows_per_part, left = j->from->rows - first;
        const int64_t rows = left < j->rows_per_part ? left : j->rows_per_part;
        const float *x = j->from->data + first * j->from->stride;
        double *sums = j->parts + 2 * p * channels;
        if (!j->grad) {
            j->fast->norm_moments(x, rows, j->from->stride, channels, j->shift, sums, sums + channels);
            continue;
        }
        cpu_norm n = j->n;
        n.x = x;
        n.g = j->grad->data + first * j->grad->stride;
        j->fast->norm_sums(&n, rows, sums, sums + channels);
    }
}

/* The two sums of each channel, *yours* at j->parts. */
static td_status sum_all(job *j) {
    const int64_t channels = j->n.cols, rows = j->from->rows;
    j->rows_per_part = BLOCK / channels < 1 ? 1 : BLOCK / channels;
    const int64_t parts = (rows + j->rows_per_part - 1) / j->rows_per_part;
    if (!(j->parts = td_calloc((size_t)(2 * parts * channels), sizeof *j->parts))) return TD_ERR_MEMORY;
    td_parallel_for((size_t)parts, 1, sum_parts, j);
    for (int64_t p = 1; p < parts; p++)
        for (int64_t c = 0; c < 2 * channels; c++) j->parts[c] += j->parts[2 * p * channels + c];
    return TD_OK;
}

static void set(const td_tensor *statistics, int row, int64_t c, double value) {
    cpu_f32(statistics)[row * statistics->strides[0] + c * statistics->strides[1]] = (float)value;
}

static float get(const td_tensor *statistics, int row, int64_t c) {
    return cpu_f32(statistics)[row * statistics->strides[0] + c * statistics->strides[1]];
}

static float given(const td_tensor *x, int64_t c, float otherwise) {
    return x ? cpu_f32(x)[c * x->strides[0]] : otherwise;
}

/* Means and variances, by sums of differences from the first pixel, which is near them. */
static td_status collect(const cpu_fast *fast, const pixels *x, td_tensor *statistics) {
    job j = {.fast = fast, .from = x, .n = {.cols = x->x->sizes[1]}, .shift = x->data};
    TD_TRY(sum_all(&j));
    for (int64_t c = 0; c < j.n.cols; c++) {
        const double mean = j.parts[c] / (double)x->rows;
        const double variance = j.parts[j.n.cols + c] / (double)x->rows - mean * mean;
        set(statistics, 0, c, x->data[c] + mean);
        set(statistics, 1, c, variance < 0 ? 0 : variance); /* a NaN stays */
    }
    td_free(j.parts);
    return TD_OK;
}

/* --- the kernels ------------------------------------------------------------------------------------ */

/* Lists of numbers for the channels: mean, scale, bias, slope; *yours* at n->mean. */
static td_status make_lists(cpu_norm *n, float *lists[4]) {
    float *all = td_alloc((size_t)(4 * n->cols) * sizeof *all);
    if (!all) return TD_ERR_MEMORY;
    for (int i = 0; i < 4; i++) lists[i] = all + i * n->cols;
    n->mean = lists[0], n->scale = lists[1], n->bias = lists[2], n->slope = lists[3];
    return TD_OK;
}

static void run_rows(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const job *j = cookie;
    cpu_norm n = j->n;
    n.x = j->from->data + (int64_t)begin * n.x_stride;
    n.y = j->to->data + (int64_t)begin * n.y_stride;
    if (j->grad) n.g = j->grad->data + (int64_t)begin * n.g_stride;
    if (j->grad)
        j->fast->norm_back(&n, (int64_t)(end - begin));
    else
        j->fast->norm_apply(&n, (int64_t)(end - begin));
}

static void run_all(job *j, pixels *to) {
    j->to = to;
    j->n.x_stride = j->from->stride;
    j->n.y_stride = to->stride;
    j->n.g_stride = j->grad ? j->grad->stride : 0;
    td_parallel_for((size_t)to->rows, grain(to), run_rows, j);
    scatter(to);
}

static td_status batch_norm_statistics(td_context *context, const void *args, td_tensor *const *out) {
    const td_batch_norm_statistics_args *a = args;
    if (!is_ours(a->input)) return TD_PENDING;
    pixels x = look_at(a->input);
    float *scratch = cpu_scratch(context, room_for(&x));
    if (x.copied && !scratch) return TD_ERR_MEMORY;
    place(&x, &scratch);
    gather(&x);
    return collect(cpu_state_of(context)->fast, &x, out[0]);
}

static td_status batch_norm_forward(td_context *context, const void *args, td_tensor *const *out) {
    const td_batch_norm_forward_args *a = args;
    if (!is_ours(a->input)) return TD_PENDING;
    pixels x = look_at(a->input), y = look_at(out[0]);
    float *scratch = cpu_scratch(context, room_for(&x) + room_for(&y)), *lists[4];
    if ((x.copied || y.copied) && !scratch) return TD_ERR_MEMORY;
    place(&x, &scratch);
    place(&y, &scratch);
    gather(&x);
    job j = {.fast = cpu_state_of(context)->fast, .from = &x, .n = {.cols = a->input->sizes[1]}};
    if (a->training) TD_TRY(collect(j.fast, &x, out[1]));
    TD_TRY(make_lists(&j.n, lists));
    for (int64_t c = 0; c < j.n.cols; c++) {
        if (!a->training) {
            set(out[1], 0, c, given(a->running_mean, c, 0));
            set(out[1], 1, c, given(a->running_var, c, 1));
        }
        lists[0][c] = get(out[1], 0, c);
        lists[1][c] = (float)(given(a->weight, c, 1) / sqrt((double)get(out[1], 1, c) + a->eps));
        lists[2][c] = given(a->bias, c, 0);
    }
    run_all(&j, &y);
    td_free(lists[0]);
    return TD_OK;
}

static td_status batch_norm_backward_sums(td_context *context, const void *args, td_tensor *const *out) {
    const td_batch_norm_backward_sums_args *a = args;
    if (!is_ours(a->input) || a->grad_output->dtype != TD_DTYPE_F32 || a->statistics->dtype != TD_DTYPE_F32)
        return TD_PENDING;
    pixels x = look_at(a->input), g = look_at(a->grad_output);
    float *scratch = cpu_scratch(context, room_for(&x) + room_for(&g)), *lists[4];
    if ((x.copied || g.copied) && !scratch) return TD_ERR_MEMORY;
    place(&x, &scratch);
    place(&g, &scratch);
    gather(&x);
    gather(&g);
    job j = {.fast = cpu_state_of(context)->fast, .from = &x, .grad = &g, .n = {.cols = a->input->sizes[1]}};
    TD_TRY(make_lists(&j.n, lists));
    for (int64_t c = 0; c < j.n.cols; c++) lists[0][c] = get(a->statistics, 0, c);
    j.n.x_stride = x.stride;
    j.n.g_stride = g.stride;
    td_status status = sum_all(&j);
    for (int64_t c = 0; status == TD_OK && c < j.n.cols; c++) {
        set(out[0], 0, c, j.parts[j.n.cols + c] / sqrt((double)get(a->statistics, 1, c) + a->eps));
        set(out[0], 1, c, j.parts[c]);
    }
    td_free(j.parts);
    td_free(lists[0]);
    return status;
}

static td_status batch_norm_backward_input(td_context *context, const void *args, td_tensor *const *out) {
    const td_batch_norm_backward_input_args *a = args;
    if (!is_ours(a->input) || a->grad_output->dtype != TD_DTYPE_F32 || a->statistics->dtype != TD_DTYPE_F32 ||
        (a->weight && a->weight->dtype != TD_DTYPE_F32) || (a->sums && a->sums->dtype != TD_DTYPE_F32))
        return TD_PENDING;
    pixels x = look_at(a->input), g = look_at(a->grad_output), y = look_at(out[0]);
    float *scratch = cpu_scratch(context, room_for(&x) + room_for(&g) + room_for(&y)), *lists[4];
    if ((x.copied || g.copied || y.copied) && !scratch) return TD_ERR_MEMORY;
    place(&x, &scratch);
    place(&g, &scratch);
    place(&y, &scratch);
    gather(&x);
    gather(&g);
    job j = {.fast = cpu_state_of(context)->fast, .from = &x, .grad = &g, .n = {.cols = a->input->sizes[1]}};
    TD_TRY(make_lists(&j.n, lists));
    for (int64_t c = 0; c < j.n.cols; c++) {
        const double scale = 1 / sqrt((double)get(a->statistics, 1, c) + a->eps);
        lists[0][c] = get(a->statistics, 0, c);
        lists[1][c] = (float)(scale * given(a->weight, c, 1));
        lists[2][c] = a->sums ? (float)((double)get(a->sums, 1, c) / a->count) : 0;
        lists[3][c] = a->sums ? (float)((double)get(a->sums, 0, c) * scale / a->count) : 0;
    }
    run_all(&j, &y);
    td_free(lists[0]);
    return TD_OK;
}

const td_kernel_row cpu_native_norm[] = {
    {TD_OP_BATCH_NORM_FORWARD, batch_norm_forward},
    {TD_OP_BATCH_NORM_STATISTICS, batch_norm_statistics},
    {TD_OP_BATCH_NORM_BACKWARD_SUMS, batch_norm_backward_sums},
    {TD_OP_BATCH_NORM_BACKWARD_INPUT, batch_norm_backward_input},
    TD_KERNELS_END,
};
