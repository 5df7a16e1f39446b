/* This instruction set's table. */
#include "model/cpu/fast/loops.h"

#if LANES == 16
#define TABLE cpu_fast_avx512
#define NAME  "avx512"
#elif LANES == 8
#define TABLE cpu_fast_avx2
#define NAME  "avx2"
#else
#define TABLE cpu_fast_base
#define NAME  "base"
#endif

const cpu_fast TABLE = {
    .name = NAME,
    .lanes = LANES,
    .matmul = ISA(matmul),
    .winograd_forward = ISA(winograd_forward),
    .winograd_weights = ISA(winograd_weights),
    .direct_forward = ISA(direct_forward),
    .direct_weights = ISA(direct_weights),
    .relu = ISA(relu),
    .threshold_backward = ISA(threshold_backward),
    .add = ISA(add),
    .mul = ISA(mul),
    .div = ISA(div),
    .add_scalar = ISA(add_scalar),
    .mul_scalar = ISA(mul_scalar),
    .fill = ISA(fill),
    .drop = ISA(drop),
    .sum = ISA(sum),
    .sum_rows = ISA(sum_rows),
    .norm_moments = ISA(norm_moments),
    .norm_apply = ISA(norm_apply),
    .norm_sums = ISA(norm_sums),
    .norm_back = ISA(norm_back),
    .pool = ISA(pool),
    .unpool = ISA(unpool),
    .combine = ISA(combine),
    .sum_squares = ISA(sum_squares),
    .sgd = ISA(sgd),
    .adam = ISA(adam),
};
