/* What a worker says when it crashes, or when the launcher asks where it is: its stack, on standard error. */
#ifndef TANDEM_WORKER_CRASH_H
#define TANDEM_WORKER_CRASH_H

#include "dist/job.h"

/* From now on a crash of this process writes the signal and the stack to standard error, and then is a crash all
 * the same. Signals that somebody handles already (a sanitizer) are left alone. Once per process, by its main
 * thread. */
void worker_crash_watch(td_job *job);

#endif
