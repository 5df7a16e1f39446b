/*
 * The flight recorder: what each rank last called, kept for the hour when a job hangs or dies. Central object:
 * the recorder of a td_job, which remembers the rank's last 2048 collectives in all of its groups: which, of
 * how much, under which label, in which step (td_job_progress), when posted, begun and done. It is always on and costs a few
 * nanoseconds per collective. Where the ranks of a machine share memory it lies there, so that the record of a
 * rank that was killed or stopped can still be read, by another rank or by `tandem trace --live`.
 *
 * With TANDEM_TRACE_DIR set, records are written there, one file per rank, when a group breaks and when a rank
 * reports that it waits; `tandem trace` reads them. A file appears whole or not at all, one JSON object per
 * line. Any thread may call; the job must be open meanwhile.
 */
#ifndef TANDEM_DIST_RECORDER_H
#define TANDEM_DIST_RECORDER_H

#include "base/status.h"

TD_BEGIN_DECLS

#define TD_ENV_TRACE_DIR "TANDEM_TRACE_DIR"

/* Write the records of this rank, and of all ranks of this machine that share memory with it if `all`, into
 * `folder`, which is made if need be. `reason` is a line of text. TD_ERR_STATE when the job has had no group. */
TD_API td_status td_job_dump(td_job *job, const char *folder, bool all, const char *reason);

/* Write the records of all ranks on this machine of the job that process `pid` belongs to: one of its ranks, or
 * `tandem run`. The ranks are not disturbed and need not react. *files: how many were written. TD_ERR_STATE when
 * that process shares no memory with ranks of ours. */
TD_API td_status td_trace_live(int64_t pid, const char *folder, int *files);

/* The same from the descriptor of a job's shared memory, for a launcher: only the records of ranks that have not
 * written their own when a group broke. `at_ns` is when the job failed (td_clock_ns), 0: now. *files: how many
 * records there are, those written before included. */
TD_API td_status td_trace_arena(int fd, const char *folder, const char *reason, int64_t at_ns, int *files);

TD_END_DECLS

#endif
