/* Golden records that hold tensors: {"dtype": "f64", "shape": [2, 3], "data": [...]}. */
#ifndef TANDEM_TESTS_GOLDEN_TENSOR_H
#define TANDEM_TESTS_GOLDEN_TENSOR_H

#include "support/golden.h"
#include "support/tensors.h"

/* A list of integers, or one integer as a list of one. */
td_ints golden_ints(const json_t *value);

/* A tensor in the current scope from a record; without a dtype of its own it is f64. */
td_tensor *golden_tensor(const json_t *record);

/* Fail the running test unless `got` has the record's dtype, shape and, within the tolerance of
 * numbers_agree, its elements. */
void golden_tensor_agrees(const td_tensor *got, const json_t *record, double relative, double absolute,
                          const char *what);

#endif
