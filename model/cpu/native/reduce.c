/*
 * Sums of f32: of all elements of a tensor without gaps, of its trailing dimensions, and over everything but
 * the channels of channels_last images (the bias gradients). The work is cut into blocks of fixed size whose
 * f64 sums are added in order, so the result does not depend on the number of threads.
 */
#include "base/memory.h"
#include "base/parallel.h"
#include "model/cpu/internal.h"

#define BLOCK 16384 /* elements summed in one go */

/* An f32 array seen as rows x cols with `stride` between rows; the sum runs along one of the two. */
typedef struct grid {
    const float *x;
    int64_t rows, cols, stride;
} grid;

typedef struct job {
    const cpu_fast *fast;
    const grid *g;
    double *parts;
    int64_t rows_per_part;
} job;

static bool is_summed(const td_ints *dims, int dim, int ndim) {
    if (dims->count <= 0) return true;
    for (int64_t i = 0; i < dims->count; i++)
        if ((dims->at[i] < 0 ? dims->at[i] + ndim : dims->at[i]) == dim) return true;
    return false;
}

/* The summed dimensions as one of the grid's directions, the kept ones as the other, each walked from the
 * innermost outwards: false where strides do not allow it. Kept elements must come in the result's order. */
static bool merge(const td_tensor *x, const td_ints *dims, bool summed, int64_t *count, int64_t *stride) {
    int order[TD_MAX_DIMS], n = 0;
    for (int d = 0; d < x->ndim; d++)
        if (is_summed(dims, d, x->ndim) == summed && x->sizes[d] != 1) order[n++] = d;
    if (summed) { /* any order will do: by stride */
        for (int i = 1; i < n; i++)
            for (int j = i; j > 0 && x->strides[order[j - 1]] < x->strides[order[j]]; j--) {
                int swap = order[j];
                order[j] = order[j - 1], order[j - 1] = swap;
            }
    }
    *count = 1;
    *stride = 1;
    for (int i = n - 1; i >= 0; i--) {
        if (i == n - 1)
            *stride = x->strides[order[i]];
        else if (x->strides[order[i]] != *count * *stride)
            return false;
        *count *= x->sizes[order[i]];
    }
    return true;
}

static void sum_parts(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const job *j = cookie;
    for (int64_t p = (int64_t)begin; p < (int64_t)end; p++) {
        const int64_t first = p * j->rows_per_part, left = j->g->rows - first;
        const int64_t rows = left < j->rows_per_part ? left : j->rows_per_part;
        const float *at = j->g->x + first * j->g->stride;
        if (j->g->cols == 1 && j->g->stride == 1)
            j->parts[p] = j->fast->sum(at, rows);
        else
            j->fast->sum_rows(at, rows, j->g->stride, j->g->cols, j->parts + p * j->g->cols);
    }
}

/* Sum the rows of a grid into `sums`, cols of them, which has room for all parts behind. */
static td_status sum_down(const cpu_fast *fast, const grid *g, double scale, float *out) {
    const int64_t per_part = BLOCK / g->cols < 1 ? 1 : BLOCK / g->cols;
    const int64_t parts = (g->rows + per_part - 1) / per_part;
    double few[64] = {0}, *sums = few;
    if (parts * g->cols > 64 && !(sums = td_calloc((size_t)(parts * g->cols), sizeof *sums)))
        return TD_ERR_MEMORY;
    td_parallel_for((size_t)parts, 4, sum_parts, &(job){fast, g, sums, per_part});
    for (int64_t p = 1; p < parts; p++)
        for (int64_t c = 0; c < g->cols; c++) sums[c] += sums[p * g->cols + c];
    for (int64_t c = 0; c < g->cols; c++) out[c] = (float)(sums[c] / scale);
    if (sums != few) td_free(sums);
    return TD_OK;
}

static td_status sum_or_mean(td_context *context, const td_tensor *x, td_ints dims, bool mean, td_tensor *y) {
    if (x->dtype != TD_DTYPE_F32 || y->dtype != TD_DTYPE_F32 || !y->contiguous || x->count == 0)
        return TD_PENDING;
    int64_t kept, kept_stride, summed, summed_stride;
    if (!merge(x, &dims, false, &kept, &kept_stride) || !merge(x, &dims, true, &summed, &summed_stride))
        return TD_PENDING;
    const cpu_fast *fast = cpu_state_of(context)->fast;
    const double scale = mean ? (double)summed : 1;
    if (kept == 1 && summed_stride == 1)
        return sum_down(fast, &(grid){cpu_f32(x), summed, 1, 1}, scale, cpu_f32(y));
    if (kept > 1 && kept_stride == 1)
        return sum_down(fast, &(grid){cpu_f32(x), summed, kept, summed_stride}, scale, cpu_f32(y));
    if (kept > 1 && summed_stride == 1) {
        for (int64_t i = 0; i < kept; i++)
            cpu_f32(y)[i] = (float)(fast->sum(cpu_f32(x) + i * kept_stride, summed) / scale);
        return TD_OK;
    }
    return TD_PENDING;
}

static td_status sum(td_context *context, const void *args, td_tensor *const *out) {
    const td_sum_args *a = args;
    return sum_or_mean(context, a->self, a->dim, false, out[0]);
}

static td_status mean(td_context *context, const void *args, td_tensor *const *out) {
    const td_mean_args *a = args;
    return sum_or_mean(context, a->self, a->dim, true, out[0]);
}

const td_kernel_row cpu_native_reduce[] = {{TD_OP_SUM, sum}, {TD_OP_MEAN, mean}, TD_KERNELS_END};
