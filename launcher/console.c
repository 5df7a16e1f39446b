/* See console.h. All that is put goes through put_prefixed, so that what a terminal shows is known. */
#include "launcher/console.h"

#include <string.h>

/* Bytes of the current line since it last began again, to draw it after another stream's line. */
static void remember_shown(launcher_console *c, const char *bytes, size_t n) {
    size_t begin = n;
    while (begin > 0 && bytes[begin - 1] != '\n' && bytes[begin - 1] != '\r') begin--;
    if (begin > 0) c->shown_n = 0;
    size_t room = sizeof c->shown - c->shown_n;
    size_t take = n - begin < room ? n - begin : room;
    memcpy(c->shown + c->shown_n, bytes + begin, take);
    c->shown_n += take;
}

static void put_bytes(launcher_console *c, const char *bytes, size_t n) {
    launcher_sink_put(&c->sink, bytes, n);
    if (c->sink.terminal) remember_shown(c, bytes, n);
}

/* How much of `bytes` belongs to the line that begins with them. A carriage return begins it again (a progress bar),
 * and the prefix with it. */
static size_t line_length(const char *bytes, size_t n) {
    const char *newline = memchr(bytes, '\n', n);
    size_t length = newline ? (size_t)(newline - bytes) + 1 : n;
    const char *back = memchr(bytes, '\r', length);
    if (!back || back + 1 >= bytes + length || back[1] == '\n') return length;
    return (size_t)(back - bytes) + 1;
}

static void put_on_terminal(launcher_console *c, launcher_speaker *s, const char *bytes, size_t n) {
    for (bool begins = !s->mid_line || s->returned; n > 0; begins = true) {
        size_t prefix_n, take = line_length(bytes, n);
        const char *prefix = launcher_prefix_text(&s->prefix, &prefix_n);
        bool only_moves = take == 1 && (*bytes == '\r' || s->returned);
        if (begins && !only_moves) put_bytes(c, prefix, prefix_n);
        put_bytes(c, bytes, take);
        s->returned = bytes[take - 1] == '\r';
        bytes += take;
        n -= take;
    }
}

/* Elsewhere the prefix is the same for all lines that come together, and a line is all that has one. */
static void put_lines(launcher_buffer *queue, launcher_speaker *s, const char *bytes, size_t n) {
    size_t prefix_n;
    const char *prefix = launcher_prefix_text(&s->prefix, &prefix_n);
    for (size_t before = s->mid_line ? 0 : prefix_n; n > 0; before = prefix_n) {
        const char *newline = memchr(bytes, '\n', n);
        size_t take = newline ? (size_t)(newline - bytes) + 1 : n;
        char *to = launcher_buffer_room(queue, before + take);
        if (to) {
            memcpy(to, prefix, before);
            memcpy(to + before, bytes, take);
            queue->end += before + take;
        }
        bytes += take;
        n -= take;
    }
}

static void put_prefixed(launcher_console *c, launcher_speaker *s, const char *bytes, size_t n) {
    if (!s->prefix.template)
        put_bytes(c, bytes, n);
    else if (c->sink.terminal)
        put_on_terminal(c, s, bytes, n);
    else if (!c->sink.error)
        put_lines(&c->sink.queue, s, bytes, n);
}

/* Step aside for another stream's unfinished line. True: it is to be drawn again afterwards. */
static bool make_room(launcher_console *c, const launcher_speaker *s) {
    if (!c->open || c->open == s) return false;
    if (launcher_console_is_eager(c, c->open) && !c->open->ended) {
        launcher_sink_put(&c->sink, "\r\033[K", 4);
        return true;
    }
    launcher_sink_put(&c->sink, "\n", 1);
    c->open->mid_line = false;
    c->open = NULL;
    return false;
}

static void draw_again(launcher_console *c, const char *shown, size_t n) {
    launcher_sink_put(&c->sink, shown, n);
    memcpy(c->shown, shown, n);
    c->shown_n = n;
}

void launcher_console_put(launcher_console *c, launcher_speaker *s, const char *bytes, size_t n) {
    if (n == 0) return;
    char shown[LAUNCHER_SHOWN_MOST];
    size_t shown_n = c->shown_n;
    bool again = make_room(c, s), ends = bytes[n - 1] == '\n';
    if (again) memcpy(shown, c->shown, shown_n);
    put_prefixed(c, s, bytes, n);
    if (again && ends) {
        draw_again(c, shown, shown_n);
        return;
    }
    s->mid_line = !ends;
    c->open = ends ? NULL : s;
}

void launcher_console_say(launcher_console *c, const char *prefix, size_t prefix_n, const char *line,
                          size_t n) {
    char shown[LAUNCHER_SHOWN_MOST];
    size_t shown_n = c->shown_n;
    bool again = make_room(c, NULL);
    if (again) memcpy(shown, c->shown, shown_n);
    put_bytes(c, prefix, prefix_n);
    put_bytes(c, line, n);
    if (again) draw_again(c, shown, shown_n);
}
