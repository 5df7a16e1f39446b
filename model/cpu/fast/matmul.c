/*
 * Matrix products of any strides: panels of b and blocks of a are packed into scratch so that the register
 * tile reads both in order (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication",
 * 2008). The depth is cut at fixed places, so a result does not depend on how rows and columns are split
 * between threads.
 */
#include "model/cpu/fast/loops.h"
#include "model/cpu/fast/tile.h"

#include <emmintrin.h>

#define DEPTH_BLOCK 256
#define ROW_BLOCK   72  /* a multiple of every tile height: 6 and 12 */
#define COL_BLOCK   384 /* a multiple of every panel width: 8, 16, 32 */

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* to[j * to_stride + i] = from[i * from_stride + j]: four rows of four at a time. */
static void transpose(const float *from, int64_t from_stride, int64_t rows, int64_t cols, float *to,
                      int64_t to_stride) {
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4) {
        int64_t j = 0;
        for (; j + 4 <= cols; j += 4) {
            const float *f = from + i * from_stride + j;
            __m128 a = _mm_loadu_ps(f), b = _mm_loadu_ps(f + from_stride);
            __m128 c = _mm_loadu_ps(f + 2 * from_stride), d = _mm_loadu_ps(f + 3 * from_stride);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            float *t = to + j * to_stride + i;
            _mm_storeu_ps(t, a);
            _mm_storeu_ps(t + to_stride, b);
            _mm_storeu_ps(t + 2 * to_stride, c);
            _mm_storeu_ps(t + 3 * to_stride, d);
        }
        for (; j < cols; j++)
            for (int64_t k = 0; k < 4; k++) to[j * to_stride + i + k] = from[(i + k) * from_stride + j];
    }
    for (; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) to[j * to_stride + i] = from[i * from_stride + j];
}

/* Panels of whole vectors from rows that lie in order, row by row. */
static void pack_rows(const float *from, int64_t step_stride, int64_t steps, int64_t lanes, int64_t width,
                      float *to) {
    for (int64_t s = 0; s < steps; s++, from += step_stride)
        for (int64_t first = 0; first < lanes; first += width)
            for (int64_t l = 0; l < width; l += LANES)
                store(to + first * steps + s * width + l, load(from + first + l));
}

/* Panels of `width`: to[panel][step][lane], from element (step, lane) at from + step * step_stride + lane *
 * lane_stride. Lanes beyond `lanes` are zero. */
static void pack(const float *from, int64_t step_stride, int64_t lane_stride, int64_t steps, int64_t lanes,
                 int64_t width, float *to) {
    int64_t first = 0;
    if (lane_stride == 1 && width % LANES == 0) {
        first = lanes / width * width;
        pack_rows(from, step_stride, steps, first, width, to);
    }
    for (; first < lanes; first += width) {
        const int64_t live = smaller(width, lanes - first);
        const float *at = from + first * lane_stride;
        float *panel = to + first * steps;
        if (live < width) memset(panel, 0, (size_t)(steps * width) * sizeof *panel);
        if (step_stride == 1 && lane_stride != 1) {
            transpose(at, lane_stride, live, steps, panel, width);
        } else {
            for (int64_t s = 0; s < steps; s++)
                for (int64_t l = 0; l < live; l++)
                    panel[s * width + l] = at[s * step_stride + l * lane_stride];
        }
    }
}

/* Rows of a, a panel of b, and how to step through them. */
typedef struct operands {
    const float *a, *b;
    int64_t a_row, a_step, b_step;
} operands;

