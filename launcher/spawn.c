/*
 * fork and exec of one rank. Between the two the child only makes system calls: nothing allocates, nothing
 * takes a lock. Errors travel to the parent over a close-on-exec pipe, so that "no such file" is told apart
 * from a program that leaves with 127.
 */
#include "launcher/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* --- descriptors --------------------------------------------------------------------------------------- */

static bool close_span(unsigned first, unsigned last) {
    if (first > last) return true;
#ifdef SYS_close_range
    return syscall(SYS_close_range, first, last, 0u) == 0;
#else
    return false;
#endif
}

static bool is_kept(int fd, const int *keep, int n) {
    for (int i = 0; i < n; i++)
        if (keep[i] == fd) return true;
    return false;
}

/* For kernels before 5.9: only what is open, never a walk up to the limit. */
static void close_listed(const int *keep, int n) {
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        int fd = atoi(entry->d_name);
        if (fd > 2 && fd != dirfd(dir) && !is_kept(fd, keep, n)) close(fd);
    }
    closedir(dir);
}

void launcher_close_all_but(const int *keep, int n) {
    unsigned first = 3;
    for (;;) {
        /* The lowest kept descriptor from `first` on ends a span. */
        unsigned stop = UINT_MAX;
        for (int i = 0; i < n; i++)
            if (keep[i] >= 0 && (unsigned)keep[i] >= first && (unsigned)keep[i] < stop)
                stop = (unsigned)keep[i];
        if (stop > first && !close_span(first, stop == UINT_MAX ? UINT_MAX : stop - 1)) {
            close_listed(keep, n);
            return;
        }
        if (stop == UINT_MAX) return;
        first = stop + 1;
    }
}

/* --- in the child -------------------------------------------------------------------------------------- */

static void reset_signals(const launcher_inherited *inherited) {
    for (int sig = 1; sig < NSIG; sig++) {
        if (sig == SIGKILL || sig == SIGSTOP) continue;
        struct sigaction action = {.sa_handler = SIG_DFL};
        if (sigismember(&inherited->ignored, sig) == 1) action.sa_handler = SIG_IGN;
        sigaction(sig, &action, NULL); /* refused for the two that libc keeps for itself */
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* 0, or the errno of the step that failed. */
static int set_up_child(const launcher_spawn *spawn, pid_t parent, int failures) {
    setsid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return errno;
    if (spawn->terminal > 0 && ioctl(spawn->terminal, TIOCSCTTY, 0) != 0) return errno;
    if (getppid() != parent) _exit(EXIT_NOT_EXECUTABLE); /* it died before we asked to die with it */
    for (int fd = 0; fd < 3; fd++)
        if (spawn->standard[fd] >= 0 && dup2(spawn->standard[fd], fd) < 0) return errno;

    int keep[LAUNCHER_KEPT_MOST + 1];
    int n = 0;
    keep[n++] = failures;
    for (int i = 0; i < LAUNCHER_KEPT_MOST && spawn->kept[i] >= 0; i++) {
        keep[n++] = spawn->kept[i];
        if (fcntl(spawn->kept[i], F_SETFD, 0) != 0) return errno;
    }
    launcher_close_all_but(keep, n);
    if (spawn->folder && chdir(spawn->folder) != 0) return errno;
    if (setrlimit(RLIMIT_NOFILE, &spawn->inherited->files) != 0) return errno;
    reset_signals(spawn->inherited);
    return 0;
}

static _Noreturn void run_child(const launcher_spawn *spawn, pid_t parent, int rank, int failures) {
    launcher_spawn_failure failure = {rank, LAUNCHER_STAGE_SETUP, set_up_child(spawn, parent, failures)};
    if (failure.error == 0 && spawn->mask && sched_setaffinity(0, spawn->mask_bytes, spawn->mask) != 0)
        failure = (launcher_spawn_failure){rank, LAUNCHER_STAGE_BIND, errno};
    if (failure.error == 0) {
        if (spawn->text)
            execvpe(spawn->path, spawn->argv, spawn->envp); /* what the kernel refuses goes to the shell */
        else
            execve(spawn->path, spawn->argv, spawn->envp);
        failure = (launcher_spawn_failure){rank, LAUNCHER_STAGE_EXEC, errno};
    }
    ssize_t wrote = write(failures, &failure, sizeof failure);
    (void)wrote; /* a parent that is gone needs no reason */
    _exit(failure.error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* Into the group, where the kernel (5.7) and our rights allow it; to move it there afterwards would take 10 ms. What the
 * C library does about a fork in many threads is not needed: there is one. */
static pid_t fork_into(int cgroup) {
#ifdef CLONE_INTO_CGROUP
    struct clone_args how = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup};
    pid_t child = cgroup > 0 ? (pid_t)syscall(SYS_clone3, &how, sizeof how) : -1;
    if (child >= 0) return child;
#else
    (void)cgroup;
#endif
    return fork();
}

pid_t launcher_spawn_rank(const launcher_spawn *spawn, int rank, int failures) {
    pid_t parent = getpid();
    pid_t child = fork_into(spawn->cgroup);
    if (child == 0) run_child(spawn, parent, rank, failures);
    return child;
}
