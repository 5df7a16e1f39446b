/* Which instruction set this processor has; asked anew each time, since the answer is one load away. */
#include "model/cpu/fast/fast.h"

const cpu_fast *cpu_fast_choose(void) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &cpu_fast_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &cpu_fast_avx2;
    return &cpu_fast_base;
}