/* One register tile into c, whatever c's strides and however few of its columns exist. */
static void write_tile(const cpu_product *p, int64_t high, int64_t depth, const operands *o, int64_t row,
                       int64_t col, bool first) {
    float *c = (float *)p->c.data + row * p->c.row + col * p->c.col;
    const int64_t wide = smaller(TILE_COLS, p->cols - col);
    const bool preset = first && p->bias;
    if (p->c.col == 1 && wide == TILE_COLS && !preset) {
        tile(high, &(tile_args){depth, o->a, o->a_row, o->a_step, o->b, o->b_step, c, p->c.row, !first});
        return;
    }
    float buffer[TILE_ROWS * TILE_COLS] __attribute__((aligned(64)));
    if (preset || !first) memset(buffer, 0, (size_t)(high * TILE_COLS) * sizeof *buffer);
    for (int64_t i = 0; i < high && (preset || !first); i++)
        for (int64_t j = 0; j < wide; j++)
            buffer[i * TILE_COLS + j] = preset ? p->bias[col + j] : c[i * p->c.row + j * p->c.col];
    tile(high, &(tile_args){depth, o->a, o->a_row, o->a_step, o->b, o->b_step, buffer, TILE_COLS,
                            preset || !first});
    for (int64_t i = 0; i < high; i++)
        for (int64_t j = 0; j < wide; j++) c[i * p->c.row + j * p->c.col] = buffer[i * TILE_COLS + j];
}

/* A small a is read as it lies, from the first-level cache, and so is a small b where its columns adjoin. */
#define SMALL 8192 /* floats */

static bool is_small(const cpu_product *p) { return p->depth <= DEPTH_BLOCK && p->rows * p->depth <= SMALL; }

static void multiply_small(const cpu_product *p, float *packed_b) {
    const bool as_it_lies = p->b.col == 1 && p->b.row > 0 && p->depth * p->b.row <= SMALL;
    for (int64_t j = 0; j < p->cols; j += TILE_COLS) {
        const int64_t wide = smaller(TILE_COLS, p->cols - j);
        const bool packed = !as_it_lies || wide < TILE_COLS;
        operands o = {
            .b = p->b.data + j * p->b.col, .a_row = p->a.row, .a_step = p->a.col, .b_step = p->b.row};
        if (packed) {
            pack(o.b, p->b.row, p->b.col, p->depth, wide, TILE_COLS, packed_b);
            o.b = packed_b;
            o.b_step = TILE_COLS;
        }
        for (int64_t i = 0, high; i < p->rows; i += high) {
            high = tile_height(p->rows - i);
            o.a = p->a.data + i * p->a.row;
            write_tile(p, high, p->depth, &o, i, j, true);
        }
    }
}

static void multiply_block(const cpu_product *p, int64_t d0, int64_t depth, int64_t col, int64_t cols,
                           float *packed_a, float *packed_b) {
    pack(p->b.data + d0 * p->b.row + col * p->b.col, p->b.row, p->b.col, depth, cols, TILE_COLS, packed_b);
    for (int64_t row = 0; row < p->rows; row += ROW_BLOCK) {
        const int64_t rows = smaller(ROW_BLOCK, p->rows - row);
        pack(p->a.data + row * p->a.row + d0 * p->a.col, p->a.col, p->a.row, depth, rows, TILE_ROWS,
             packed_a);
        for (int64_t j = 0; j < cols; j += TILE_COLS)
            for (int64_t i = 0; i < rows; i += TILE_ROWS)
                write_tile(p, smaller(TILE_ROWS, rows - i), depth,
                           &(operands){packed_a + i * depth, packed_b + j * depth, 1, TILE_ROWS, TILE_COLS},
                           row + i, col + j, d0 == 0);
    }
}

void ISA(matmul)(const cpu_product *p, float *scratch) {
    if (is_small(p)) {
        multiply_small(p, scratch);
        return;
    }
    float *packed_a = scratch, *packed_b = scratch + ROW_BLOCK * DEPTH_BLOCK;
    for (int64_t col = 0; col < p->cols; col += COL_BLOCK)
        for (int64_t d = 0; d < p->depth; d += DEPTH_BLOCK)
            multiply_block(p, d, smaller(DEPTH_BLOCK, p->depth - d), col, smaller(COL_BLOCK, p->cols - col),
                           packed_a, packed_b);
}
