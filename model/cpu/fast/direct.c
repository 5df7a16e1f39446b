/*
 * Convolutions with few input channels (a network's first layer) straight from the definition: each window
 * position of each channel is a tap, and all taps' weights fit the first-level cache. The image has been
 * copied with its padding, so that every tap of every output lies inside it.
 */
#include "model/cpu/fast/loops.h"
#include "model/cpu/fast/tile.h"

/* mr outputs of a row, two vectors of channels each: the depth runs over the taps. */
static inline __attribute__((always_inline)) void run_outputs(const int mr, const cpu_direct *v,
                                                              const float *x, int64_t k, float *to,
                                                              int64_t lanes_left) {
    vec acc[TILE_ROWS][2];
    for (int i = 0; i < mr; i++) {
        acc[i][0] = load(v->bias + k);
        acc[i][1] = load(v->bias + k + LANES);
    }
    const float *w = v->weights + k;
    for (int64_t t = 0; t < v->taps; t++, w += v->k_padded) {
        const float *a = x + v->offsets[t];
        vec w0 = load(w), w1 = load(w + LANES);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            vec s = splat(a[i * v->step]);
            acc[i][0] = mul_add(s, w0, acc[i][0]);
            acc[i][1] = mul_add(s, w1, acc[i][1]);
        }
    }
    for (int i = 0; i < mr; i++, to += v->output.col_stride) {
        if (lanes_left >= TILE_COLS) {
            store(to, acc[i][0]);
            store(to + LANES, acc[i][1]);
        } else {
            const int64_t low = lanes_left < LANES ? lanes_left : LANES;
            store_part(to, acc[i][0], low);
            if (lanes_left > LANES) store_part(to + LANES, acc[i][1], lanes_left - LANES);
        }
    }
}

void ISA(direct_forward)(const cpu_direct *v, const float *image, int64_t n) {
    const cpu_image *y = &v->output;
    for (int64_t row = 0; row < y->height; row++) {
        const float *x = image + row * v->row_step;
        float *to = (float *)y->data + n * y->image_stride + row * y->row_stride;
        for (int64_t k = 0; k < v->k_padded; k += TILE_COLS) {
            int64_t col = 0;
            for (; col + 6 <= y->width; col += 6)
                run_outputs(6, v, x + col * v->step, k, to + col * y->col_stride + k, y->channels - k);
            for (; col < y->width; col++)
                run_outputs(1, v, x + col * v->step, k, to + col * y->col_stride + k, y->channels - k);
        }
    }
}

/* mr taps by two vectors of channels: the depth runs over the outputs of a row. */
static inline __attribute__((always_inline)) void run_taps(const int mr, const cpu_direct *v, const float *x,
                                                           int64_t tap, const float *dy, int64_t dy_step,
                                                           float *sums) {
    vec acc[TILE_ROWS][2];
    const float *a[TILE_ROWS];
    for (int i = 0; i < mr; i++) {
        acc[i][0] = load(sums + i * v->k_padded);
        acc[i][1] = load(sums + i * v->k_padded + LANES);
        a[i] = x + v->offsets[tap + i];
    }
    for (int64_t p = 0; p < v->output.width; p++, dy += dy_step) {
        vec d0 = load(dy), d1 = load(dy + LANES);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            vec s = splat(a[i][p * v->step]);
            acc[i][0] = mul_add(s, d0, acc[i][0]);
            acc[i][1] = mul_add(s, d1, acc[i][1]);
        }
    }
    for (int i = 0; i < mr; i++) {
        store(sums + i * v->k_padded, acc[i][0]);
        store(sums + i * v->k_padded + LANES, acc[i][1]);
    }
}

/* A row's last channels, which do not fill two vectors, with zeros behind them: `row` has room for them. */
static const float *pad_channels(const float *dy, int64_t width, int64_t col_stride, int64_t lanes,
                                 float *row) {
    memset(row, 0, (size_t)(width * TILE_COLS) * sizeof *row);
    for (int64_t p = 0; p < width; p++)
        memcpy(row + p * TILE_COLS, dy + p * col_stride, (size_t)lanes * sizeof *row);
    return row;
}

void ISA(direct_weights)(const cpu_direct *v, const float *image, int64_t n, float *sums, float *scratch) {
    const cpu_image *y = &v->output;
    for (int64_t row = 0; row < y->height; row++) {
        const float *x = image + row * v->row_step;
        for (int64_t k = 0; k < v->k_padded; k += TILE_COLS) {
            const float *dy = y->data + n * y->image_stride + row * y->row_stride + k;
            int64_t dy_step = y->col_stride;
            if (y->channels - k < TILE_COLS) {
                dy = pad_channels(dy, y->width, y->col_stride, y->channels - k, scratch);
                dy_step = TILE_COLS;
            }
            int64_t t = 0;
            for (; t + 5 <= v->taps; t += 5) run_taps(5, v, x, t, dy, dy_step, sums + t * v->k_padded + k);
            for (; t + 4 <= v->taps; t += 4) run_taps(4, v, x, t, dy, dy_step, sums + t * v->k_padded + k);
            for (; t < v->taps; t++) run_taps(1, v, x, t, dy, dy_step, sums + t * v->k_padded + k);
        }
    }
}
