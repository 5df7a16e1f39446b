/* Batch normalisation of channels that lie side by side. The bits are the same on every instruction set: sums
 * are kept in f64 for each channel, pixel after pixel, and nothing is fused. */
#include "model/cpu/fast/fast.h"
#include "model/cpu/fast/loops.h"
#include "model/cpu/fast/vec.h"

#define SUM_LANES 16

/* `width` channels from column c on, kept in registers over all rows. */
static inline void moments_of(const float *x, int64_t rows, int64_t stride, int64_t c, int width,
                              const float *shift, double *sums, double *squares) {
    double sum[SUM_LANES] = {0}, square[SUM_LANES] = {0}, from[SUM_LANES] = {0};
    for (int l = 0; l < width; l++) from[l] = shift[c + l];
    for (int64_t i = 0; i < rows; i++)
        for (int l = 0; l < width; l++) {
            const double d = (double)x[i * stride + c + l] - from[l];
            sum[l] += d;
            square[l] += d * d;
        }
    for (int l = 0; l < width; l++) sums[c + l] += sum[l], squares[c + l] += square[l];
}

void ISA(norm_moments)(const float *x, int64_t rows, int64_t stride, int64_t cols, const float *shift,
                       double *sums, double *squares) {
    int64_t c = 0;
    for (; c + SUM_LANES <= cols; c += SUM_LANES)
        moments_of(x, rows, stride, c, SUM_LANES, shift, sums, squares);
    for (; c < cols; c++) moments_of(x, rows, stride, c, 1, shift, sums, squares);
}

void ISA(norm_apply)(const cpu_norm *n, int64_t rows) {
    for (int64_t i = 0; i < rows; i++) {
        const float *x = n->x + i * n->x_stride;
        float *y = n->y + i * n->y_stride;
        int64_t c = 0;
        for (; c + LANES <= n->cols; c += LANES)
            store(y + c, (load(x + c) - load(n->mean + c)) * load(n->scale + c) + load(n->bias + c));
        for (; c < n->cols; c++) y[c] = (x[c] - n->mean[c]) * n->scale[c] + n->bias[c];
    }
}

static inline void sums_of(const cpu_norm *n, int64_t rows, int64_t c, int width, double *sums,
                           double *products) {
    double sum[SUM_LANES] = {0}, product[SUM_LANES] = {0}, mean[SUM_LANES] = {0};
    for (int l = 0; l < width; l++) mean[l] = n->mean[c + l];
    for (int64_t i = 0; i < rows; i++)
        for (int l = 0; l < width; l++) {
            const double g = n->g[i * n->g_stride + c + l];
            sum[l] += g;
            product[l] += g * ((double)n->x[i * n->x_stride + c + l] - mean[l]);
        }
    for (int l = 0; l < width; l++) sums[c + l] += sum[l], products[c + l] += product[l];
}

void ISA(norm_sums)(const cpu_norm *n, int64_t rows, double *sums, double *products) {
    int64_t c = 0;
    for (; c + SUM_LANES <= n->cols; c += SUM_LANES) sums_of(n, rows, c, SUM_LANES, sums, products);
    for (; c < n->cols; c++) sums_of(n, rows, c, 1, sums, products);
}

void ISA(norm_back)(const cpu_norm *n, int64_t rows) {
    for (int64_t i = 0; i < rows; i++) {
        const float *x = n->x + i * n->x_stride, *g = n->g + i * n->g_stride;
        float *y = n->y + i * n->y_stride;
        int64_t c = 0;
        for (; c + LANES <= n->cols; c += LANES) {
            const vec d = load(x + c) - load(n->mean + c);
            store(y + c, (load(g + c) - load(n->bias + c) - d * load(n->slope + c)) * load(n->scale + c));
        }
        for (; c < n->cols; c++) y[c] = (g[c] - n->bias[c] - (x[c] - n->mean[c]) * n->slope[c]) * n->scale[c];
    }
}
