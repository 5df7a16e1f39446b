/* The plain updates, for f32 and f64 from one text. */
#include "model/cpu/optimizer_kernels.h"

#include <math.h>

#define REAL    float
#define NAME(x) x##_f32
#define FMA     fmaf
#define SQRT    sqrtf
#include "model/cpu/reference/optimizer.inc"
#undef REAL
#undef NAME
#undef FMA
#undef SQRT

#define REAL    double
#define NAME(x) x##_f64
#define FMA     fma
#define SQRT    sqrt
#include "model/cpu/reference/optimizer.inc"
#undef REAL
#undef NAME
#undef FMA
#undef SQRT

void cpu_reference_sgd(const cpu_sgd_numbers *numbers, td_dtype dtype, void *param, const void *grad,
                       void *momentum_buffer, size_t count) {
    if (dtype == TD_DTYPE_F32)
        update_sgd_f32(numbers, param, grad, momentum_buffer, count);
    else
        update_sgd_f64(numbers, param, grad, momentum_buffer, count);
}

void cpu_reference_adam(const cpu_adam_numbers *numbers, td_dtype dtype, void *param, const void *grad,
                        void *exp_avg, void *exp_avg_sq, void *max_exp_avg_sq, size_t count) {
    if (dtype == TD_DTYPE_F32)
        update_adam_f32(numbers, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, count);
    else
        update_adam_f64(numbers, param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, count);
}
