/*
 * Sums, means and extremes over any dimensions. Sums of floating elements run in f64 and are rounded once:
 * that is nearer to PyTorch's (which sums f32 in a cascade of short partial sums) than a plain f32 loop would
 * be, and does not depend on the order. Sums of f64 elements run in blocks of 128 added up in order.
 */
#include "model/cpu/reference/walk.h"

#include <math.h>

/* Kept dimensions with the strides of x and of the result; summed ones with those of x. */
typedef struct reduction {
    walk kept, summed;
    int64_t row, row_stride; /* the innermost summed dimension, taken out of `summed` */
    int64_t count;           /* summed elements for each result */
} reduction;

static bool is_listed(const td_ints *dims, int dim, int ndim) {
    if (dims->count <= 0) return true; /* absent or empty: all */
    for (int64_t i = 0; i < dims->count; i++)
        if (wrap_dim(dims->at[i], ndim) == dim) return true;
    return false;
}

static reduction split(const td_tensor *x, const td_ints *dims, bool keepdim, const td_tensor *result,
                       const td_tensor *second) {
    reduction r = {.row = 1, .count = 1};
    int out = 0;
    for (int d = 0; d < x->ndim; d++) {
        if (is_listed(dims, d, x->ndim)) {
            walk_add(&r.summed, x->sizes[d], x->strides[d], 0, 0, 0);
            r.count *= x->sizes[d];
            out += keepdim;
        } else {
            walk_add(&r.kept, x->sizes[d], x->strides[d], result->strides[out],
                     second ? second->strides[out] : 0, 0);
            out++;
        }
    }
    if (r.summed.ndim > 0) {
        int last = --r.summed.ndim;
        r.row = r.summed.sizes[last];
        r.row_stride = r.summed.strides[0][last];
    }
    return r;
}

#define BLOCK 128

#define ROWS(dtype, type, name)                                                                              \
    static double real_row_##name(const void *data, int64_t count, int64_t stride) {                         \
        const type *x = data;                                                                                \
        double total = 0;                                                                                    \
        for (int64_t i = 0; i < count; i += BLOCK) {                                                         \
            double part = 0;                                                                                 \
            int64_t end = count - i < BLOCK ? count : i + BLOCK;                                             \
            for (int64_t j = i; j < end; j++) part += (double)x[j * stride];                                 \
            total += part;                                                                                   \
        }                                                                                                    \
        return total;                                                                                        \
    }                                                                                                        \
    static int64_t int_row_##name(const void *data, int64_t count, int64_t stride) {                         \
        const type *x = data;                                                                                \
        uint64_t total = 0; /* wraps around, as PyTorch's i64 does */                                        \
        for (int64_t i = 0; i < count; i++) total += (uint64_t)(int64_t)x[i * stride];                       \
        return (int64_t)total;                                                                               \
    }                                                                                                        \
    /* The first element of the row that beats *best (and all before it), or -1; NaN beats all numbers. */   \
    static int64_t largest_##name(const void *best, const void *data, int64_t count, int64_t stride) {       \
        const type *x = data;                                                                                \
        int64_t found = -1;                                                                                  \
        type most = best ? *(const type *)best : *x;                                                         \
        if (!best) found = 0;                                                                                \
        for (int64_t i = 0; i < count; i++) {                                                                \
            type v = x[i * stride];                                                                          \
            if (v > most || (v != v && most == most)) most = v, found = i;                                   \
        }                                                                                                    \
        return found;                                                                                        \
    }
EACH_DTYPE(ROWS)
#undef ROWS

typedef struct row_functions {
    double (*real)(const void *data, int64_t count, int64_t stride);
    int64_t (*integer)(const void *data, int64_t count, int64_t stride);
    int64_t (*largest)(const void *best, const void *data, int64_t count, int64_t stride);
} row_functions;

static const row_functions rows_of[TD_DTYPE_COUNT] = {
#define ROW(dtype, type, name) [dtype] = {real_row_##name, int_row_##name, largest_##name},
    EACH_DTYPE(ROW)
#undef ROW
};

