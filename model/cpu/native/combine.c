/* f32 by the fast loops, f64 plainly; both on the calling thread. */
#include "model/cpu/combine.h"

#include "model/cpu/fast/fast.h"

enum { RANKS_AT_ONCE = 64 }; /* more are combined in several turns, which round alike */

static void combine_f32(float *y, const void *const *x, const double *weights, int ranks, float divisor,
                        size_t count) {
    const float *from[RANKS_AT_ONCE];
    float factors[RANKS_AT_ONCE];
    for (int begin = 0; begin < ranks;) {
        int n = 0;
        if (begin) from[n] = y, factors[n++] = 1;
        for (; n < RANKS_AT_ONCE && begin < ranks; n++, begin++)
            from[n] = x[begin], factors[n] = (float)weights[begin];
        cpu_fast_choose()->combine(y, from, factors, n, begin == ranks ? divisor : 1, (int64_t)count);
    }
}

void cpu_combine(td_dtype dtype, void *y, const void *const *x, const double *weights, int ranks,
                 double divisor, size_t count) {
    if (dtype == TD_DTYPE_F32) {
        combine_f32(y, x, weights, ranks, (float)divisor, count);
        return;
    }
    double *to = y;
    for (size_t i = 0; i < count; i++) {
        double sum = ((const double *)x[0])[i] * weights[0];
        for (int r = 1; r < ranks; r++) sum += ((const double *)x[r])[i] * weights[r];
        to[i] = sum / divisor;
    }
}

void cpu_sum_squares(td_dtype dtype, const void *x, size_t count, double *sums) {
    for (size_t begin = 0, b = 0; begin < count; begin += CPU_SQUARES_BLOCK, b++) {
        size_t n = count - begin < CPU_SQUARES_BLOCK ? count - begin : CPU_SQUARES_BLOCK;
        if (dtype == TD_DTYPE_F32) {
            sums[b] = cpu_fast_choose()->sum_squares((const float *)x + begin, (int64_t)n);
            continue;
        }
        sums[b] = 0;
        for (size_t i = 0; i < n; i++) {
            double value = ((const double *)x)[begin + i];
            sums[b] += value * value;
        }
    }
}
