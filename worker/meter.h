/*
 * What a run measures about itself while it trains. Each rank counts its own samples; a step's loss and the
 * running accuracy of the whole job come from one small all-reduce, a meeting, which is held only after steps
 * that somebody wants to see: every --log-interval steps, and as often as the display needs to stay lively.
 * Rank 0 decides the latter by its clock and tells the others in the meeting before, so that all ranks hold
 * the same meetings. One meter per rank, a plain struct that begins as zeros; the training thread's.
 */
#ifndef TANDEM_WORKER_METER_H
#define TANDEM_WORKER_METER_H

#include "base/status.h"

typedef struct worker_meter {
    double loss_sum;      /* over this rank's samples of the last step */
    double *group_losses; /* or of each sample group, 0 where another rank's; NULL without groups */
    int64_t groups;
    int64_t samples;       /* of this rank in the last step */
    int64_t correct, seen; /* of this rank's training samples, in the epoch so far */

    /* Pace is measured from the end of the first step, which compiles kernels. */
    int64_t begun_ns, first_ns; /* when training began, when its first step ended; 0: not yet */
    int64_t aside_ns;           /* spent on other things than training since */
    int64_t trained, steps;     /* samples of this rank, and steps, since */

    int64_t next_meeting; /* the step after which the ranks meet for the display */
} worker_meter;

/* Of the whole job. */
typedef struct worker_totals {
    double loss; /* mean over the last step's samples */
    int64_t samples;
    double accuracy; /* of the epoch so far */
    double samples_per_second, seconds_per_step;
} worker_totals;

void worker_meter_begin(worker_meter *meter); /* right before the first step */
void worker_meter_begin_epoch(worker_meter *meter);
void worker_meter_add(worker_meter *meter, double loss_sum, int64_t samples, int64_t correct);
/* Time between these two is not training. */
void worker_meter_pause(worker_meter *meter);
void worker_meter_resume(worker_meter *meter);

/* Seconds that the first step took, whole: from worker_meter_begin. */
double worker_meter_first_step(const worker_meter *meter);

/* Hold a meeting after `step`. `beat`: seconds between meetings that rank 0's display wants. */
td_status worker_meter_meet(worker_meter *meter, td_group *group, int64_t step, double beat,
                            worker_totals *totals);

/* The sum over all sample groups, whose numbers are at `own` [all groups] on the ranks that computed them and 0 on the
 * others. The same bits for any number of ranks. */
td_status worker_sum_groups(td_group *group, const double *own, int64_t groups, double *sum);

#endif
