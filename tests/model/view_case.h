/*
 * The cases of tests/golden/views.json in C. Each is a function that reads like the formula of the same name
 * there: its one-letter names are the variables below, its inputs are set before it is called, what it
 * computes stays in the variables of the same names, and it returns the loss. view_cases.c has those that
 * succeed, view_errors.c those that must fail; test_views.c runs them.
 */
#ifndef TANDEM_TESTS_VIEW_CASE_H
#define TANDEM_TESTS_VIEW_CASE_H

#include "model/autograd/autograd.h"
#include "model/ops/ops.h"

extern td_tensor *a, *b, *c, *d, *e, *p, *q, *r, *s, *u, *v, *w, *x, *y, *z;

typedef struct view_case {
    const char *name;
    td_tensor *(*loss)(void);
} view_case;

extern const view_case view_cases[], view_errors[]; /* both end with an empty row */

/* Fails the running test if something has failed already: stands before the statement that must fail. */
void so_far_so_good(void);

/* t * number */
static inline td_tensor *scaled(td_tensor *t, double number) { return td_mul_scalar(t, td_num(number)); }
/* t[start:end] */
static inline td_tensor *part(td_tensor *t, int64_t start, int64_t end) { return td_slice(t, 0, start, end); }
/* t[:, start:end] */
static inline td_tensor *columns(td_tensor *t, int64_t start, int64_t end) {
    return td_slice(t, 1, start, end);
}
/* t[index] */
static inline td_tensor *row(td_tensor *t, int64_t index) { return td_select(t, 0, index); }
/* (t * weights).sum() */
static inline td_tensor *dot(td_tensor *t, td_tensor *weights) { return td_sum(td_mul(t, weights)); }
/* (t * t * weights).sum() */
static inline td_tensor *dot2(td_tensor *t, td_tensor *weights) { return dot(td_mul(t, t), weights); }

#endif
