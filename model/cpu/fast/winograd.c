/*
 * 3x3 convolutions of stride 1 by Winograd's F(2x2, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional
 * Neural Networks", 2015): a tile of 2x2 outputs needs 16 products instead of 36, and the products of many
 * tiles form 16 independent matrix multiplications. Its coefficients are 1 and 1/2 only, and the error
 * against f64 was measured to be no larger than the direct sum's.
 *
 *     y = A'[(G g G') * (B' d B)] A         d: 4x4 inputs, g: 3x3 weights, y: 2x2 outputs
 *     dg = G'[(A dy A') * (B' d B)] G       summed over the tiles
 *
 * Activations are channels_last, so channels are the vector dimension of every transform. Work goes in blocks
 * of tiles small enough for the second-level cache.
 */
#include "model/cpu/fast/loops.h"
#include "model/cpu/fast/tile.h"

/* Rows and columns of a tile that lie inside the image: [from, to) of 0..4 or 0..2. */
typedef struct range {
    int64_t from, to;
} range;

static inline range clip(int64_t first, int64_t extent, int64_t tile_size) {
    range r = {first < 0 ? -first : 0, extent - first < tile_size ? extent - first : tile_size};
    if (r.to < r.from) r.to = r.from;
    return r;
}

/* v[point] = B' d B for LANES channels. */
static inline __attribute__((always_inline)) void transform_input(vec d[4][4], float *v, int64_t point) {
    for (int j = 0; j < 4; j++) {
        vec a = d[0][j], b = d[1][j], c = d[2][j], e = d[3][j];
        d[0][j] = a - c;
        d[1][j] = b + c;
        d[2][j] = c - b;
        d[3][j] = b - e;
    }
    for (int i = 0; i < 4; i++) {
        store(v + (4 * i + 0) * point, d[i][0] - d[i][2]);
        store(v + (4 * i + 1) * point, d[i][1] + d[i][2]);
        store(v + (4 * i + 2) * point, d[i][2] - d[i][1]);
        store(v + (4 * i + 3) * point, d[i][1] - d[i][3]);
    }
}

/* v[point] = A d A' for LANES channels. */
static inline __attribute__((always_inline)) void transform_gradient(vec d[2][2], float *v, int64_t point) {
    vec h[4][2];
    for (int j = 0; j < 2; j++) {
        h[0][j] = d[0][j];
        h[1][j] = d[0][j] + d[1][j];
        h[2][j] = d[0][j] - d[1][j];
        h[3][j] = -d[1][j];
    }
    for (int i = 0; i < 4; i++) {
        store(v + (4 * i + 0) * point, h[i][0]);
        store(v + (4 * i + 1) * point, h[i][0] + h[i][1]);
        store(v + (4 * i + 2) * point, h[i][0] - h[i][1]);
        store(v + (4 * i + 3) * point, -h[i][1]);
    }
}

/* Load the tile's size x size pixels of LANES channels (fewer where the channels end), zero outside the
 * image, and transform them into v. */
static inline __attribute__((always_inline)) void gather_lanes(const int size, const float *image,
                                                               int64_t row_stride, int64_t col_stride,
                                                               range rows, range cols, int64_t lanes,
                                                               float *v, int64_t point) {
    vec d[4][4];
    const int whole =
        lanes == LANES && rows.from == 0 && rows.to == size && cols.from == 0 && cols.to == size;
    for (int i = 0; i < size; i++) {
        for (int j = 0; j < size; j++) {
            const float *at = image + i * row_stride + j * col_stride;
            if (whole) {
                d[i][j] = load(at);
            } else if (i < rows.from || i >= rows.to || j < cols.from || j >= cols.to) {
                d[i][j] = (vec){0};
            } else {
                d[i][j] = lanes == LANES ? load(at) : load_part(at, lanes);
            }
        }
    }
    if (size == 4) {
        transform_input(d, v, point);
    } else {
        vec e[2][2] = {{d[0][0], d[0][1]}, {d[1][0], d[1][1]}};
        transform_gradient(e, v, point);
    }
}

static inline __attribute__((always_inline)) void gather_tile(const int size, const cpu_image *image,
                                                              int64_t n, int64_t row, int64_t col,
                                                              int64_t padded, float *v, int64_t point) {
    const range rows = clip(row, image->height, size), cols = clip(col, image->width, size);
    const float *first =
        image->data + n * image->image_stride + row * image->row_stride + col * image->col_stride;
    for (int64_t c = 0; c < image->channels; c += LANES) {
        const int64_t left = image->channels - c;
        gather_lanes(size, first + c, image->row_stride, image->col_stride, rows, cols,
                     left < LANES ? left : LANES, v + c, point);
    }
    for (int64_t c = (image->channels + LANES - 1) / LANES * LANES; c < padded; c += LANES) {
        for (int p = 0; p < 16; p++) store(v + p * point + c, (vec){0});
    }
}

