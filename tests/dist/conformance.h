/*
 * One suite for every backend: collectives x dtypes x reductions x sizes x where data lies, against the model.
 * Works on any open group, in threads, in processes and under mpirun; every rank calls it.
 */
#ifndef TANDEM_TESTS_DIST_CONFORMANCE_H
#define TANDEM_TESTS_DIST_CONFORMANCE_H

#include "dist/group.h"

typedef struct conformance_options {
    bool full;        /* every pair of size and place, not only some of each */
    bool exact;       /* results are those of combining in rank order, bit for bit */
    bool ten_million; /* also one all-reduce of 10 M elements */
    bool brief;       /* only sums of f32 */
    int kind;         /* only this kind of call; -1: all */
} conformance_options;

/* True when all is right; else `failure` says what is not. `cases` counts them. */
bool conforms(td_group *group, const conformance_options *options, char failure[512], long *cases);

#endif
