/*
 * Tensors for tests of kernels: any layout, made without a scope, in memory whose other bytes (guards around
 * it and gaps between elements) must stay as they are. Central object: guarded; make, use its tensor, check,
 * free.
 */
#ifndef TANDEM_TESTS_GUARDED_H
#define TANDEM_TESTS_GUARDED_H

#include "model/tensor/internal.h"

typedef struct guarded {
    td_tensor tensor;
    td_storage storage;
    unsigned char *block;
    size_t bytes;
} guarded;

/* Layouts: "row" (row-major), "last" (channels_last), "flip" (column-major), "gap" (row-major, every second
 * element), "padded" (row-major, rows longer than they look), "lastpad" (channels_last, pixels longer than
 * they look), "same" (stride 0 along the first dimension). Elements hold random numbers: floats in [-1, 1),
 * integers in [-8, 8), unsigned in [0, 8), bool. */
void guarded_make(guarded *g, td_dtype dtype, int ndim, const int64_t *sizes, const char *layout);
/* Fails the test when a byte outside the elements was written. */
void guarded_check(const guarded *g, const char *what);
void guarded_free(guarded *g);

/* Element number i in row-major order, as a double. */
double guarded_at(const guarded *g, int64_t i);
void guarded_set(guarded *g, int64_t i, double value);

/* The largest |a - b| / (floor + |b|) over all elements; infinite where only one is NaN. */
double guarded_difference(const guarded *a, const guarded *b, double floor);
/* Are all elements the same bits? */
bool guarded_same(const guarded *a, const guarded *b);

/* A small generator of its own: the next number below `below`. */
uint32_t guarded_random(uint32_t below);

#endif
