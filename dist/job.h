/*
 * Who am I in which job? Every launcher answers that in environment variables of its own; a td_job is the
 * answer, read once. Central object: td_job, opened at the start of a rank, asked, handed to td_group_open,
 * and closed after its groups. A process that no launcher started is a world of one. A job does not change
 * after opening, so any thread may ask; open and close belong to one thread.
 *
 * The nearest launcher wins: `tandem run` if its mark holds; else RANK, as torchrun sets it (Slurm's and
 * PMI's variables, which an outer allocation leaves around, are then ignored; Open MPI's must agree);
 * else Open MPI, PMI, Slurm.
 */
#ifndef TANDEM_DIST_JOB_H
#define TANDEM_DIST_JOB_H

#include "base/status.h"

TD_BEGIN_DECLS

typedef enum td_launcher {
    TD_LAUNCHER_NONE,     /* a world of one */
    TD_LAUNCHER_TANDEM,   /* tandem run */
    TD_LAUNCHER_TORCHRUN, /* torchrun, or its variables set by hand */
    TD_LAUNCHER_OPENMPI,
    TD_LAUNCHER_PMI, /* MPICH's family */
    TD_LAUNCHER_SLURM,
    TD_LAUNCHER_THREADS, /* td_job_open_threads */
    TD_LAUNCHER_COUNT
} td_launcher;

/* What a rank is busy with, in words that the launcher's messages use. */
typedef enum td_phase {
    TD_PHASE_NONE, /* it has said nothing yet */
    TD_PHASE_JOINING,
    TD_PHASE_LOADING, /* data, weights */
    TD_PHASE_TRAINING,
    TD_PHASE_TESTING,
    TD_PHASE_SAVING,
    TD_PHASE_LEAVING,
    TD_PHASE_COUNT
} td_phase;

/* Read the environment. *Yours*. TD_ERR_ARG when it contradicts itself, with both values. */
TD_API td_status td_job_open(td_job **job);

/* The same with another environment: `lookup` gives a variable's value or NULL, *lent* until its next call.
 */
typedef const char *td_env_lookup(const char *name, void *cookie);
TD_API td_status td_job_open_with(td_env_lookup *lookup, void *cookie, td_job **job);

/* `world_size` ranks as threads of this process, for tests and embedding: jobs[r] is rank r's, *yours*, to be
 * used by one thread and closed by itself. On failure no job is open. */
TD_API td_status td_job_open_threads(int world_size, td_job *jobs[]);

/* Release; its groups must be closed before. Leaves NULL; NULL inside is fine. */
TD_API void td_job_close(td_job **job);

TD_API int td_job_rank(const td_job *job);
TD_API int td_job_world_size(const td_job *job);
TD_API int td_job_local_rank(const td_job *job); /* among the ranks of this machine */
TD_API int td_job_local_world_size(const td_job *job);
TD_API int td_job_node(const td_job *job); /* which machine, from 0 */
TD_API int td_job_node_count(const td_job *job);
TD_API td_launcher td_job_launcher(const td_job *job);

/* Text that no other running job of this user on this machine has; "" in a world of one. *Lent*. */
TD_API const char *td_job_id(const td_job *job);

/* Seconds after which a wait for another rank fails: `tandem run --stall-timeout`, else 600. */
TD_API double td_job_stall_timeout(const td_job *job);

/* Columns of the terminal behind `tandem run`, 0 when there is none (or no such launcher). The first call may
 * wait 0.2 s for the launcher's answer; later ones only look whether the window has changed. One thread. */
TD_API int td_job_terminal_columns(td_job *job);

/*
 * Tell the launcher that this rank gets on: what it is doing, and the step that it is in, from 1 (0: before the
 * first). Costs a few stores, so call it at every step. `tandem run` ends a job of which no rank gets on for
 * --stall-timeout, and does not restart one that fails twice at the same step. Finished collectives count by
 * themselves. Any thread; does nothing under other launchers.
 */
TD_API void td_job_progress(td_job *job, td_phase phase, int64_t step);

/* Tell the launcher that TD_PROGRESS_SIGNAL (dist/progress.h) makes this process write its stack to standard
 * error; the caller has installed that. */
TD_API void td_job_offers_stacks(td_job *job);

/* "tandem run", "torchrun", "Open MPI", ...; static. */
TD_API const char *td_launcher_name(td_launcher launcher);

TD_END_DECLS

#endif
