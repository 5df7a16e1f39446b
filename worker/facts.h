/*
 * What stands beside the tensors in a checkpoint of `tandem train`: where the run was, what decides its data order,
 * and what fixes its bits. It does not depend on how ranks share work: positions count entries of the epoch's
 * permutation, which is the same for every number of ranks. Plain data; written by rank 0, read by every rank. An
 * option that changes what is computed gets a member in worker_computation.
 */
#ifndef TANDEM_WORKER_FACTS_H
#define TANDEM_WORKER_FACTS_H

#include "base/status.h"

enum { FACT_BYTES = 160 }; /* of a text, its end included */

/* Where the last step ended. */
typedef struct worker_position {
    int64_t step;          /* steps done, over the whole run */
    int64_t epoch;         /* that step's, from 0 */
    int64_t entries;       /* of the epoch's permutation that steps have had */
    bool complete;         /* the epoch's last step is done, its test is not */
    int64_t correct, seen; /* training samples of the epoch so far, of all ranks */
} worker_position;

/* What must be the same for a run to go on at all, or within an epoch. */
typedef struct worker_order {
    char model[FACT_BYTES], optimizer[FACT_BYTES];
    int64_t samples; /* in the training set */
    int64_t seed;
    bool same_order, drop_last;
} worker_order;

/* What else the bits of the next step depend on. */
typedef struct worker_computation {
    char deterministic[FACT_BYTES];
    int64_t batch_size, global_batch_size, accumulate, sample_groups; /* as in the options */
    double lr, momentum, weight_decay, eps, betas[2], max_norm;
    bool nesterov;
    int64_t world_size, threads;
    char backend[FACT_BYTES];
    char kernels[FACT_BYTES]; /* "avx2, oneDNN 2.6.3 avx2" */
} worker_computation;

typedef struct worker_facts {
    worker_position position;
    worker_order order;
    worker_computation computation;
} worker_facts;

/* As the text of a JSON object, *yours* (td_free). `arguments` (ends with NULL) of the command line are for the
 * reader's eyes. */
td_status worker_facts_write(const worker_facts *facts, char *const *arguments, char **text);

/* TD_ERR_FORMAT names what is missing; `what` begins the message. */
td_status worker_facts_read(const char *text, size_t bytes, const char *what, worker_facts *facts);

/* Can a run of `now` go on where `saved` stood? TD_ERR_ARG names the first thing that differs, both values and
 * what to do. Number of ranks and batch sizes are not looked at here. */
td_status worker_facts_check(const worker_facts *saved, const worker_facts *now, const char *what);

/* What differs in computation, as "lr 0.01 (was 0.1), 3 ranks (was 2)"; "": the same bits will come. */
void worker_facts_compare(const worker_computation *saved, const worker_computation *now, char *text,
                          size_t bytes);

#endif
