/* Testing: loss and accuracy over each test sample exactly once, whatever the number of ranks. */
#ifndef TANDEM_WORKER_EVALUATE_H
#define TANDEM_WORKER_EVALUATE_H

#include "worker/run.h"

/* Every rank calls it and gets the job's score. `draws`: take a DataLoader's base seed from the default
 * generator, as a script's test loop at the end of an epoch does; otherwise nothing random is touched. The
 * model is in training mode again afterwards. TD_PENDING on every rank, and no score: a rank was asked to stop. */
td_status worker_evaluate(worker_run *run, bool draws, worker_score *score);

/* How many rows of `output` (N, classes) have their largest value at the label; i64 of one element, in the
 * current scope. */
td_tensor *worker_count_correct(td_tensor *output, td_tensor *labels);

#endif
