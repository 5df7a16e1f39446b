/*
 * `tandem train --json`: one object per line on standard output, keys as the front page documents them. Each
 * function prints one event, at once; only the rank that speaks calls them. Numbers have nine significant
 * digits, which is all of a float; what is no finite number is null.
 */
#ifndef TANDEM_WORKER_EVENTS_H
#define TANDEM_WORKER_EVENTS_H

#include "model/checkpoint/checkpoint.h"
#include "worker/display.h"
#include "worker/options.h"

typedef struct worker_setting {
    int64_t parameters, train_samples, test_samples;
    int world_size, threads;
    const char *backend, *device, *launcher;
    const char *resumed_from; /* a checkpoint's path; NULL */
    int64_t resumed_step;
    const char *sync, *sync_refusal; /* "": there is nothing to say */
} worker_setting;

typedef struct worker_step {
    int64_t epoch, step; /* from 0, from 1 */
    double loss;         /* mean over all samples of all ranks in the step */
    int64_t samples;     /* of all ranks in the step */
    double accuracy;     /* of the epoch's training samples so far */
    double samples_per_second;
} worker_step;

typedef struct worker_ending {
    int64_t steps;
    double seconds, samples_per_second;
    const int64_t *peak_memory; /* bytes, one a rank */
    int world_size;
} worker_ending;

void worker_event_start(const worker_options *options, const worker_setting *setting);
void worker_event_step(const worker_step *step);
void worker_event_eval(int64_t epoch, int64_t step, const worker_score *score);
void worker_event_checkpoint(const td_checkpoint_saved *saved);
/* `command` goes on. */
void worker_event_stopped(int64_t step, const char *signal, const char *path, const char *command);
void worker_event_end(const worker_ending *ending);

#endif
