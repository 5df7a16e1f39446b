/* Element-wise loops, left to the compiler's vectoriser: `ivdep` tells it that y is x itself or apart from
 * it. No operation here fuses or reorders, so every instruction set gives the same bits. */
#include "model/cpu/fast/fast.h"
#include "model/cpu/fast/loops.h"
#include "model/cpu/fast/vec.h"

#ifdef __clang__
#define EACH _Pragma("clang loop vectorize(assume_safety)") for (int64_t i = 0; i < count; i++)
#else
#define EACH _Pragma("GCC ivdep") for (int64_t i = 0; i < count; i++)
#endif

/* x <= 0 is false of NaN, which so stays; -0 becomes 0. */
void ISA(relu)(const float *x, float *y, int64_t count) { EACH y[i] = x[i] <= 0 ? 0 : x[i]; }

void ISA(threshold_backward)(const float *g, const float *x, float threshold, float *y, int64_t count) {
    EACH y[i] = x[i] <= threshold ? 0 : g[i];
}

void ISA(add)(const float *a, const float *b, float alpha, float *y, int64_t count) {
    if (alpha == 1) {
        EACH y[i] = a[i] + b[i];
    } else {
        EACH y[i] = a[i] + alpha * b[i];
    }
}

void ISA(mul)(const float *a, const float *b, float *y, int64_t count) { EACH y[i] = a[i] * b[i]; }

void ISA(div)(const float *a, const float *b, float *y, int64_t count) { EACH y[i] = a[i] / b[i]; }

void ISA(add_scalar)(const float *x, float s, float *y, int64_t count) { EACH y[i] = x[i] + s; }

void ISA(mul_scalar)(const float *x, float s, float *y, int64_t count) { EACH y[i] = x[i] * s; }

void ISA(fill)(float *y, float value, int64_t count) { EACH y[i] = value; }

void ISA(drop)(const float *x, const uint8_t *kept, float scale, float *y, int64_t count) {
    EACH y[i] = x[i] * (kept[i] ? scale : 0.0f);
}
