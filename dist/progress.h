/*
 * A page of memory in which each rank of a job on one machine says how far it is, and in which `tandem run` says
 * whether clocks stand still (somebody holds the job: Ctrl-Z, a debugger, Ctrl-S). Saying something is a plain
 * store, so it may be done at every step. Central object: td_progress; the launcher makes one per attempt and
 * ranks inherit its descriptor as TANDEM_PROGRESS_FD. Any thread may call; each seat is written by its rank only.
 */
#ifndef TANDEM_DIST_PROGRESS_H
#define TANDEM_DIST_PROGRESS_H

#include "dist/job.h"

#include <signal.h>

TD_BEGIN_DECLS

typedef struct td_progress td_progress;

/* A rank's seat, as one look at it shows. All zeros: a program that is not ours, or one that has just begun. */
typedef struct td_progress_look {
    uint64_t beats; /* moves whenever the rank gets on */
    td_phase phase;
    int64_t step;    /* the one it is in, from 1; 0: before the first */
    int awaits;      /* the rank it has been waiting for; -1 */
    bool has_stacks; /* on TD_PROGRESS_SIGNAL it writes its stack to standard error */
} td_progress_look;

/* Only to ranks that say has_stacks; others would die of it. */
#define TD_PROGRESS_SIGNAL (SIGRTMIN + 5)

/* The launcher's side: for `ranks` ranks. *Yours*. */
TD_API td_status td_progress_make(int ranks, td_progress **progress);
/* Of the following NULL is fine. */
/* To be inherited; close-on-exec, *lent*; -1 without one. */
TD_API int td_progress_fd(const td_progress *progress);
TD_API td_progress_look td_progress_see(const td_progress *progress, int rank);
/* Clocks stand still from now on, or run again. */
TD_API void td_progress_hold(td_progress *progress, bool held);

/* A rank's side: map what was inherited, *lent* for the call. TD_ERR_FORMAT when it has no seat for `rank`. */
td_status td_progress_map(int fd, int rank, td_progress **progress);
/* NULL is fine for all of these too. */
void td_progress_say(td_progress *progress, td_phase phase, int64_t step);
void td_progress_beat(td_progress *progress);
void td_progress_await(td_progress *progress, int rank); /* -1: nobody any more */
void td_progress_say_stacks(td_progress *progress);
/* Moves with every hold, and is odd while one lasts: a deadline whose beginning saw another value, or that sees
 * an odd one, is void. */
uint64_t td_progress_holds(const td_progress *progress);

/* Leaves NULL; NULL inside is fine. */
TD_API void td_progress_close(td_progress **progress);

TD_API const char *td_phase_name(td_phase phase); /* "training"; static */

TD_END_DECLS

#endif
