/*
 * One of our two outputs as the place where many streams meet: whole lines follow one another, each with its
 * prefix, and no line is torn by another's. On a terminal the unfinished line of the stream that `draws` (a progress
 * bar, a question) stands there at once; lines of others are put above it, and it is drawn again. Objects are
 * embedded in their owner; the loop's thread only.
 */
#ifndef TANDEM_LAUNCHER_CONSOLE_H
#define TANDEM_LAUNCHER_CONSOLE_H

#include "launcher/prefix.h"
#include "launcher/sink.h"

enum { LAUNCHER_SHOWN_MOST = 1024 };

/* A stream as a console knows it. */
typedef struct launcher_speaker {
    launcher_prefix prefix;
    bool draws;
    bool ended;
    bool mid_line; /* part of its current line is already in the sink */
    bool returned; /* and its last byte was a carriage return, on a terminal */
} launcher_speaker;

typedef struct launcher_console {
    launcher_sink sink;
    launcher_speaker *open; /* whose line is unfinished; NULL: the cursor is at the beginning of a line */
    char shown[LAUNCHER_SHOWN_MOST]; /* what a terminal shows of it, to draw it again */
    size_t shown_n;
} launcher_console;

/* Is this stream's unfinished line to be put at once? */
static inline bool launcher_console_is_eager(const launcher_console *console,
                                             const launcher_speaker *speaker) {
    return speaker->draws && console->sink.terminal;
}

/* Bytes of one stream: whole lines, or part of one. */
void launcher_console_put(launcher_console *console, launcher_speaker *speaker, const char *bytes, size_t n);

/* One whole line of nobody's, above an unfinished one. */
void launcher_console_say(launcher_console *console, const char *prefix, size_t prefix_n, const char *line,
                          size_t n);

#endif
