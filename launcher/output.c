/* Streams of the ranks cut into lines and put into the two sinks. */
#include "launcher/output.h"

#include "base/memory.h"
#include "launcher/sink.h"
#include "launcher/uv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 << 10,
    LINE_MOST = 16 << 20,   /* a longer line is forwarded in pieces */
    QUEUE_HIGH = 256 << 10, /* more than this waiting in a sink stops the reading */
    QUEUE_LOW = 64 << 10,   /* less than this starts it again */
    SHOWN_MOST = 1024,      /* of an unfinished line on a terminal, to draw it again */
    STRAGGLER_MS = 200,     /* a pipe that is still open, and silent so long, after all of the job is gone */
};

typedef struct stream {
    uv_pipe_t pipe;
    launcher_output *output;
    launcher_sink *sink;
    int rank;
    int ends[2]; /* ours; -1 once uv has it or it is closed */
    uint64_t received; /* bytes */
    bool is_error;
    bool reading, ended;
    bool mid_line;           /* part of the current line is already in the sink */
    launcher_buffer partial; /* an unfinished line that is not in the sink yet */
} stream;

/* A sink and the unfinished line that stands in it. */
typedef struct destination {
    launcher_sink sink;
    stream *open;           /* whose line is unfinished; NULL: the cursor is at the beginning of a line */
    char shown[SHOWN_MOST]; /* what a terminal shows of it */
    size_t shown_n;
} destination;

struct launcher_output {
    int n;
    bool prefix;
    stream *streams; /* 2 n: standard output and error of rank 0, of rank 1, ... */
    launcher_tail *const *tails;
    destination to[2]; /* our standard output and error; only the first is used when both are one thing */
    bool merged;
    launcher_output_events events;
    uv_timer_t straggler;
    bool started, finishing, finished;
    bool told[2]; /* that the sink has failed */
    char chunk[READ_BYTES];
};

static destination *destination_of(stream *s) {
    return &s->output->to[s->sink == &s->output->to[0].sink ? 0 : 1];
}

/* --- putting lines into a sink -------------------------------------------------------------------------- */

/* Only rank 0 can draw: two bars on one line would be none. */
static bool is_shown_at_once(const stream *s) { return s->rank == 0 && s->sink->terminal; }

/* Bytes of the current line since it last began again, to draw it after another rank's line. */
static void remember_shown(destination *to, const char *bytes, size_t n) {
    size_t begin = n;
    while (begin > 0 && bytes[begin - 1] != '\n' && bytes[begin - 1] != '\r') begin--;
    if (begin > 0) to->shown_n = 0;
    size_t room = sizeof to->shown - to->shown_n;
    size_t take = n - begin < room ? n - begin : room;
    memcpy(to->shown + to->shown_n, bytes + begin, take);
    to->shown_n += take;
}

/* Bytes of one stream, which end a line or do not, with the prefix at each line's beginning. */
static void put_bytes(stream *s, const char *bytes, size_t n) {
    if (!s->output->prefix) {
        launcher_sink_put(s->sink, bytes, n);
        return;
    }
    char prefix[32];
    size_t length = (size_t)snprintf(prefix, sizeof prefix, "[rank %d] ", s->rank);
    for (bool begins = !s->mid_line; n > 0; begins = true) {
        const char *newline = memchr(bytes, '\n', n);
        size_t take = newline ? (size_t)(newline - bytes) + 1 : n;
        if (begins) launcher_sink_put(s->sink, prefix, length);
        launcher_sink_put(s->sink, bytes, take);
        bytes += take;
        n -= take;
    }
}

/* Step aside for another stream's unfinished line. True: it is to be drawn again afterwards. */
static bool make_room(destination *to, const stream *s) {
    if (!to->open || to->open == s) return false;
    if (is_shown_at_once(to->open) && !to->open->ended) {
        launcher_sink_put(&to->sink, "\r\033[K", 4);
        return true;
    }
    launcher_sink_put(&to->sink, "\n", 1);
    to->open->mid_line = false;
    to->open = NULL;
    return false;
}

static void put(stream *s, const char *bytes, size_t n) {
    if (n == 0) return;
    destination *to = destination_of(s);
    bool draw_again = make_room(to, s);
    put_bytes(s, bytes, n);
    bool ends = bytes[n - 1] == '\n';
    if (draw_again && ends) {
        launcher_sink_put(s->sink, to->shown, to->shown_n);
        return;
    }
    s->mid_line = !ends;
    to->open = ends ? NULL : s;
    if (s->sink->terminal) remember_shown(to, bytes, n);
}

