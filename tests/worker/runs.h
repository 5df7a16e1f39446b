/* Runs of `tandem train --json`, parsed, and small data sets for them. */
#ifndef TANDEM_TESTS_WORKER_RUNS_H
#define TANDEM_TESTS_WORKER_RUNS_H

#include "launcher/launch.h"
#include "support/check.h"

#include <jansson.h>

/* What came out of a run; an event that did not come is NULL, lists may be empty. */
typedef struct run {
    launch launch;
    json_t *start, *steps, *evals, *checkpoints, *stopped, *end;
} run;

/* Wait for the end and parse standard output, every line of which must be an event. */
run run_finish(launch l);
/* Run `argv` (ends with NULL) to its end; the status must be 0. */
run run_with(launch_setup setup, const char *const *argv);
void run_free(run *r);

/* `tandem train --json ARGS` to its end; the status must be 0. */
#define TRAIN(r, ...)                                                                                        \
    run r = run_with((launch_setup){0}, (const char *[]){TANDEM, "train", "--json", __VA_ARGS__, NULL})

double run_loss(const run *r, size_t index); /* of the step event number `index`, from 0 */
/* The same losses in all steps, to the last digit. */
void run_expect_same_losses(const run *a, const run *b);

/* The process of the job's rank; 0: it is gone. */
pid_t run_rank(const launch *l, int rank);

/* Folders and files. Paths are in a folder that goes at the end of the process; *lent*, valid until then. */
const char *scratch_path(const char *name);
/* A folder of four IDX files with `train` and `test` images, learnable, the same each time. */
const char *small_mnist(int train, int test);
/* The train files of the real MNIST with `test` small test images, for long runs that need no full test. */
const char *real_mnist_small_test(int test);
/* All bytes of a file, to be freed; fails the test when it is not there. */
char *file_bytes(const char *path, size_t *size);
void expect_same_files(const char *a, const char *b);

#endif
