/*
 * The guardian: a small process between the launcher and its ranks, so that nothing of a job outlives the
 * launcher, however that ends. It is the ranks' parent and the adoptive parent of whatever they leave behind
 * (a child subreaper). It reports over a socket and takes orders from it; the end of that socket, which also
 * comes when the launcher is killed -9, makes it kill every descendant it has. When the guardian alone is
 * killed, the ranks die with it and the launcher does the rest. Where the job has a control group of its own, that
 * is killed as a whole first (cgroup.h). The one limit: when both are killed at once, the ranks die too, but a
 * daemon that one of them made stays, until the next job clears up that group if there is one.
 */
#ifndef TANDEM_LAUNCHER_GUARDIAN_H
#define TANDEM_LAUNCHER_GUARDIAN_H

#include "launcher/cgroup.h"
#include "launcher/spawn.h"

/* What the guardian reports; one packet each, in the order in which things happened. */
typedef enum guardian_event_kind {
    GUARDIAN_STARTED,   /* rank, pid */
    GUARDIAN_UNSTARTED, /* rank, stage, value = errno: it never became its program */
    GUARDIAN_RUNNING,   /* every rank that could has become its program */
    GUARDIAN_EXITED,    /* rank, pid, value = wait status */
    GUARDIAN_REMAINS,   /* all ranks are gone; value = how many processes they left behind */
} guardian_event_kind;

typedef struct guardian_event {
    int kind;
    int rank;
    int pid;
    int value;
    int stage;
    int told;      /* it had been told to stop before */
    int64_t at_ns; /* td_clock_ns when the guardian saw it */
} guardian_event;

/* What the launcher orders. */
typedef enum guardian_order_kind {
    /* `signal` to every rank's process group and to whatever they left behind. SIGKILL is repeated until no
     * descendant is left; any other is followed by SIGCONT, so that a stopped rank gets it. */
    GUARDIAN_STOP,
    GUARDIAN_FORWARD,   /* the same without all that: the job goes on */
    GUARDIAN_TELL_RANK, /* `signal` to the process of `rank` alone */
    GUARDIAN_SPARE,     /* end without touching what ranks left behind */
} guardian_order_kind;

typedef struct guardian_order {
    int kind;
    int signal;
    int rank;
} guardian_order;

/* What is removed at the end; *lent* to it for ever, which is until it is forked. */
typedef struct launcher_guardian_folders {
    const char *errors; /* see errors.h */
    const char *mpi;    /* see mpi.h */
    const launcher_cgroup *group;
} launcher_guardian_folders;

/*
 * Fork the guardian and have it start `n` ranks. The caller has one thread. *socket is the launcher's end
 * (non-blocking, close-on-exec, *yours*): read guardian_event packets, write guardian_order packets; when all
 * has left, close it and the guardian ends. Its end of file while the launcher still has it open means that
 * the guardian is gone. The last thing it does is to remove the folders, whoever else lives.
 */
td_status launcher_guardian_start(const launcher_spawn *ranks, int n, launcher_guardian_folders folders,
                                  pid_t *guardian, int *socket);

/* Kill all children and those they leave to us, until there are none. For a launcher whose guardian is gone;
 * the launcher has made itself a subreaper too. */
void launcher_kill_descendants(void);

#endif
