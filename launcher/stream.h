/*
 * The way of one stream of one rank: bytes as they are read go to its log file and to the tail for the report, whole
 * lines to the file of filtered lines and to our console, there perhaps folded with other ranks'. Objects are
 * embedded in launcher_output, which fills in what it leads to; the loop's thread only.
 */
#ifndef TANDEM_LAUNCHER_STREAM_H
#define TANDEM_LAUNCHER_STREAM_H

#include "launcher/console.h"
#include "launcher/fold.h"
#include "launcher/lines.h"
#include "launcher/logs.h"
#include "launcher/tail.h"

typedef struct launcher_stream {
    int rank;
    uint64_t bytes; /* that came */
    launcher_lines lines;
    launcher_speaker speaker;
    launcher_log_file file; /* all its bytes */

    /* All *lent*; NULL: not there. */
    launcher_tail *tail;
    launcher_console *console;
    launcher_fold *fold;
    char *const *filters;        /* with filtered */
    launcher_log_file *filtered; /* matching lines of all ranks */
} launcher_stream;

void launcher_stream_take(launcher_stream *stream, const char *bytes, size_t n);

/* It has ended: its unfinished line goes out as it is. */
void launcher_stream_end(launcher_stream *stream);

void launcher_stream_free(launcher_stream *stream);

#endif
