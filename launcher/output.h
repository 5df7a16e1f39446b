/*
 * The ranks' output on its way to ours, and our input on its way to a rank. Whatever has to be seen by us comes
 * through a pipe (or, with --pty, a terminal) per stream and is forwarded by whole lines: never torn by another
 * rank's, in order within each stream, bytes unchanged. What is for a file alone is written by the rank itself. A
 * reader that is slow slows the ranks. One object per attempt, *yours* from open to close; the loop's thread only.
 *
 * On a terminal unfinished lines of the rank that has our input (a progress bar, a question) are shown at once, and
 * lines of others are put above them. A line longer than 16 MiB is forwarded in pieces.
 */
#ifndef TANDEM_LAUNCHER_OUTPUT_H
#define TANDEM_LAUNCHER_OUTPUT_H

#include "launcher/logs.h"
#include "launcher/spawn.h"
#include "launcher/tail.h"

#include <uv.h>

typedef struct launcher_output launcher_output;

typedef struct launcher_output_events {
    /* Writing to our standard output (1) or error (2), or to the log file `path` (fd is -1), failed with this errno;
     * what comes from now on is dropped there. Once for each output, and once for the first of the files. */
    void (*failed)(int fd, const char *path, int error, void *cookie);
    /* The disk has no room left for this file, which its rank wrote itself: its end may be missing. Once, for the first
     * such file, before `finished`. */
    void (*filled)(const char *path, void *cookie);
    /* Every pipe has ended and every byte is written. Once, after launcher_output_finish. */
    void (*finished)(void *cookie);
    void *cookie;
} launcher_output_events;

/* All *lent* until close. */
typedef struct launcher_output_setup {
    int n;       /* ranks */
    int attempt; /* 0 for the first */
    launcher_logs *logs;
    launcher_tail *const
        *tails; /* n ends of standard error, filled on the way, at the latest before `finished` */
} launcher_output_setup;

/* Make the pipes, terminals, log folders and files of an attempt. */
td_status launcher_output_open(const launcher_output_setup *setup, launcher_output **output);

/* What becomes descriptors 0 to 2 of `rank`, and its terminal; `null` is for what leads nowhere. */
void launcher_output_give(const launcher_output *output, int rank, int null, launcher_spawn *spawn);

/* The ranks have been started: close their ends here and begin to forward. */
td_status launcher_output_start(launcher_output *output, uv_loop_t *loop, launcher_output_events events);

/* Our terminal has another size. */
void launcher_output_resize(launcher_output *output);

/* The launcher is about to stop itself (Ctrl-Z), and goes on again. */
void launcher_output_suspend(launcher_output *output);
void launcher_output_resume(launcher_output *output);

/* Everything that wrote is gone: forward what the pipes still hold, however slow our reader is, and say
 * `finished`. A pipe that some process of another job still holds is not waited for. */
void launcher_output_finish(launcher_output *output);

/* Bytes that a rank has written so far, into files too, and that have gone into our own outputs. */
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
