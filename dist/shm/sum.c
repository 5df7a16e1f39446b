/* Choice of the kernels. All tables give the same bits: nothing is contracted and the order is fixed. */
#include "dist/shm/sum.h"

const td_sum_table *td_sum_select(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return &td_sum_avx512;
    if (__builtin_cpu_supports("avx2")) return &td_sum_avx2;
    return &td_sum_generic;
}

td_sum_kernel *td_sum_for(const td_sum_table *table, td_dtype dtype) {
    switch (dtype) {
    case TD_DTYPE_F32: return table->f32;
    case TD_DTYPE_F64: return table->f64;
    case TD_DTYPE_I64: return table->i64;
    default: return NULL;
    }
}
