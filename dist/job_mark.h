/*
 * How `tandem run` tells a worker that it is a rank of its job: the mark, and the names of the environment
 * variables beside torchrun's contract. The launcher builds it, td_job_open reads it; both are here so
 * that they cannot drift apart. Plain values; any thread may call.
 *
 * TANDEM_JOB is "version:rank:world size:port". It repeats RANK, WORLD_SIZE and MASTER_PORT: where they
 * differ, a nearer launcher has set those, and the mark does not hold. The descriptors are inherited by
 * number (no close-on-exec):
 *
 *     TANDEM_ARENA_FD     the job's shared memory, one for all ranks, made by td_job_make_arena
 *     TANDEM_CONTROL_FD   this rank's end of a stream socketpair to the launcher, messages of dist/control.h
 *     TANDEM_PROGRESS_FD  the page of dist/progress.h, one for all ranks
 *
 * Each may be absent. TANDEM_STALL_TIMEOUT is `--stall-timeout` in seconds, as td_parse_seconds reads it.
 */
#ifndef TANDEM_DIST_JOB_MARK_H
#define TANDEM_DIST_JOB_MARK_H

#include "base/status.h"

TD_BEGIN_DECLS

#define TD_ENV_JOB           "TANDEM_JOB"
#define TD_ENV_ARENA_FD      "TANDEM_ARENA_FD"
#define TD_ENV_CONTROL_FD    "TANDEM_CONTROL_FD"
#define TD_ENV_PROGRESS_FD   "TANDEM_PROGRESS_FD"
#define TD_ENV_STALL_TIMEOUT "TANDEM_STALL_TIMEOUT"

#define TD_JOB_MARK_VERSION 1

typedef struct td_job_mark {
    int rank, world_size;
    int port; /* MASTER_PORT */
} td_job_mark;

typedef struct td_job_mark_text {
    char text[64];
} td_job_mark_text;

/* The value of TANDEM_JOB; returned by value: use as td_job_mark_format(m).text within the expression. */
TD_API td_job_mark_text td_job_mark_format(td_job_mark mark);

/* The reverse. TD_ERR_FORMAT when the text is none, is of another version, or its numbers are impossible. */
TD_API td_status td_job_mark_parse(const char *text, td_job_mark *mark);

/* Make a job's empty shared memory: a memfd that cannot shrink, close-on-exec. *Yours* to close; ranks
 * keep theirs. Nothing needs to be written into it. */
TD_API td_status td_job_make_arena(int *fd);

TD_END_DECLS

#endif
