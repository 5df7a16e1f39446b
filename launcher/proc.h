/* What /proc and /sys tell about other processes. Plain functions. */
#ifndef TANDEM_LAUNCHER_PROC_H
#define TANDEM_LAUNCHER_PROC_H

#include <stdint.h>
#include <sys/types.h>

/* The process that debugs this one; 0 when none does, or nobody knows. */
pid_t launcher_proc_tracer(pid_t pid);

/* How many processes the kernel has killed for lack of memory in our control group (versions 1 and 2), or, where
 * that is not told, on this machine; -1: unknown. `root` is put before /proc and /sys: "" outside tests. */
int64_t launcher_proc_oom_kills(const char *root);

#endif
