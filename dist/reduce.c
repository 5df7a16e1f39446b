/* Choice of the kernels. */
#include "dist/reduce.h"

const td_reduce_table *td_reduce_select(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return &td_reduce_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) return &td_reduce_avx2;
    return &td_reduce_generic;
}
