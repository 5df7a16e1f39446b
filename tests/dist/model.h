/* A plain single-process model of the collectives: what a rank gives, and what another must then have. */
#ifndef TANDEM_TESTS_DIST_MODEL_H
#define TANDEM_TESTS_DIST_MODEL_H

#include "dist/call.h"

/* Element i of what rank `rank` gives to a call. With `rounding` sums of floats depend on the order of ranks;
 * without, every partial result is exact. */
void model_give(const td_call *call, bool rounding, int rank, size_t i, void *element);

/* Element i of what rank `rank` must have in its output. `counts_of(s)` are the counts that rank s gave to an
 * uneven all_to_all. */
typedef size_t model_counts(int from, int to);
void model_expect(const td_call *call, bool rounding, int size, int rank, size_t i, model_counts *counts,
                  void *element);

#endif
