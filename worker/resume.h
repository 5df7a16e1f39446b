/*
 * Going on from a checkpoint. Rank 0 reads it, the others receive it, so it need not lie where all can see it.
 * Central object: worker_resume, opened by all ranks together before the model is built; it is asked for weights,
 * optimizer state and position as these are built, and closed when training begins.
 */
#ifndef TANDEM_WORKER_RESUME_H
#define TANDEM_WORKER_RESUME_H

#include "model/nn/module.h"
#include "worker/facts.h"

typedef struct worker_run worker_run;
typedef struct worker_resume worker_resume;

/* Read what --resume names, if anything, and see whether this run can go on there. *resume stays NULL when the run
 * begins anew. Rank 0's failure is every rank's. Needs a context, and the data. */
td_status worker_resume_open(worker_run *run, worker_resume **resume);
void worker_resume_close(worker_resume **resume); /* leaves NULL; NULL inside is fine */

/* All of what follows takes NULL, and then does nothing. */

/* Rank 0's weights, before they are spread. */
td_status worker_resume_weights(const worker_resume *resume, worker_run *run);
/* Every rank calls it: the optimizer's state. Its options stay those of the command line. */
td_status worker_resume_optimizer(worker_resume *resume, worker_run *run);
/* The sampler's cursor there, of this run's sampler; 0. TD_ERR_ARG: these ranks cannot share what is left. */
td_status worker_resume_cursor(const worker_resume *resume, const worker_run *run, int64_t *cursor);
/* The generator's state: after everything that draws to get ready has drawn. */
td_status worker_resume_generator(const worker_resume *resume, worker_run *run);
/* Say where the run goes on, and what is different; rank 0's display. */
void worker_resume_say(const worker_resume *resume, const worker_run *run);

/* The checkpoint's folder, as rank 0 knows it, *lent*; else NULL. */
const char *worker_resume_path(const worker_resume *resume);

/* All zeros when there is none. */
worker_position worker_resume_position(const worker_resume *resume);

#endif
