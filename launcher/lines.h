/*
 * A stream of bytes cut into lines: bytes come in pieces as they were read, and leave as runs of whole lines, so
 * that a line is one piece however it arrived. No byte is changed, added or lost. A line longer than
 * LAUNCHER_LINE_MOST leaves in pieces. One object per stream, in its owner's memory; zero is an empty one.
 */
#ifndef TANDEM_LAUNCHER_LINES_H
#define TANDEM_LAUNCHER_LINES_H

#include "launcher/buffer.h"

enum { LAUNCHER_LINE_MOST = 16 << 20 };

typedef struct launcher_lines {
    launcher_buffer partial; /* the beginning of a line whose end has not come */
} launcher_lines;

/* `n` > 0 bytes, *lent* for the call: lines up to their newlines, or last in a row of calls, a piece without. */
typedef void launcher_lines_take(const char *bytes, size_t n, void *cookie);

/* Bytes have come. With `eager` even an unfinished line leaves at once. */
void launcher_lines_add(launcher_lines *lines, const char *bytes, size_t n, bool eager,
                        launcher_lines_take *take, void *cookie);

/* The unfinished line, if there is one, leaves as it is. */
void launcher_lines_flush(launcher_lines *lines, launcher_lines_take *take, void *cookie);

void launcher_lines_free(launcher_lines *lines);

/* Call `take` for each line of a run, the last perhaps without its newline. */
void launcher_lines_each(const char *bytes, size_t n, launcher_lines_take *take, void *cookie);

#endif
