/* The loops that one instruction set's objects share with its table (table.c). */
#ifndef TANDEM_MODEL_CPU_FAST_LOOPS_H
#define TANDEM_MODEL_CPU_FAST_LOOPS_H

#include "model/cpu/fast/fast.h"
#include "model/cpu/fast/vec.h"

void ISA(matmul)(const cpu_product *p, float *scratch);
void ISA(winograd_forward)(const cpu_winograd *w, int64_t begin, int64_t end, float *scratch);
void ISA(winograd_weights)(const cpu_winograd *w, int64_t begin, int64_t end, float *scratch, float *sums);
void ISA(direct_forward)(const cpu_direct *v, const float *image, int64_t n);
void ISA(direct_weights)(const cpu_direct *v, const float *image, int64_t n, float *sums, float *scratch);
void ISA(relu)(const float *x, float *y, int64_t count);
void ISA(threshold_backward)(const float *g, const float *x, float threshold, float *y, int64_t count);
void ISA(add)(const float *a, const float *b, float alpha, float *y, int64_t count);
void ISA(mul)(const float *a, const float *b, float *y, int64_t count);
void ISA(div)(const float *a, const float *b, float *y, int64_t count);
void ISA(add_scalar)(const float *x, float s, float *y, int64_t count);
void ISA(mul_scalar)(const float *x, float s, float *y, int64_t count);
void ISA(fill)(float *y, float value, int64_t count);
void ISA(drop)(const float *x, const uint8_t *kept, float scale, float *y, int64_t count);
double ISA(sum)(const float *x, int64_t count);
void ISA(sum_rows)(const float *x, int64_t rows, int64_t stride, int64_t cols, double *sums);
void ISA(norm_moments)(const float *x, int64_t rows, int64_t stride, int64_t cols, const float *shift,
                       double *sums, double *squares);
void ISA(norm_apply)(const cpu_norm *n, int64_t rows);
void ISA(norm_sums)(const cpu_norm *n, int64_t rows, double *sums, double *products);
void ISA(norm_back)(const cpu_norm *n, int64_t rows);
void ISA(pool)(const float *x, const int64_t *offsets, const uint8_t *positions, int64_t count,
               int64_t channels, float *y, uint8_t *choice);
void ISA(unpool)(const float *g, int64_t stride, const uint8_t *choice, const int64_t *offsets,
                 const uint8_t *positions, int64_t count, int64_t channels, float *y);
void ISA(combine)(float *y, const float *const *x, const float *weights, int ranks, float divisor,
                  int64_t count);
double ISA(sum_squares)(const float *x, int64_t count);
void ISA(sgd)(float *param, const float *grad, float *buffer, int64_t count, const cpu_sgd_numbers *n);
void ISA(adam)(float *param, const float *grad, float *exp_avg, float *exp_avg_sq, int64_t count,
               const cpu_adam_numbers *n);

#endif
