/*
 * Saving while training. Central object: worker_saver, a part of every rank's run; opened before training by all
 * ranks, asked at every step's border, closed at the end. Rank 0 writes, in the background; what it writes is
 * gathered from all ranks. Without --checkpoint it does nothing. The training thread's.
 */
#ifndef TANDEM_WORKER_CHECKPOINT_H
#define TANDEM_WORKER_CHECKPOINT_H

#include "model/checkpoint/checkpoint.h"
#include "worker/facts.h"

typedef struct worker_run worker_run;

/* What each rank has of its own. */
typedef struct worker_own_state {
    uint8_t generator[TD_GENERATOR_STATE_BYTES];
    int64_t correct, seen;
} worker_own_state;

typedef struct worker_saver {
    td_checkpoint_writer *writer; /* of rank 0 */
    worker_own_state *all;        /* of rank 0: every rank's */
    int64_t due_ns;               /* the next one, where --checkpoint-every is a time */
    int64_t posted_step;          /* the last one given to the writer; -1: none yet */
    double blocked_seconds;       /* that this took */
    td_checkpoint_saved saved;    /* the last one on disk; bytes 0: none yet */
} worker_saver;

td_status worker_saver_open(worker_run *run);
void worker_saver_close(worker_run *run);

/* After a step, with its position in run->position: save if it is time to, or if a signal asks for it. *stop: this is
 * the last step, on all ranks. `last`: the run's last step is done, so save. A write that fails is a warning, and the run goes on. */
td_status worker_saver_border(worker_run *run, bool last, bool *stop);

/* Save where run->position stands, unless that is done, and wait for it: the run is about to leave. Here a failure
 * is the run's. */
td_status worker_saver_finish(worker_run *run);

/* What this run is, at run->position. */
td_status worker_facts_of(const worker_run *run, worker_facts *facts);

#endif
