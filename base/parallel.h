/*
 * The only way to compute on several threads: one pool per process, fixed shares, so that a result never
 * depends on scheduling. Called from inside a parallel region, everything runs on the calling thread. A
 * process must not fork after its first parallel region and go on computing in the child.
 */
#ifndef TANDEM_BASE_PARALLEL_H
#define TANDEM_BASE_PARALLEL_H

#include "base/status.h"

TD_BEGIN_DECLS

/* Work on [begin, end) of the range; thread is 0 .. td_parallel_threads() - 1. */
typedef void td_parallel_body(size_t begin, size_t end, int thread, void *cookie);

/* Split [0, count) into contiguous shares of at least `grain` elements (0 counts as 1), one a thread, and
 * run them. Returns when all are done. */
TD_API void td_parallel_for(size_t count, size_t grain, td_parallel_body *body, void *cookie);

/* Threads that td_parallel_for uses from this thread; at first td_core_count(), capped by
 * OMP_NUM_THREADS. 1 inside a parallel region. */
TD_API int td_parallel_threads(void);
/* TD_ERR_ARG unless 1 <= threads <= 1024. */
TD_API td_status td_parallel_set_threads(int threads);

/* CPUs (hardware threads) that this process may use: its affinity mask, cut to the least limit of its control
 * groups; and the physical cores that they are. At least 1. */
TD_API int td_cpu_count(void);
TD_API int td_core_count(void);
/* The least CPU limit of the control groups, in CPUs (2.5); 0: there is none. */
TD_API double td_cpu_quota(void);

TD_END_DECLS

#endif
