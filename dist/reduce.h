/* Reductions over ranks: the kernels, one table per instruction set. Pure functions of their arguments. */
#ifndef TANDEM_DIST_REDUCE_H
#define TANDEM_DIST_REDUCE_H

#include "dist/call.h"

/* For each i < count: from[0][i], from[1][i], ... are combined in this order and written to to[0][i],
 * to[1][i], ... An output may be an input, but no other overlap is allowed. */
typedef void td_reduce_kernel(void *const *to, size_t outputs, const void *const *from, size_t inputs,
                              size_t count, double factor);

typedef struct td_reduce_table {
    td_reduce_kernel *kernels[TD_REDUCE_COUNT][TD_DTYPE_COUNT];      /* NULL: not defined */
    void (*widen[2])(float *to, const uint16_t *from, size_t count); /* f16, bf16 */
    void (*narrow[2])(uint16_t *to, const float *from, size_t count);
} td_reduce_table;

extern const td_reduce_table td_reduce_generic, td_reduce_avx2, td_reduce_avx512;

/* The best for this machine. All tables give the same bits: nothing is contracted and the order is fixed. */
TD_API const td_reduce_table *td_reduce_select(void);

/* Bit d: a reduction is defined for dtype d. */
extern const uint32_t td_reduce_dtypes[TD_REDUCE_COUNT];

/* `factor` is that of a premultiplied sum. */
static inline void td_reduce_run(const td_reduce_table *table, td_reduce op, td_dtype dtype, double factor,
                                 void *const *to, size_t outputs, const void *const *from, size_t inputs,
                                 size_t count) {
    table->kernels[op][dtype](to, outputs, from, inputs, count, factor);
}

/* From half-width floats to f32, and back with one rounding; what a reduction in several steps needs. */
static inline void td_reduce_widen(const td_reduce_table *table, td_dtype dtype, float *to, const void *from,
                                   size_t count) {
    table->widen[dtype == TD_DTYPE_BF16](to, (const uint16_t *)from, count);
}
static inline void td_reduce_narrow(const td_reduce_table *table, td_dtype dtype, void *to, const void *from,
                                    size_t count) {
    table->narrow[dtype == TD_DTYPE_BF16]((uint16_t *)to, (const float *)from, count);
}

/* For a backend's table: all dtypes for which each reduction is defined. */
enum {
    TD_REDUCES_FLOATS = 1 << TD_DTYPE_F32 | 1 << TD_DTYPE_F64 | 1 << TD_DTYPE_F16 | 1 << TD_DTYPE_BF16,
    TD_REDUCES_ALL = (1 << TD_DTYPE_COUNT) - 1,
};
#define TD_REDUCES_EVERYTHING                                                                                \
    {                                                                                                        \
        [TD_REDUCE_SUM] = TD_REDUCES_ALL, [TD_REDUCE_AVG] = TD_REDUCES_FLOATS,                               \
        [TD_REDUCE_MIN] = TD_REDUCES_ALL, [TD_REDUCE_MAX] = TD_REDUCES_ALL,                                  \
        [TD_REDUCE_PROD] = TD_REDUCES_ALL, [TD_REDUCE_BAND] = TD_REDUCES_ALL & ~TD_REDUCES_FLOATS,           \
        [TD_REDUCE_BOR] = TD_REDUCES_ALL & ~TD_REDUCES_FLOATS,                                               \
        [TD_REDUCE_BXOR] = TD_REDUCES_ALL & ~TD_REDUCES_FLOATS, [TD_REDUCE_PREMUL_SUM] = TD_REDUCES_FLOATS,  \
    }

#endif