static void put_partial(stream *s) {
    put(s, s->partial.data + s->partial.begin, launcher_buffer_size(&s->partial));
    s->partial.begin = s->partial.end = 0;
}

static void take_bytes(stream *s, const char *bytes, size_t n) {
    s->received += n;
    if (s->is_error) launcher_tail_add(s->output->tails[s->rank], bytes, n);
    const char *newline = memrchr(bytes, '\n', n);
    if (newline) {
        size_t whole = (size_t)(newline - bytes) + 1;
        if (launcher_buffer_size(&s->partial) > 0) {
            /* Up to the first newline, so that the line enters the sink in one piece. */
            size_t first = (size_t)((const char *)memchr(bytes, '\n', n) - bytes) + 1;
            if (launcher_buffer_add(&s->partial, bytes, first)) put_partial(s);
            bytes += first;
            n -= first;
            whole -= first;
        }
        put(s, bytes, whole);
        bytes += whole;
        n -= whole;
    }
    launcher_buffer_add(&s->partial, bytes, n);
    if (is_shown_at_once(s) || launcher_buffer_size(&s->partial) > LINE_MOST) put_partial(s);
}

/* --- the pipes ------------------------------------------------------------------------------------------ */

static void give_chunk(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer) {
    (void)wanted;
    launcher_output *o = ((stream *)handle->data)->output;
    *buffer = uv_buf_init(o->chunk, sizeof o->chunk);
}

static void look_whether_finished(launcher_output *o);

static void end_stream(stream *s) {
    if (s->ended) return;
    put_partial(s);
    s->ended = true;
    s->reading = false;
    uv_close((uv_handle_t *)&s->pipe, NULL);
}

static void on_straggler(uv_timer_t *timer);

static void on_read(uv_stream_t *handle, ssize_t got, const uv_buf_t *buffer) {
    stream *s = handle->data;
    launcher_output *o = s->output;
    if (got > 0)
        take_bytes(s, buffer->base, (size_t)got);
    else if (got < 0)
        end_stream(s); /* UV_EOF; a pipe fails in no other way */
    if (o->finishing && got > 0) uv_timer_start(&o->straggler, on_straggler, STRAGGLER_MS, 0);
    launcher_sink_flush(s->sink);
    look_whether_finished(o);
}

/* Read from exactly those pipes whose sink has room. */
static void set_reading(launcher_output *o) {
    for (int i = 0; i < 2 * o->n; i++) {
        stream *s = &o->streams[i];
        if (s->ended) continue;
        size_t waiting = launcher_buffer_size(&s->sink->queue);
        if (s->reading && waiting > QUEUE_HIGH) uv_read_stop((uv_stream_t *)&s->pipe);
        if (!s->reading && waiting < QUEUE_LOW) uv_read_start((uv_stream_t *)&s->pipe, give_chunk, on_read);
        if (waiting > QUEUE_HIGH) s->reading = false;
        if (waiting < QUEUE_LOW) s->reading = true;
    }
}

static void look_whether_finished(launcher_output *o) {
    bool done = o->finishing;
    for (int i = 0; i < 2; i++) {
        launcher_sink *sink = &o->to[i].sink;
        if (sink->error && !o->told[i]) {
            o->told[i] = true;
            o->events.failed(i + 1, sink->error, o->events.cookie);
        }
        if (launcher_buffer_size(&sink->queue) > 0) done = false;
    }
    set_reading(o);
    for (int i = 0; i < 2 * o->n; i++)
        if (!o->streams[i].ended) done = false;
    if (!done || o->finished) return;
    o->finished = true;
    uv_timer_stop(&o->straggler);
    o->events.finished(o->events.cookie);
}

static void on_moved(launcher_sink *sink, void *cookie) {
    (void)sink;
    look_whether_finished(cookie);
}

/* Nothing has come for a while from pipes that are being read: who holds them is no process of ours. */
static void on_straggler(uv_timer_t *timer) {
    launcher_output *o = timer->data;
    bool waiting = false;
    for (int i = 0; i < 2 * o->n; i++) {
        stream *s = &o->streams[i];
        if (s->reading)
            end_stream(s);
        else
            waiting = waiting || !s->ended; /* our reader is slow: later */
    }
    if (waiting) uv_timer_start(timer, on_straggler, STRAGGLER_MS, 0);
    for (int i = 0; i < 2; i++) launcher_sink_flush(&o->to[i].sink);
    look_whether_finished(o);
}

