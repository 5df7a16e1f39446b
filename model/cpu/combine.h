/*
 * What the ranks' gradients become before an optimizer's step: their weighted mean, and its squares, summed
 * in blocks whose borders and order are fixed, so that a norm has the same bits however the elements are
 * shared out. Arrays are f32 or f64 without gaps, the caller's.
 */
#ifndef TANDEM_MODEL_CPU_COMBINE_H
#define TANDEM_MODEL_CPU_COMBINE_H

#include "base/dtype.h"

enum { CPU_SQUARES_BLOCK = 256 };

/* y[i] = (x[0][i] * weights[0] + x[1][i] * weights[1] + ...) / divisor: each product, sum and quotient is
 * rounded, in the order of `ranks`. y may be one of x. */
void cpu_combine(td_dtype dtype, void *y, const void *const *x, const double *weights, int ranks,
                 double divisor, size_t count);

/* sums[b]: of the squares, in f64, of the elements from CPU_SQUARES_BLOCK * b on; the last block may be short. */
void cpu_sum_squares(td_dtype dtype, const void *x, size_t count, double *sums);

#endif
