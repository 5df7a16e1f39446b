/*
 * The register tile all our products are made of: C[mr x 2 vectors] (+)= A[mr x depth] * B[depth x 2
 * vectors]. A is read one number at a time (broadcast), at any strides; B and C are read and written in
 * vectors. mr is a constant in each instance, so that the accumulators stay in registers.
 */
#ifndef TANDEM_MODEL_CPU_FAST_TILE_H
#define TANDEM_MODEL_CPU_FAST_TILE_H

#include "model/cpu/fast/vec.h"

#define TILE_COLS (2 * LANES)
#define TILE_ROWS (LANES == 16 ? 12 : 6) /* the most rows: 24 of 32 registers, 12 of 16 */

typedef struct tile_args {
    int64_t depth;
    const float *a;
    int64_t a_row, a_step; /* elements from one row to the next, and along the depth */
    const float *b;
    int64_t b_step;
    float *c;
    int64_t c_row;
    int accumulate; /* 0: C is overwritten */
} tile_args;

static inline __attribute__((always_inline)) void run_tile(const int mr, const tile_args *t) {
    vec acc[TILE_ROWS][2];
    for (int i = 0; i < mr; i++) {
        acc[i][0] = t->accumulate ? load(t->c + i * t->c_row) : (vec){0};
        acc[i][1] = t->accumulate ? load(t->c + i * t->c_row + LANES) : (vec){0};
    }
    const float *a = t->a, *b = t->b;
    const int64_t row = t->a_row, a_step = t->a_step, b_step = t->b_step;
    for (int64_t d = t->depth; d > 0; d--, a += a_step, b += b_step) {
        vec b0 = load(b), b1 = load(b + LANES);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            vec x = splat(a[i * row]);
            acc[i][0] = mul_add(x, b0, acc[i][0]);
            acc[i][1] = mul_add(x, b1, acc[i][1]);
        }
    }
    for (int i = 0; i < mr; i++) {
        store(t->c + i * t->c_row, acc[i][0]);
        store(t->c + i * t->c_row + LANES, acc[i][1]);
    }
}

static inline void tile(int64_t mr, const tile_args *t) {
    switch (mr) {
    case 1: run_tile(1, t); break;
    case 2: run_tile(2, t); break;
    case 3: run_tile(3, t); break;
    case 4: run_tile(4, t); break;
    case 5: run_tile(5, t); break;
    case 6: run_tile(6, t); break;
#if LANES == 16
    case 7: run_tile(7, t); break;
    case 8: run_tile(8, t); break;
    case 9: run_tile(9, t); break;
    case 10: run_tile(10, t); break;
    case 11: run_tile(11, t); break;
    case 12: run_tile(12, t); break;
#endif
    default: break;
    }
}

/* `rows` cut into tiles of nearly equal height: how high the next one is, when `left` rows remain. */
static inline int64_t tile_height(int64_t left) {
    int64_t tiles = (left + TILE_ROWS - 1) / TILE_ROWS;
    return (left + tiles - 1) / tiles;
}

#endif
