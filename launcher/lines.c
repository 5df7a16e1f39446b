/* Most bytes are never copied here: only the beginning of a line whose end is in a later piece is kept. */
#include "launcher/lines.h"

#include <string.h>

void launcher_lines_flush(launcher_lines *lines, launcher_lines_take *take, void *cookie) {
    launcher_buffer *partial = &lines->partial;
    size_t n = launcher_buffer_size(partial);
    if (n > 0) take(partial->data + partial->begin, n, cookie);
    partial->begin = partial->end = 0;
}

void launcher_lines_add(launcher_lines *lines, const char *bytes, size_t n, bool eager,
                        launcher_lines_take *take, void *cookie) {
    const char *newline = memrchr(bytes, '\n', n);
    if (newline) {
        size_t whole = (size_t)(newline - bytes) + 1;
        if (launcher_buffer_size(&lines->partial) > 0) {
            /* Up to the first newline, so that the line leaves in one piece. */
            size_t first = (size_t)((const char *)memchr(bytes, '\n', n) - bytes) + 1;
            if (launcher_buffer_add(&lines->partial, bytes, first)) launcher_lines_flush(lines, take, cookie);
            bytes += first;
            n -= first;
            whole -= first;
        }
        if (whole > 0) take(bytes, whole, cookie);
        bytes += whole;
        n -= whole;
    }
    launcher_buffer_add(&lines->partial, bytes, n);
    if (eager || launcher_buffer_size(&lines->partial) > LAUNCHER_LINE_MOST)
        launcher_lines_flush(lines, take, cookie);
}

void launcher_lines_free(launcher_lines *lines) { launcher_buffer_free(&lines->partial); }

void launcher_lines_each(const char *bytes, size_t n, launcher_lines_take *take, void *cookie) {
    while (n > 0) {
        const char *newline = memchr(bytes, '\n', n);
        size_t line = newline ? (size_t)(newline - bytes) + 1 : n;
        take(bytes, line, cookie);
        bytes += line;
        n -= line;
    }
}
