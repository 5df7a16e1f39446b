/*
 * What the plain kernels share: a walk over all indices of up to eight dimensions that keeps one element
 * offset for each of up to four tensors, and access to single elements of any dtype. Plain and slow; here
 * correctness is what counts.
 */
#ifndef TANDEM_MODEL_CPU_REFERENCE_WALK_H
#define TANDEM_MODEL_CPU_REFERENCE_WALK_H

#include "model/ops/kernel.h"
#include "model/tensor/internal.h"

#include <string.h>

#define WALK_TENSORS 4

typedef struct walk {
    int ndim;
    int64_t sizes[TD_MAX_DIMS], at[TD_MAX_DIMS];
    int64_t strides[WALK_TENSORS][TD_MAX_DIMS];
    int64_t offset[WALK_TENSORS]; /* of the current index, in elements */
} walk;

/* Append a dimension. Strides of tensors that do not take part are given as 0. */
static inline void walk_add(walk *w, int64_t size, int64_t s0, int64_t s1, int64_t s2, int64_t s3) {
    const int64_t strides[WALK_TENSORS] = {s0, s1, s2, s3};
    w->sizes[w->ndim] = size;
    for (int t = 0; t < WALK_TENSORS; t++) w->strides[t][w->ndim] = strides[t];
    w->ndim++;
}

/* A walk over the sizes of x; the others (NULL: none) have the same sizes. */
static inline walk walk_over(const td_tensor *x, const td_tensor *y, const td_tensor *z, const td_tensor *u) {
    walk w = {0};
    for (int d = 0; d < x->ndim; d++)
        walk_add(&w, x->sizes[d], x->strides[d], y ? y->strides[d] : 0, z ? z->strides[d] : 0,
                 u ? u->strides[d] : 0);
    return w;
}

/* Is there no index at all? */
static inline bool walk_is_empty(const walk *w) {
    for (int d = 0; d < w->ndim; d++)
        if (w->sizes[d] == 0) return true;
    return false;
}

/* On to the next index in row-major order; false, and back at the first, after the last. */
static inline bool walk_next(walk *w) {
    for (int d = w->ndim - 1; d >= 0; d--) {
        for (int t = 0; t < WALK_TENSORS; t++) w->offset[t] += w->strides[t][d];
        if (++w->at[d] < w->sizes[d]) return true;
        for (int t = 0; t < WALK_TENSORS; t++) w->offset[t] -= w->sizes[d] * w->strides[t][d];
        w->at[d] = 0;
    }
    return false;
}

/* The dtypes that can be computed with here: X(dtype, C type, short name). */
#define EACH_FLOATING(X) X(TD_DTYPE_F32, float, f32) X(TD_DTYPE_F64, double, f64)
#define EACH_INTEGER(X)                                                                                      \
    X(TD_DTYPE_I8, int8_t, i8)                                                                               \
    X(TD_DTYPE_U8, uint8_t, u8)                                                                              \
    X(TD_DTYPE_I16, int16_t, i16)                                                                            \
    X(TD_DTYPE_I32, int32_t, i32)                                                                            \
    X(TD_DTYPE_I64, int64_t, i64)                                                                            \
    X(TD_DTYPE_BOOL, bool, flag)
#define EACH_DTYPE(X) EACH_FLOATING(X) EACH_INTEGER(X)

static inline const char *element(const void *data, int64_t index, td_dtype dtype) {
    return (const char *)data + index * (int64_t)td_dtype_size(dtype);
}

static inline double load_real(const void *data, int64_t index, td_dtype dtype) {
    switch (dtype) {
#define LOAD(dtype, type, name)                                                                              \
    case dtype: return (double)((const type *)data)[index];
        EACH_DTYPE(LOAD)
#undef LOAD
    default: return 0;
    }
}

static inline int64_t load_int(const void *data, int64_t index, td_dtype dtype) {
    switch (dtype) {
#define LOAD(dtype, type, name)                                                                              \
    case dtype: return (int64_t)((const type *)data)[index];
        EACH_DTYPE(LOAD)
#undef LOAD
    default: return 0;
    }
}

static inline void store_real(void *data, int64_t index, td_dtype dtype, double value) {
    switch (dtype) {
#define STORE(dtype, type, name)                                                                             \
    case dtype: ((type *)data)[index] = (type)value; break;
        EACH_DTYPE(STORE)
#undef STORE
    default: break;
    }
}

static inline void store_int(void *data, int64_t index, td_dtype dtype, int64_t value) {
    switch (dtype) {
#define STORE(dtype, type, name)                                                                             \
    case dtype: ((type *)data)[index] = (type)value; break;
        EACH_DTYPE(STORE)
#undef STORE
    default: break;
    }
}

/* Can load_real and its kin read this dtype? The half-width floats cannot be computed with yet. */
static inline bool is_computable(td_dtype dtype) { return dtype != TD_DTYPE_F16 && dtype != TD_DTYPE_BF16; }

static inline td_status refuse_dtype(const td_tensor *x) {
    return td_fail(TD_ERR_UNSUPPORTED, 0, "model",
                   "%s tensors cannot be computed with here; cast to f32 first",
                   td_dtype_name((td_dtype)x->dtype));
}

/* A negative dim counts from the end. */
static inline int64_t wrap_dim(int64_t dim, int64_t ndim) { return dim < 0 ? dim + (ndim ? ndim : 1) : dim; }

#endif
