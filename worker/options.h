/* What `tandem train` was asked to do. Numbers that were not given are NAN or 0 until worker_options_read
 * fills in the optimizer's own defaults. */
#ifndef TANDEM_WORKER_OPTIONS_H
#define TANDEM_WORKER_OPTIONS_H

#include "base/status.h"

#include <stdio.h>

/* Every so many steps, or, where steps is 0, seconds. */
typedef struct worker_interval {
    int64_t steps;
    double seconds;
} worker_interval;

typedef struct worker_options {
    int64_t ranks; /* for the launcher, which has already acted on it */
    const char *model, *data;
    int64_t epochs, steps; /* steps 0: all of the epochs */
    int64_t batch_size;    /* per rank; 0 when global_batch_size counts */
    int64_t global_batch_size;
    int64_t accumulate;        /* batches per optimizer step; the last step of an epoch may have fewer */
    const char *deterministic; /* "run", or "world": sample_groups of one thread each make up a step */
    int64_t sample_groups;     /* 0: not in this way */
    const char *optimizer;
    double lr, momentum, weight_decay, eps, betas[2];
    bool nesterov;
    double max_norm;    /* 0: gradients are not clipped */
    const char *sync;   /* NULL: shared where it can be */
    int64_t check_sync; /* steps between checks; 0: none */
    int64_t seed;
    bool same_order; /* --no-set-epoch */
    bool drop_last;
    int64_t eval_interval, log_interval; /* steps; 0: none in between, and the default */
    int64_t threads;                     /* 0: the machine's share */
    const char *init_from, *save;        /* files, or NULL */
    const char *checkpoint;              /* a folder, or NULL: none are saved */
    worker_interval checkpoint_every;
    int64_t keep;                 /* checkpoints */
    const char *resume;           /* "auto", a checkpoint, or NULL: begin anew */
    const char *device, *backend; /* backend NULL: the first that serves */
    double stall_timeout;         /* seconds; 0: the job's */
    double shutdown_timeout;      /* for the launcher, as are these, which mean nothing without it: */
    const char *max_restarts, *restart_backoff, *preempt_signal;
    const char *trace_dir; /* for the flight recorder, or NULL */
    bool verbose, json;
} worker_options;

/* Parse and check argv. TD_PENDING: help was asked for. TD_ERR_ARG, TD_ERR_UNSUPPORTED: what is wrong. */
td_status worker_options_read(int argc, char **argv, worker_options *options);

void worker_options_help(FILE *out);

/* Look for what would only be noticed later: data that is not there, a file that cannot be saved. */
td_status worker_options_check_files(const worker_options *options);

#endif