static td_status sum_into(const td_tensor *x, td_ints dims, bool keepdim, bool mean, td_tensor *result) {
    if (!is_computable(x->dtype)) return refuse_dtype(x);
    if (!is_computable(result->dtype)) return refuse_dtype(result);
    reduction r = split(x, &dims, keepdim, result, NULL);
    if (walk_is_empty(&r.kept)) return TD_OK;
    const row_functions *rows = &rows_of[x->dtype];
    void *out = td_tensor_bytes(result);
    do {
        double real = 0;
        uint64_t integer = 0;
        if (r.count > 0) {
            do {
                const char *at = element(td_tensor_bytes(x), r.kept.offset[0] + r.summed.offset[0], x->dtype);
                if (td_dtype_is_floating(result->dtype))
                    real += rows->real(at, r.row, r.row_stride);
                else
                    integer += (uint64_t)rows->integer(at, r.row, r.row_stride);
            } while (walk_next(&r.summed));
        }
        if (mean) real = r.count ? real / (double)r.count : (double)NAN;
        if (td_dtype_is_floating(result->dtype))
            store_real(out, r.kept.offset[1], result->dtype, real);
        else
            store_int(out, r.kept.offset[1], result->dtype, (int64_t)integer);
    } while (walk_next(&r.kept));
    return TD_OK;
}

static td_status sum(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_sum_args *a = args;
    return sum_into(a->self, a->dim, a->keepdim, false, out[0]);
}

static td_status mean(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_mean_args *a = args;
    return sum_into(a->self, a->dim, a->keepdim, true, out[0]);
}

/* The largest element, its row-major position among the reduced ones, or both; either result may be NULL. */
static td_status find_largest(const td_tensor *x, td_ints dims, bool keepdim, td_tensor *values,
                              td_tensor *positions) {
    if (!is_computable(x->dtype)) return refuse_dtype(x);
    reduction r = split(x, &dims, keepdim, values ? values : positions, values ? positions : NULL);
    if (walk_is_empty(&r.kept)) return TD_OK;
    if (r.count == 0) return td_fail(TD_ERR_ARG, 0, "model", "there is no largest of no elements");
    const size_t size = td_dtype_size(x->dtype);
    do {
        const char *best = NULL;
        int64_t position = 0, before = 0;
        do {
            const char *row = element(td_tensor_bytes(x), r.kept.offset[0] + r.summed.offset[0], x->dtype);
            int64_t found = rows_of[x->dtype].largest(best, row, r.row, r.row_stride);
            if (found >= 0) best = element(row, found * r.row_stride, x->dtype), position = before + found;
            before += r.row;
        } while (walk_next(&r.summed));
        if (values) memcpy(td_tensor_bytes(values) + r.kept.offset[1] * (int64_t)size, best, size);
        if (positions) ((int64_t *)td_tensor_bytes(positions))[r.kept.offset[values ? 2 : 1]] = position;
    } while (walk_next(&r.kept));
    return TD_OK;
}

static td_status amax(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_amax_args *a = args;
    return find_largest(a->self, a->dim, a->keepdim, out[0], NULL);
}

static td_status max_dim(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_max_dim_args *a = args;
    return find_largest(a->self, TD_INTS(a->dim), a->keepdim, out[0], out[1]);
}

static td_status argmax(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_argmax_args *a = args;
    td_ints dims = {.count = a->dim == TD_NONE ? -1 : 1, .at = {a->dim}};
    return find_largest(a->self, dims, a->keepdim, NULL, out[0]);
}

const td_kernel_row cpu_reference_reduce[] = {
    {TD_OP_SUM, sum},         {TD_OP_MEAN, mean},     {TD_OP_AMAX, amax},
    {TD_OP_MAX_DIM, max_dim}, {TD_OP_ARGMAX, argmax}, TD_KERNELS_END,
};
