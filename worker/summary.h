/* What a run says to people before, between and after its steps. Only the rank with a display says anything.
 */
#ifndef TANDEM_WORKER_SUMMARY_H
#define TANDEM_WORKER_SUMMARY_H

#include "worker/run.h"

/* After the first step: ranks, backend, cores, how long the start took; and the model. */
void worker_say_start(const worker_run *run);
/* After a test. */
void worker_say_score(const worker_run *run, const worker_score *score);
/* At the end: time, pace, memory (bytes, one a rank), what to try next. */
void worker_say_end(const worker_run *run, double seconds, const int64_t *peak_memory);
/* In place of the end: asked to stop, saved at `path`, to go on by `command`. */
void worker_say_stopped(const worker_run *run, const char *path, const char *command);
/* Three commands to paste. */
void worker_say_next(const worker_run *run);

#endif