/* y = A' m A + bias for one tile, clipped to the image. */
static void scatter_tile(const cpu_winograd *w, const float *m, int64_t point, int64_t n, int64_t row,
                         int64_t col) {
    const cpu_image *y = &w->output;
    float *first = (float *)y->data + n * y->image_stride + row * y->row_stride + col * y->col_stride;
    const int64_t rows = y->height - row < 2 ? 1 : 2, cols = y->width - col < 2 ? 1 : 2;
    for (int64_t k = 0; k < y->channels; k += LANES) {
        const int64_t lanes = y->channels - k < LANES ? y->channels - k : LANES;
        vec h[2][4];
        for (int j = 0; j < 4; j++) {
            vec a = load(m + (0 + j) * point + k), b = load(m + (4 + j) * point + k);
            vec c = load(m + (8 + j) * point + k), d = load(m + (12 + j) * point + k);
            h[0][j] = a + b + c;
            h[1][j] = b - c - d;
        }
        vec bias = {0};
        if (w->bias) bias = lanes == LANES ? load(w->bias + k) : load_part(w->bias + k, lanes);
        for (int64_t i = 0; i < rows; i++) {
            vec out[2] = {h[i][0] + h[i][1] + h[i][2] + bias, h[i][1] - h[i][2] - h[i][3] + bias};
            for (int64_t j = 0; j < cols; j++) {
                float *at = first + i * y->row_stride + j * y->col_stride + k;
                if (lanes == LANES) {
                    store(at, out[j]);
                } else {
                    store_part(at, out[j], lanes);
                }
            }
        }
    }
}

static inline void locate(const cpu_winograd *w, int64_t t, int64_t *n, int64_t *row, int64_t *col) {
    const int64_t per_image = w->tile_rows * w->tile_cols;
    *n = t / per_image;
    *row = t % per_image / w->tile_cols * 2;
    *col = t % per_image % w->tile_cols * 2;
}

static void gather_inputs(const cpu_winograd *w, int64_t begin, int64_t count, float *v) {
    const int64_t point = CPU_WINOGRAD_BLOCK * w->c_padded;
    for (int64_t t = 0; t < count; t++) {
        int64_t n, row, col;
        locate(w, begin + t, &n, &row, &col);
        gather_tile(4, &w->input, n, row - w->pad_rows, col - w->pad_cols, w->c_padded, v + t * w->c_padded,
                    point);
    }
}

void ISA(winograd_forward)(const cpu_winograd *w, int64_t begin, int64_t end, float *scratch) {
    const int64_t v_point = CPU_WINOGRAD_BLOCK * w->c_padded, m_point = CPU_WINOGRAD_BLOCK * w->k_padded;
    float *v = scratch, *m = scratch + 16 * v_point;
    for (int64_t t = begin; t < end; t += CPU_WINOGRAD_BLOCK) {
        const int64_t count = end - t < CPU_WINOGRAD_BLOCK ? end - t : CPU_WINOGRAD_BLOCK;
        gather_inputs(w, t, count, v);
        for (int64_t p = 0; p < 16; p++) {
            for (int64_t k = 0; k < w->k_padded; k += TILE_COLS) {
                const float *u = w->weights + (p * w->k_padded + k) * w->input.channels;
                for (int64_t i = 0, high; i < count; i += high) {
                    high = tile_height(count - i);
                    tile(high,
                         &(tile_args){w->input.channels, v + p * v_point + i * w->c_padded, w->c_padded, 1, u,
                                      TILE_COLS, m + p * m_point + i * w->k_padded + k, w->k_padded, 0});
                }
            }
        }
        for (int64_t i = 0; i < count; i++) {
            int64_t n, row, col;
            locate(w, t + i, &n, &row, &col);
            scatter_tile(w, m + i * w->k_padded, m_point, n, row, col);
        }
    }
}

void ISA(winograd_weights)(const cpu_winograd *w, int64_t begin, int64_t end, float *scratch, float *sums) {
    const int64_t v_point = CPU_WINOGRAD_BLOCK * w->c_padded, d_point = CPU_WINOGRAD_BLOCK * w->k_padded;
    float *v = scratch, *d = scratch + 16 * v_point;
    const int64_t channels = w->input.channels;
    for (int64_t t = begin; t < end; t += CPU_WINOGRAD_BLOCK) {
        const int64_t count = end - t < CPU_WINOGRAD_BLOCK ? end - t : CPU_WINOGRAD_BLOCK;
        gather_inputs(w, t, count, v);
        for (int64_t i = 0; i < count; i++) {
            int64_t n, row, col;
            locate(w, t + i, &n, &row, &col);
            gather_tile(2, &w->output, n, row, col, w->k_padded, d + i * w->k_padded, d_point);
        }
        for (int64_t p = 0; p < 16; p++) {
            for (int64_t k = 0; k < w->k_padded; k += TILE_COLS) {
                for (int64_t c = 0, high; c < channels; c += high) {
                    high = tile_height(channels - c);
                    tile(high, &(tile_args){count, v + p * v_point + c, 1, w->c_padded, d + p * d_point + k,
                                            w->k_padded, sums + (p * channels + c) * w->k_padded + k,
                                            w->k_padded, 1});
                }
            }
        }
    }
}
