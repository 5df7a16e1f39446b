/*
 * A control group of the job's own, where this process may make one (version 2 with cgroup.kill, Linux 5.14; root, or
 * a tree that systemd has delegated to the user). Ranks are born into it, so that one write kills whatever
 * they have become, a fork bomb that outruns a killer of single processes included. It sets no limits. A lock on
 * its folder, held by launcher and guardian, says that it has an owner: where both were killed, the next job beside it
 * kills what is left in it. Central object: launcher_cgroup; making it is cheap (0.15 ms), and not having one is no
 * error.
 */
#ifndef TANDEM_LAUNCHER_CGROUP_H
#define TANDEM_LAUNCHER_CGROUP_H

#include <limits.h>
#include <stdbool.h>

typedef struct launcher_cgroup {
    int folder; /* open, close-on-exec: the lock, and where ranks are born; 0: there is none */
    char path[PATH_MAX];
} launcher_cgroup;

/* Make one below our own, after clearing up what jobs without an owner have left there. */
void launcher_cgroup_make(launcher_cgroup *group, int attempt);

/* SIGKILL for all in it and below. */
void launcher_cgroup_kill(const launcher_cgroup *group);

/* Remove it, if nobody lives in it; false when somebody does. It stays open. */
bool launcher_cgroup_remove(const launcher_cgroup *group);

/* Let go of it. */
void launcher_cgroup_close(launcher_cgroup *group);

#endif
