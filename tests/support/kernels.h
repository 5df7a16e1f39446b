/*
 * Running one row's kernels on their own: the plain one as the yardstick, our own for every instruction set
 * of this processor and for one and two threads.
 */
#ifndef TANDEM_TESTS_KERNELS_H
#define TANDEM_TESTS_KERNELS_H

#include "model/cpu/internal.h"
#include "support/guarded.h"

/* A context with its kernels, and back. */
td_context *kernels_open(void);
void kernels_close(td_context *context);

td_kernel *kernels_find(const td_kernel_row *family, td_op op);

/* How near results must be. */
typedef enum nearness {
    NEAR_SAME_BITS, /* on every instruction set and for any number of threads */
    NEAR_ROUNDED,   /* within `tolerance` of the plain kernel; same bits for any number of threads */
    NEAR_SUMMED     /* within `tolerance` of the plain kernel */
} nearness;

typedef struct kernels_case {
    td_op op;
    const td_kernel_row *plain, *native;
    const void *args;
    guarded *out[2]; /* filled by the plain kernel; copies take the native results */
    int outs;
    nearness near;
    double tolerance;
    bool declined; /* the native kernel must answer TD_PENDING */
    bool draws;    /* both must leave the generator in the same state */
} kernels_case;

/* Run and compare everything; fails the test, naming `what`. */
void kernels_compare(td_context *context, const kernels_case *c, const char *what);

#endif
