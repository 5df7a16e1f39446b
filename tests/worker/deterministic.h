/* Trains with --deterministic world alone and on 2, 3, 4 and 8 ranks, and compares everything by its bytes. */
#ifndef TANDEM_TESTS_WORKER_DETERMINISTIC_H
#define TANDEM_TESTS_WORKER_DETERMINISTIC_H

#include "worker/runs.h"

typedef struct deterministic_run {
    const char *model, *optimizer, *option, *value; /* of the optimizer */
    const char *batch, *steps;
} deterministic_run;

void expect_same_bits(const deterministic_run *setting, const char *data);

#endif
