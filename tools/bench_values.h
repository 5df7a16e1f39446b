/* What the benches of collectives put into their buffers, in any dtype: small whole numbers that repeat after
 * PERIOD elements, so that sums are exact and a buffer is compared with itself. */
#ifndef TANDEM_TOOLS_BENCH_VALUES_H
#define TANDEM_TOOLS_BENCH_VALUES_H

#include "dist/call.h"

/* What an element should be: the values of ranks `first` to `last` at place `at`, combined by `op` (sum, avg, of
 * integers max), and that result of all ranks combined `again` times more (f32 and f64, or an `op` which that
 * does not change). */
typedef struct bench_expected {
    int first, last;
    size_t at;
    td_reduce op;
    int again;
} bench_expected;

/* data[i] becomes the value of `rank` at place i. */
void bench_fill(void *data, td_dtype dtype, size_t count, int rank);

/* No element of it is a value of any rank. */
void bench_spoil(void *data, td_dtype dtype, size_t count);

/* Is data[i] what is expected at place expected.at + i, for all i? The number of elements that are not. */
size_t bench_count_wrong(const void *data, td_dtype dtype, size_t count, bench_expected expected);

#endif
