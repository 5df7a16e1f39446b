/* The weighted mean of several ranks' f32 gradients, and sums of squares. */
#include "model/cpu/combine.h"

#include "model/cpu/fast/loops.h"

#include <math.h>

/* Dividing by a power of two is multiplying by its inverse, to the bit, and much faster. */
static bool is_power_of_two(float x) {
    int exponent;
    return x > 0 && frexpf(x, &exponent) == 0.5f && exponent > -100 && exponent < 100;
}

#define INSTANCE static inline __attribute__((always_inline)) void
enum { AT_ONCE = 4 }; /* vectors whose sums are in registers */

INSTANCE run(float *y, const float *const *x, const float *weights, int ranks, float divisor, int64_t count,
             const bool scaled, const bool divided) {
    const float inverse = 1 / divisor;
    int64_t i = 0;
    for (; i + AT_ONCE * LANES <= count; i += AT_ONCE * LANES) {
        vec sum[AT_ONCE];
        for (int u = 0; u < AT_ONCE; u++) {
            sum[u] = load(x[0] + i + u * LANES);
            if (scaled) sum[u] = sum[u] * weights[0];
        }
        for (int r = 1; r < ranks; r++)
            for (int u = 0; u < AT_ONCE; u++) {
                vec other = load(x[r] + i + u * LANES);
                sum[u] += scaled ? other * weights[r] : other;
            }
        for (int u = 0; u < AT_ONCE; u++)
            store(y + i + u * LANES, divided ? sum[u] / divisor : sum[u] * inverse);
    }
    for (; i < count; i++) {
        float sum = x[0][i] * weights[0];
        for (int r = 1; r < ranks; r++) sum += x[r][i] * weights[r];
        y[i] = sum / divisor;
    }
}

void ISA(combine)(float *y, const float *const *x, const float *weights, int ranks, float divisor,
                  int64_t count) {
    bool scaled = false, divided = !is_power_of_two(divisor);
    for (int r = 0; r < ranks; r++) scaled |= weights[r] != 1;
    if (scaled && divided)
        run(y, x, weights, ranks, divisor, count, true, true);
    else if (scaled)
        run(y, x, weights, ranks, divisor, count, true, false);
    else if (divided)
        run(y, x, weights, ranks, divisor, count, false, true);
    else
        run(y, x, weights, ranks, divisor, count, false, false);
}

/* 16 lanes that are added up in pairs, whatever the instruction set. */
double ISA(sum_squares)(const float *x, int64_t count) {
    double lanes[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        for (int l = 0; l < 16; l++) lanes[l] += (double)x[i + l] * (double)x[i + l];
    for (int l = 0; i + l < count; l++) lanes[l] += (double)x[i + l] * (double)x[i + l];
    for (int width = 8; width; width /= 2)
        for (int l = 0; l < width; l++) lanes[l] += lanes[l + width];
    return lanes[0];
}
