/*
 * Size arithmetic that notices overflow. Each function is true when the result fits, and then stores it.
 * Plain functions on numbers; any thread may call.
 */
#ifndef TANDEM_BASE_CHECKED_H
#define TANDEM_BASE_CHECKED_H

#include "base/types.h"

static inline bool td_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool td_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool td_mul_i64(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool td_add_i64(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* The multiple of `step` (a power of two) at or above `n`; false where none fits. */
static inline bool td_round_up_size(size_t n, size_t step, size_t *out) {
    if (!td_add_size(n, step - 1, out)) return false;
    *out &= ~(step - 1);
    return true;
}

#endif
