/* Which reductions there are, and the choice of their kernels. */
#include "dist/reduce.h"

#include <cpuid.h>

const uint32_t td_reduce_dtypes[TD_REDUCE_COUNT] = TD_REDUCES_EVERYTHING;

/* Older clang's __builtin_cpu_supports does not know "f16c". */
static bool has_f16c(void) {
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

const td_reduce_table *td_reduce_select(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return &td_reduce_avx512;
    if (__builtin_cpu_supports("avx2") && has_f16c()) return &td_reduce_avx2;
    return &td_reduce_generic;
}
