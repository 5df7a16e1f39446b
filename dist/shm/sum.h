/* Sums over ranks: the kernels, one table per instruction set. Pure functions of their arguments. */
#ifndef TANDEM_DIST_SHM_SUM_H
#define TANDEM_DIST_SHM_SUM_H

#include "base/dtype.h"

/* For each i < count: from[0][i] + from[1][i] + ... in this order, divided by `inputs` if `average`, is
 * written to to[0][i], to[1][i], ... An output may be an input, but no other overlap is allowed. */
typedef void td_sum_kernel(void *const *to, size_t outputs, const void *const *from, size_t inputs,
                           size_t count, bool average);

typedef struct td_sum_table {
    td_sum_kernel *f32, *f64, *i64; /* i64 wraps, and has no average */
} td_sum_table;

extern const td_sum_table td_sum_generic, td_sum_avx2, td_sum_avx512;

/* The best for this machine. */
const td_sum_table *td_sum_select(void);

td_sum_kernel *td_sum_for(const td_sum_table *table, td_dtype dtype);

#endif
