/* How one rank's process comes into being: find the program, fork, put everything in order, exec. */
#ifndef TANDEM_LAUNCHER_SPAWN_H
#define TANDEM_LAUNCHER_SPAWN_H

#include "base/status.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { LAUNCHER_KEPT_MOST = 8 };

/* What the launcher itself was started with, and what each rank is therefore started with. */
typedef struct launcher_inherited {
    sigset_t ignored;    /* signals that were ignored (nohup, a shell's background job) stay so */
    struct rlimit files; /* RLIMIT_NOFILE before the launcher raised its own */
} launcher_inherited;

/* One rank, ready to be started. All is *lent* for the call. */
typedef struct launcher_spawn {
    const char *path;
    bool text;          /* no binary: /bin/sh may read it, if the kernel does not know it */
    const char *folder; /* to be in; NULL: where the launcher is */
    char **argv;
    char **envp;
    int standard[3];              /* what becomes its descriptors 0, 1 and 2; all above 2, or -1: as ours */
    int kept[LAUNCHER_KEPT_MOST]; /* other descriptors it inherits under their numbers; ends with -1 */
    int terminal; /* the slave end of a terminal that becomes its controlling one, above 2; 0: none */
    const cpu_set_t *mask; /* the CPUs that it may run on; NULL: as ours */
    size_t mask_bytes;
    int cgroup; /* the open folder of the control group that it is born into; 0: ours */
    const launcher_inherited *inherited;
} launcher_spawn;

/* Where starting a rank failed; the last thing tried before the program itself runs. */
typedef enum launcher_stage {
    LAUNCHER_STAGE_FORK,
    LAUNCHER_STAGE_SETUP,
    LAUNCHER_STAGE_BIND,
    LAUNCHER_STAGE_EXEC,
} launcher_stage;

/* What a child that could not become its program writes to the failure pipe, whole. */
typedef struct launcher_spawn_failure {
    int rank;
    int stage; /* a launcher_stage */
    int error; /* errno */
} launcher_spawn_failure;

/*
 * Fork a child that leads a session of its own, dies with the calling process, and execs. The caller has one
 * thread. Returns its pid, or -1 with errno when the fork failed; a failure after that arrives as a
 * launcher_spawn_failure on `failures`, the close-on-exec write end of a pipe, whose end of file
 * therefore means that every child has become its program.
 */
pid_t launcher_spawn_rank(const launcher_spawn *spawn, int rank, int failures);

/* Close every descriptor above 2 but the `n` in `keep`, which need not be sorted; -1 entries count for none.
 */
void launcher_close_all_but(const int *keep, int n);

#endif
