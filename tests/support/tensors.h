/* Tensors as plain doubles, row by row, for tests that compare, make and perturb elements of any dtype and
 * strides. Every number of f32, f64 and the small integers is a double exactly; i64 up to 2^53. */
#ifndef TANDEM_TESTS_TENSORS_H
#define TANDEM_TESTS_TENSORS_H

#include "model/tensor/scope.h"
#include "model/tensor/tensor.h"

/* Element `i` of an array of that dtype. */
double number_at(const void *data, td_dtype dtype, int64_t i);
void number_put(void *data, td_dtype dtype, int64_t i, double value);

/* A new contiguous tensor in the current scope with these elements; fails the running test if there is none.
 */
td_tensor *tensor_of(const double *numbers, td_dtype dtype, td_ints sizes);
/* All elements; free() them. */
double *tensor_numbers(const td_tensor *x);

/* Where the i-th element in row-major order lies, counted from the first one: what strides make of it. */
int64_t tensor_place(const td_tensor *x, int64_t i);
/* Read and write one element in place, as nobody but a test should. */
double tensor_get(const td_tensor *x, int64_t i);
void tensor_set(td_tensor *x, int64_t i, double value);

/* Fail the running test at the first element where |got - want| > absolute + relative * |want|. NaN agrees
 * with NaN. The message begins with `what`. */
void numbers_agree(const double *got, const double *want, int64_t count, double relative, double absolute,
                   const char *what);

/* Close a context whose scopes are closed. Fails the running test if tensors or a piece of tape are still
 * alive in it, as a cycle of references would leave them. (oneDNN keeps weights in f32 whose order it
 * changed.) */
void close_context_empty(td_context **context);

#endif
