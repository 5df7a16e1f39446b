/* Sums in f64. The lanes are the same sixteen on every instruction set, and so is the order they are added
 * in. */
#include "model/cpu/fast/fast.h"
#include "model/cpu/fast/loops.h"
#include "model/cpu/fast/vec.h"

#define SUM_LANES 16

double ISA(sum)(const float *x, int64_t count) {
    double lanes[SUM_LANES] = {0};
    int64_t i = 0;
    for (; i + SUM_LANES <= count; i += SUM_LANES)
        for (int l = 0; l < SUM_LANES; l++) lanes[l] += (double)x[i + l];
    for (int l = 0; i + l < count; l++) lanes[l] += (double)x[i + l];
    for (int half = SUM_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

void ISA(sum_rows)(const float *x, int64_t rows, int64_t stride, int64_t cols, double *sums) {
    int64_t j = 0;
    for (; j + SUM_LANES <= cols; j += SUM_LANES) {
        double lanes[SUM_LANES];
        memcpy(lanes, sums + j, sizeof lanes);
        for (int64_t i = 0; i < rows; i++)
            for (int l = 0; l < SUM_LANES; l++) lanes[l] += (double)x[i * stride + j + l];
        memcpy(sums + j, lanes, sizeof lanes);
    }
    for (; j < cols; j++)
        for (int64_t i = 0; i < rows; i++) sums[j] += (double)x[i * stride + j];
}
