/* What the files of the job's state machine share: job.c draws it and holds its orders, job_ranks.c takes what the
 * guardian tells, job_time.c the clocks, job_signals.c the user's signals. Nobody else includes this. */
#ifndef TANDEM_LAUNCHER_JOB_STATE_H
#define TANDEM_LAUNCHER_JOB_STATE_H

#include "launcher/attempt.h"
#include "launcher/clocks.h"
#include "launcher/restart.h"
#include "launcher/signals.h"
#include "launcher/stacks.h"

#include <jansson.h>

/* In the order in which they can follow one another, but for a restart. */
typedef enum job_state {
    JOB_STARTING,
    JOB_SPAWNING,
    JOB_RUNNING,
    JOB_EXAMINING,
    JOB_STOPPING,
    JOB_REAPED,
    JOB_RESTING,
    JOB_OVER,
} job_state;

typedef struct launcher_job {
    const launcher_options *options;
    launcher_constants constants;
    job_state state;
    launcher_attempt attempt; /* the current one, or while resting the last */
    launcher_history history;
    json_t *earlier; /* summaries of the attempts before */
    int signal;      /* the user's first that asked to stop; 0 */
    bool output_lost;

    uv_loop_t loop;
    uv_timer_t deadline;
    uv_timer_cb then;     /* at the deadline */
    uint64_t patience_ms; /* from when it was set */
    uv_timer_t tick;
    launcher_clocks clocks;
    launcher_stacks *stacks; /* of ranks that are stuck; NULL */
    launcher_signals signals;
    bool loop_made;
} launcher_job;

/* --- orders: job.c --- */

/* One deadline at a time; a suspended job waits for it anew. */
void launcher_job_set_deadline(launcher_job *j, uv_timer_cb then, uint64_t ms);
uint64_t launcher_job_ms(double seconds);
/* Send `signal` to all, without a change of state. */
void launcher_job_order(launcher_job *j, int signal);
/* Tell the ranks to stop, with the grace of --shutdown-timeout; the first reason is the one that counts. */
void launcher_job_stop(launcher_job *j, launcher_stop reason, int signal);
/* The same with another grace and without a reason. */
void launcher_job_stop_within(launcher_job *j, int signal, uint64_t grace_ms);
void launcher_job_kill(launcher_job *j);
/* Something of our own is wrong. */
void launcher_job_fail(launcher_job *j, const char *trouble);
/* Nothing of the attempt lives any more. */
void launcher_job_reap(launcher_job *j);
/* Resting: there will be no other attempt. */
void launcher_job_end_rest(launcher_job *j);

/* --- what happens --- */

void launcher_job_hear(launcher_attempt *attempt,
                       void *cookie);             /* the guardian; cookie is the job, as below */
void launcher_job_mpi_failed(void *cookie);       /* a rank's mpi_fault is set */
void launcher_job_silent(int rank, void *cookie); /* another rank has waited --stall-timeout for this one */
void launcher_job_start_clocks(launcher_job *j);
td_status launcher_job_watch_signals(launcher_job *j);

#endif
