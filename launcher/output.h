/*
 * The ranks' output on its way to ours: two pipes per rank, forwarded by whole lines. A line is never torn by
 * another rank's, and the order within each stream is kept; bytes are not changed. A reader that is slow
 * slows the ranks. One object per job, *yours* from open to close; the loop's thread only.
 *
 * On a terminal rank 0's unfinished lines (a progress bar, a question) are shown at once, and lines of others
 * are put above them. A line longer than 16 MiB is forwarded in pieces.
 */
#ifndef TANDEM_LAUNCHER_OUTPUT_H
#define TANDEM_LAUNCHER_OUTPUT_H

#include "base/status.h"
#include "launcher/tail.h"

#include <uv.h>

typedef struct launcher_output launcher_output;

typedef struct launcher_output_events {
    /* Writing to our standard output (1) or error (2) failed with this errno; what comes from now on is
     * dropped. */
    void (*failed)(int fd, int error, void *cookie);
    /* Every pipe has ended and every byte is written. Once, after launcher_output_finish. */
    void (*finished)(void *cookie);
    void *cookie;
} launcher_output_events;

/* Make the pipes of `n` ranks. `tails` are n ends of standard error, filled on the way, *lent* until close.
 */
td_status launcher_output_open(int n, bool prefix, launcher_tail *const *tails, launcher_output **output);

/* The end that becomes descriptor 1 or 2 of `rank`; close-on-exec, *lent*. */
int launcher_output_end(const launcher_output *output, int rank, int fd);

/* The ranks have been started: close their ends here and begin to forward. */
td_status launcher_output_start(launcher_output *output, uv_loop_t *loop, launcher_output_events events);

/* Everything that wrote is gone: forward what the pipes still hold, however slow our reader is, and say
 * `finished`. A pipe that some process of another job still holds is not waited for. */
void launcher_output_finish(launcher_output *output);

/* Bytes that have come from a rank so far, and that have gone into our own outputs. */
uint64_t launcher_output_received(const launcher_output *output, int rank);
uint64_t launcher_output_written(const launcher_output *output);

/* Do bytes wait for our reader? */
bool launcher_output_is_waiting(const launcher_output *output);

/* Does a line of which the end is missing stand last on our standard error? */
bool launcher_output_is_mid_line(const launcher_output *output);

/* Stop all handles; run the loop once more, then free. NULL inside is fine. */
void launcher_output_stop(launcher_output *output);
void launcher_output_close(launcher_output **output);

#endif
