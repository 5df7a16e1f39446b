/* Loops over a stretch, one per dtype, from an expression in x (and y). Internal to the plain kernels. */
#ifndef TANDEM_MODEL_CPU_REFERENCE_LOOPS_H
#define TANDEM_MODEL_CPU_REFERENCE_LOOPS_H

#include "model/cpu/internal.h"
#include "model/cpu/iter.h"

/* A number of a row in both forms. */
typedef struct loop_number {
    double real;
    int64_t integer;
} loop_number;

static inline loop_number number_of(td_scalar scalar) {
    return (loop_number){td_scalar_to_real(scalar), td_scalar_to_int(scalar)};
}

/* The row's number as `type`: NUMBER(float), exact for what the type can hold. */
/* clang-format off */
#define NUMBER(type)                                                                                         \
    _Generic((type)0, float: (type)number->real, double: (type)number->real,                                 \
             bool: (type)(number->real != 0), default: (type)number->integer)
/* clang-format on */

/* static void <name>_<suffix>(...): result of `out_type` from one argument of `type`. */
#define UNARY_LOOP(name, suffix, type, out_type, expression)                                                 \
    static void name##_##suffix(char *const *data, const int64_t *strides, int64_t count,                    \
                                const void *cookie) {                                                        \
        const loop_number *number = cookie;                                                                  \
        (void)number;                                                                                        \
        for (int64_t i = 0; i < count; i++) {                                                                \
            const type x = *(const type *)(data[1] + i * strides[1]);                                        \
            *(out_type *)(data[0] + i * strides[0]) = (out_type)(expression);                                \
        }                                                                                                    \
    }

#define BINARY_LOOP(name, suffix, type, out_type, expression)                                                \
    static void name##_##suffix(char *const *data, const int64_t *strides, int64_t count,                    \
                                const void *cookie) {                                                        \
        const loop_number *number = cookie;                                                                  \
        (void)number;                                                                                        \
        for (int64_t i = 0; i < count; i++) {                                                                \
            const type x = *(const type *)(data[1] + i * strides[1]);                                        \
            const type y = *(const type *)(data[2] + i * strides[2]);                                        \
            *(out_type *)(data[0] + i * strides[0]) = (out_type)(expression);                                \
        }                                                                                                    \
    }

/* One loop by dtype; NULL where the row does not compute in it. */
typedef cpu_loop *const loop_table[TD_DTYPE_COUNT];

#define FLOATING_ROWS(name) [TD_DTYPE_F32] = name##_f32, [TD_DTYPE_F64] = name##_f64
#define NUMBER_ROWS(name)                                                                                    \
    FLOATING_ROWS(name), [TD_DTYPE_I8] = name##_i8, [TD_DTYPE_U8] = name##_u8, [TD_DTYPE_I16] = name##_i16,  \
                         [TD_DTYPE_I32] = name##_i32, [TD_DTYPE_I64] = name##_i64

/* Compute in `dtype` (halves in f32), the result in the same unless `result_dtype` says otherwise. */
static inline td_status run_loops(cpu_loop *const *loops, td_dtype dtype, td_dtype result_dtype,
                                  td_tensor *out, const td_tensor *const *inputs, int count,
                                  const loop_number *number) {
    dtype = cpu_compute_dtype(dtype);
    cpu_loop *loop = loops[dtype];
    if (!loop)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "model", "%s is not computed with here", td_dtype_name(dtype));
    cpu_pointwise what = {dtype, result_dtype == TD_DTYPE_NONE ? dtype : result_dtype, loop, number};
    cpu_iterate(&what, out, inputs, count);
    return TD_OK;
}

#endif
