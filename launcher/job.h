/* What the launcher knows about its job: the options, the ranks and how each ended. */
#ifndef TANDEM_LAUNCHER_JOB_H
#define TANDEM_LAUNCHER_JOB_H

#include "dist/control.h"
#include "dist/job.h"
#include "launcher/options.h"
#include "launcher/spawn.h"
#include "launcher/tail.h"

#include <sys/types.h>

/* Exit statuses that are the launcher's own; 126, 127 and 128+signal are a shell's. */
enum {
    LAUNCHER_EXIT_LEFT_EARLY = 1, /* the culprit left with 0 while others needed it */
    LAUNCHER_EXIT_STALLED = 124,  /* or --timeout was over */
    LAUNCHER_EXIT_OWN = 125,      /* wrong usage, or the launcher's own failure */
    LAUNCHER_EXIT_NOT_EXECUTABLE = 126,
    LAUNCHER_EXIT_NOT_FOUND = 127,
};

typedef enum launcher_life {
    LAUNCHER_WAITING, /* not started yet */
    LAUNCHER_ALIVE,
    LAUNCHER_UNSTARTED, /* fork or exec failed; `error` and `stage` say why */
    LAUNCHER_ENDED,     /* `wait_status` is how */
} launcher_life;

/* What MPI's rules make a failure of. */
typedef enum launcher_mpi_fault {
    LAUNCHER_MPI_NO_FAULT,
    LAUNCHER_MPI_ABORTED,    /* called MPI_Abort(mpi_code) */
    LAUNCHER_MPI_UNFINISHED, /* left with 0 between MPI_Init and MPI_Finalize */
    LAUNCHER_MPI_MISSED,     /* left with 0 while another waited for it in one of these */
} launcher_mpi_fault;

typedef struct launcher_rank {
    launcher_life life;
    pid_t pid;
    int64_t started_ns, ended_ns; /* by the guardian's clock */
    int wait_status;
    int error, stage;                      /* errno and launcher_stage, of an unstarted one */
    bool told_to_stop;                     /* ended after the others had been told to stop */
    int lost;                              /* the rank that it reported as lost; -1 */
    bool lost_to_silence;                  /* that one was alive, but never came */
    char lost_in[TD_CONTROL_TEXT_MAX + 1]; /* in this call */
    int64_t step;                          /* that it was in, where a program of ours told it; -1 */
    td_phase phase;                        /* likewise */
    char *exception, *traceback;           /* that it wrote about itself; NULL: nothing */
    bool out_of_memory;                    /* killed just when the kernel needed memory */
    uint64_t progress_sum;                 /* of all kinds, when it was last looked at */
    int64_t moved_ns;                      /* when that last grew */
    launcher_mpi_fault mpi_fault;
    int mpi_code;
    launcher_tail errors; /* the end of its standard error */
} launcher_rank;

/* Why the ranks were stopped before they left by themselves. */
typedef enum launcher_stop {
    LAUNCHER_STOP_NONE,
    LAUNCHER_STOP_FAILURE, /* a rank failed */
    LAUNCHER_STOP_STALL,   /* no rank got on for --stall-timeout: `stuck` */
    LAUNCHER_STOP_TIMEOUT, /* --timeout is over */
    LAUNCHER_STOP_SIGNAL,  /* the user's signal */
    LAUNCHER_STOP_OUTPUT,  /* our standard output was closed by its reader */
    LAUNCHER_STOP_OWN,     /* something of our own failed: `trouble` */
} launcher_stop;

typedef struct launcher_ending {
    launcher_stop stop; /* the first reason */
    int stuck;          /* of LAUNCHER_STOP_STALL: the rank that the others most likely wait for; -1 */
    double idle;        /* likewise: seconds without progress */
    int signal;         /* the user's first, whenever it came; 0 */
    bool preempted;     /* --preempt-signal has come: they were left to leave by themselves */
    bool killed;        /* not all did in time, and SIGKILL was sent */
    int left_behind;    /* processes that ranks left and we stopped */
    int spared;         /* or did not, because of --leave-daemons */
    char trouble[512];  /* of LAUNCHER_STOP_OWN */
} launcher_ending;

#endif
