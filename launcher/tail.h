/* The last bytes of a stream, kept for the report: a ring that is allocated with the first byte. */
#ifndef TANDEM_LAUNCHER_TAIL_H
#define TANDEM_LAUNCHER_TAIL_H

#include "base/status.h"

enum { LAUNCHER_TAIL_BYTES = 4096 };

typedef struct launcher_tail {
    char *ring;
    size_t end; /* bytes ever added */
} launcher_tail;

/* Without memory nothing is kept, and the job goes on. */
void launcher_tail_add(launcher_tail *tail, const char *bytes, size_t n);

/*
 * The last whole lines, at most `most`, oldest first; an empty stream has none. A line of which the beginning
 * has been overwritten is left out, unless it is the only one; "\r" counts as a line's end, so that of a
 * progress bar only the last state is shown. Text is UTF-8: what is not becomes U+FFFD. Calls `line` for
 * each, *lent* for the call, without its newline.
 */
typedef void launcher_tail_line(const char *line, void *cookie);
void launcher_tail_lines(const launcher_tail *tail, int most, launcher_tail_line *line, void *cookie);

void launcher_tail_free(launcher_tail *tail);

#endif
