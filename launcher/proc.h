/* What /proc tells about another process. Plain functions. */
#ifndef TANDEM_LAUNCHER_PROC_H
#define TANDEM_LAUNCHER_PROC_H

#include <sys/types.h>

/* The process that debugs this one; 0 when none does, or nobody knows. */
pid_t launcher_proc_tracer(pid_t pid);

#endif
