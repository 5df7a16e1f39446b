/*
 * The inner loops that are compiled once per instruction set, as one table each, and the choice among them. A
 * loop works on plain arrays on the calling thread; what may be given to it, and how work is split between
 * threads, is decided by its caller in model/cpu/native. All loops but the products (matmul, winograd) give
 * the same bits in every table.
 */
#ifndef TANDEM_MODEL_CPU_FAST_FAST_H
#define TANDEM_MODEL_CPU_FAST_FAST_H

#include "base/types.h"
#include "model/cpu/optimizer_kernels.h"

/* --- products -------------------------------------------------------------------------------------- */

/* Row-major or not, by strides in elements: element (i, j) lies at data + i * row + j * col. */
typedef struct cpu_matrix {
    const float *data;
    int64_t row, col;
} cpu_matrix;

/* c (rows x cols) = a (rows x depth) * b (depth x cols), plus bias[j] in column j where there is one. */
typedef struct cpu_product {
    int64_t rows, cols, depth;
    cpu_matrix a, b, c;
    const float *bias;
} cpu_product;

#define CPU_PRODUCT_SCRATCH ((size_t)192 * 1024) /* floats that matmul needs for packing */

/* Pixels of channels that lie side by side (channels_last), with any other strides. */
typedef struct cpu_image {
    const float *data;
    int64_t channels, height, width;
    int64_t image_stride, row_stride, col_stride;
} cpu_image;

#define CPU_WINOGRAD_BLOCK 18 /* tiles worked on at a time */

/* A 3x3 convolution of stride 1, cut into tiles of 2x2 outputs, counted image by image, row by row. */
typedef struct cpu_winograd {
    cpu_image input, output; /* winograd_weights reads both */
    int64_t pad_rows, pad_cols;
    int64_t tile_rows, tile_cols; /* per image */
    int64_t c_padded, k_padded;   /* channels rounded up: of the input to vectors, of the output to two */
    const float *weights;         /* transformed: [16][k_padded / cols][channels][cols], cols = two vectors */
    const float *bias;            /* or NULL */
} cpu_winograd;

#define CPU_UNPOOL_CHANNELS 256
#define CPU_DIRECT_TAPS     128

/* A convolution with few taps (window positions times input channels) over padded copies of images. */
typedef struct cpu_direct {
    cpu_image output;
    int64_t taps, offsets[CPU_DIRECT_TAPS]; /* where each tap lies, from an output's first */
    int64_t step, row_step;      /* from an output's first tap to its neighbour's, right and below */
    int64_t k_padded;            /* output channels rounded up to two vectors */
    const float *weights, *bias; /* [taps][k_padded], [k_padded] */
} cpu_direct;

/* Pixels of `cols` channels, from the first one at x (and g, y) on; per channel the numbers below. */
typedef struct cpu_norm {
    int64_t cols, x_stride, g_stride, y_stride;
    const float *x, *g;
    float *y;
    const float *mean, *scale, *bias, *slope;
} cpu_norm;

/* --- one table per instruction set ------------------------------------------------------------------- */

typedef struct cpu_fast {
    const char *name;
    int lanes; /* floats in a vector */

    /* scratch: CPU_PRODUCT_SCRATCH floats, 64-byte aligned. */
    void (*matmul)(const cpu_product *p, float *scratch);

    /* Tiles [begin, end). scratch: 16 * CPU_WINOGRAD_BLOCK * (c_padded + k_padded) floats. winograd_weights
     * adds to sums, [16][channels][k_padded]. */
    void (*winograd_forward)(const cpu_winograd *w, int64_t begin, int64_t end, float *scratch);
    void (*winograd_weights)(const cpu_winograd *w, int64_t begin, int64_t end, float *scratch, float *sums);

    /* Image n, of which `image` is the padded copy. direct_weights adds to sums, [taps][k_padded]; scratch: a
     * row of outputs of two vectors each. */
    void (*direct_forward)(const cpu_direct *v, const float *image, int64_t n);
    void (*direct_weights)(const cpu_direct *v, const float *image, int64_t n, float *sums, float *scratch);

    /* Element by element; y may be x (or g) itself. */
    void (*relu)(const float *x, float *y, int64_t count);
    void (*threshold_backward)(const float *g, const float *x, float threshold, float *y, int64_t count);
    void (*add)(const float *a, const float *b, float alpha, float *y, int64_t count);
    void (*mul)(const float *a, const float *b, float *y, int64_t count);
    void (*div)(const float *a, const float *b, float *y, int64_t count);
    void (*add_scalar)(const float *x, float s, float *y, int64_t count);
    void (*mul_scalar)(const float *x, float s, float *y, int64_t count);
    void (*fill)(float *y, float value, int64_t count);
    /* x times `scale` where kept, times 0 elsewhere. */
    void (*drop)(const float *x, const uint8_t *kept, float scale, float *y, int64_t count);

    /* The sum in f64, in 16 lanes that are added up in a fixed order. */
    double (*sum)(const float *x, int64_t count);
    /* sums[j] += x[i * stride + j], rows in order. */
    void (*sum_rows)(const float *x, int64_t rows, int64_t stride, int64_t cols, double *sums);

    /* Channels side by side, `rows` pixels of them (`cols`), each array with its own stride between pixels.
     * Sums of x - shift and of its squares, added to f64. */
    void (*norm_moments)(const float *x, int64_t rows, int64_t stride, int64_t cols, const float *shift,
                         double *sums, double *squares);
    /* y = (x - mean) * scale + bias. */
    void (*norm_apply)(const cpu_norm *n, int64_t rows);
    /* Sums of g and of g * (x - mean), added to f64. */
    void (*norm_sums)(const cpu_norm *n, int64_t rows, double *sums, double *products);
    /* y = (g - bias - (x - mean) * slope) * scale. */
    void (*norm_back)(const cpu_norm *n, int64_t rows);

    /* The largest of `count` elements at x + offsets[i] + c, and which i (the first; of NaN the last), for
     * each of `channels`. */
    void (*pool)(const float *x, const int64_t *offsets, const uint8_t *positions, int64_t count,
                 int64_t channels, float *y, uint8_t *choice);
    /* For each window position i: at y + offsets[i] + c, g[c * stride] where choice[c] is positions[i], else
     * 0. At most CPU_UNPOOL_CHANNELS channels. */
    void (*unpool)(const float *g, int64_t stride, const uint8_t *choice, const int64_t *offsets,
                   const uint8_t *positions, int64_t count, int64_t channels, float *y);

    /* model/cpu/combine.h; a sum of squares is of one block. */
    void (*combine)(float *y, const float *const *x, const float *weights, int ranks, float divisor,
                    int64_t count);
    double (*sum_squares)(const float *x, int64_t count);

    void (*sgd)(float *param, const float *grad, float *buffer, int64_t count, const cpu_sgd_numbers *n);
    void (*adam)(float *param, const float *grad, float *exp_avg, float *exp_avg_sq, int64_t count,
                 const cpu_adam_numbers *n);
} cpu_fast;

extern const cpu_fast cpu_fast_base, cpu_fast_avx2, cpu_fast_avx512;

/* The best table for this processor. */
const cpu_fast *cpu_fast_choose(void);

#endif
