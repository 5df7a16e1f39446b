/* See stream.h. */
#include "launcher/stream.h"

#include "base/clock.h"

static void take_filtered(const char *line, size_t n, void *cookie) {
    launcher_stream *s = cookie;
    if (!launcher_filters_match(s->filters, line, n)) return;
    size_t prefix_n;
    const char *prefix = launcher_prefix_text(&s->speaker.prefix, &prefix_n);
    launcher_log_file_write(s->filtered, prefix, prefix_n);
    launcher_log_file_write(s->filtered, line, n);
}

/* What is shown before its line is whole cannot be folded: that line, and what came before it, go out. */
static void take_folded(const char *line, size_t n, void *cookie) {
    launcher_stream *s = cookie;
    if (line[n - 1] == '\n' && !s->speaker.mid_line) {
        launcher_fold_add(s->fold, s->rank, line, n, td_clock_ns() / 1000000);
        return;
    }
    launcher_fold_flush(s->fold);
    launcher_console_put(s->console, &s->speaker, line, n);
}

static void take_run(const char *bytes, size_t n, void *cookie) {
    launcher_stream *s = cookie;
    if (s->filtered) launcher_lines_each(bytes, n, take_filtered, s);
    if (!s->console) return;
    if (s->fold)
        launcher_lines_each(bytes, n, take_folded, s);
    else
        launcher_console_put(s->console, &s->speaker, bytes, n);
}

void launcher_stream_take(launcher_stream *s, const char *bytes, size_t n) {
    s->bytes += n;
    if (s->tail) launcher_tail_add(s->tail, bytes, n);
    launcher_log_file_write(&s->file, bytes, n);
    if (!s->console && !s->filtered) return;
    bool eager = s->console && launcher_console_is_eager(s->console, &s->speaker);
    launcher_lines_add(&s->lines, bytes, n, eager, take_run, s);
}

void launcher_stream_end(launcher_stream *s) {
    launcher_lines_flush(&s->lines, take_run, s);
    if (s->fold) launcher_fold_leave(s->fold, s->rank);
    s->speaker.ended = true;
}

void launcher_stream_free(launcher_stream *s) {
    launcher_lines_free(&s->lines);
    launcher_prefix_free(&s->speaker.prefix);
    launcher_log_file_close(&s->file);
}