void launcher_output_finish(launcher_output *o) {
    o->finishing = true;
    uv_timer_start(&o->straggler, on_straggler, STRAGGLER_MS, 0);
    look_whether_finished(o);
}

/* --- life ----------------------------------------------------------------------------------------------- */

/* Both of our outputs are one terminal or pipe: then one queue, or a long line of one could be torn by the
 * other. */
static bool are_one(int a, int b) {
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino &&
           !S_ISREG(x.st_mode);
}

td_status launcher_output_open(int n, bool prefix, launcher_tail *const *tails, launcher_output **output) {
    launcher_output *o = td_calloc(1, sizeof *o);
    if (!o) return TD_ERR_MEMORY;
    o->n = n;
    o->prefix = prefix;
    o->tails = tails;
    o->streams = td_calloc(2 * (size_t)n, sizeof *o->streams);
    if (!o->streams) {
        td_free(o);
        return TD_ERR_MEMORY;
    }
    for (int i = 0; i < 2; i++) launcher_sink_open(&o->to[i].sink, i + 1);
    o->merged = are_one(1, 2);
    for (int i = 0; i < 2 * n; i++) o->streams[i].ends[0] = o->streams[i].ends[1] = -1;
    for (int i = 0; i < 2 * n; i++) {
        stream *s = &o->streams[i];
        s->output = o;
        s->rank = i / 2;
        s->is_error = i % 2;
        s->sink = &o->to[s->is_error && !o->merged].sink;
        if (pipe2(s->ends, O_CLOEXEC) != 0) {
            td_status status =
                td_fail_errno(errno, "launcher", "cannot make the output pipes of rank %d", s->rank);
            launcher_output_close(&o);
            return status;
        }
    }
    *output = o;
    return TD_OK;
}

int launcher_output_end(const launcher_output *o, int rank, int fd) {
    return o->streams[2 * rank + fd - 1].ends[1];
}

td_status launcher_output_start(launcher_output *o, uv_loop_t *loop, launcher_output_events events) {
    o->events = events;
    uv_timer_init(loop, &o->straggler);
    o->straggler.data = o;
    o->started = true;
    for (int i = 0; i < 2 * o->n; i++) o->streams[i].ended = true; /* until its pipe is open */
    for (int i = 0; i < 2; i++) launcher_sink_start(&o->to[i].sink, loop, on_moved, o);
    for (int i = 0; i < 2 * o->n; i++) {
        stream *s = &o->streams[i];
        close(s->ends[1]);
        s->ends[1] = -1;
        TD_TRY(launcher_from_uv(uv_pipe_init(loop, &s->pipe, 0), "cannot watch the ranks' output"));
        s->pipe.data = s;
        s->ended = false;
        TD_TRY(launcher_from_uv(uv_pipe_open(&s->pipe, s->ends[0]), "cannot watch the ranks' output"));
        s->ends[0] = -1;
    }
    set_reading(o);
    return TD_OK;
}

uint64_t launcher_output_received(const launcher_output *o, int rank) {
    return o->streams[2 * rank].received + o->streams[2 * rank + 1].received;
}

uint64_t launcher_output_written(const launcher_output *o) {
    return o->to[0].sink.written + o->to[1].sink.written;
}

bool launcher_output_is_waiting(const launcher_output *o) {
    return launcher_buffer_size(&o->to[0].sink.queue) > 0 || launcher_buffer_size(&o->to[1].sink.queue) > 0;
}

bool launcher_output_is_mid_line(const launcher_output *o) { return o->to[o->merged ? 0 : 1].open != NULL; }

void launcher_output_stop(launcher_output *o) {
    if (!o || !o->started) return;
    for (int i = 0; i < 2 * o->n; i++) end_stream(&o->streams[i]);
    for (int i = 0; i < 2; i++) launcher_sink_stop(&o->to[i].sink);
    uv_close((uv_handle_t *)&o->straggler, NULL);
}

void launcher_output_close(launcher_output **output) {
    launcher_output *o = *output;
    if (!o) return;
    for (int i = 0; i < 2 * o->n; i++) {
        for (int end = 0; end < 2; end++)
            if (o->streams[i].ends[end] >= 0) close(o->streams[i].ends[end]);
        launcher_buffer_free(&o->streams[i].partial);
    }
    for (int i = 0; i < 2; i++) launcher_sink_free(&o->to[i].sink);
    td_free(o->streams);
    td_free(o);
    *output = NULL;
}
