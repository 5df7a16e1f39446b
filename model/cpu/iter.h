/*
 * The walk of element-wise kernels: a result and up to three arguments broadcast to its sizes, dimensions in
 * the result's memory order and joined where they lie as one, arguments of other dtypes converted by the
 * stretch. A kernel gives one loop over a stretch of equally spaced elements per dtype. Internal to
 * model/cpu.
 */
#ifndef TANDEM_MODEL_CPU_ITER_H
#define TANDEM_MODEL_CPU_ITER_H

#include "model/tensor/internal.h"

#define CPU_ITER_OPERANDS 4

/* data[0] is the result's first element of the stretch, data[1] the first argument's and so on; strides in
 * bytes. */
typedef void cpu_loop(char *const *data, const int64_t *strides, int64_t count, const void *cookie);

/* What is computed: the loop sees the result as `result_dtype` and every argument as `dtype`. */
typedef struct cpu_pointwise {
    td_dtype dtype, result_dtype;
    cpu_loop *loop;
    const void *cookie; /* the loop's numbers */
} cpu_pointwise;

/* Compute `out` from `count` arguments. */
void cpu_iterate(const cpu_pointwise *what, td_tensor *out, const td_tensor *const *inputs, int count);

/* `count` elements from one dtype and spacing (in bytes) to another, as a C cast or PyTorch's `to` has it; to
 * bool, what is not 0 is 1. */
void cpu_convert(td_dtype from, const char *source, int64_t source_stride, td_dtype to, char *target,
                 int64_t target_stride, int64_t count);

/* X(dtype, C type, name) for what arithmetic is done in. */
#define CPU_EACH_FLOATING(X) X(TD_DTYPE_F32, float, f32) X(TD_DTYPE_F64, double, f64)
#define CPU_EACH_INTEGER(X)                                                                                  \
    X(TD_DTYPE_I8, int8_t, i8)                                                                               \
    X(TD_DTYPE_U8, uint8_t, u8)                                                                              \
    X(TD_DTYPE_I16, int16_t, i16)                                                                            \
    X(TD_DTYPE_I32, int32_t, i32)                                                                            \
    X(TD_DTYPE_I64, int64_t, i64)
#define CPU_EACH_NUMBER(X) CPU_EACH_FLOATING(X) CPU_EACH_INTEGER(X)

/* The half-width floats are computed in f32. */
static inline td_dtype cpu_compute_dtype(td_dtype dtype) {
    return dtype == TD_DTYPE_F16 || dtype == TD_DTYPE_BF16 ? TD_DTYPE_F32 : dtype;
}

#endif
