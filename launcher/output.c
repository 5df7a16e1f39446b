/*
 * Pipes and their ends. Each rank has a channel per stream; a channel without a pipe has ended from the start: its
 * stream goes straight to a file, to a terminal, or nowhere. What happens to the bytes is stream.c's.
 */
#include "launcher/output.h"

#include "base/clock.h"
#include "base/memory.h"
#include "launcher/keyboard.h"
#include "launcher/pty.h"
#include "launcher/stream.h"
#include "launcher/uv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    READ_BYTES = 256 << 10,
    PIPE_BYTES = 256 << 10, /* asked for; the system may give less */
    PIPES_LARGE = 64,       /* so many may be that large, the system's limits for one user in mind */
    QUEUE_HIGH = 512 << 10, /* more than this waiting in a sink stops the reading */
    QUEUE_LOW = 64 << 10,   /* less than this starts it again */
    STRAGGLER_MS = 200,     /* a pipe that is still open, and silent so long, after all of the job is gone */
    PATH_BYTES = PATH_MAX + 64,
};

static const char *const stream_names[] = {"stdout", "stderr"};

typedef struct channel {
    uv_pipe_t pipe;
    launcher_output *output;
    launcher_stream stream;
    int which;   /* LAUNCHER_OUT, ... */
    int ends[2]; /* ours and the rank's; -1: none, or uv has it, or closed */
    bool direct; /* the rank writes the file itself */
    bool reading, ended;
} channel;

struct launcher_output {
    launcher_output_setup setup;
    const launcher_routes *routes;
    channel (*channels)[LAUNCHER_STREAMS];
    launcher_console
        to[2]; /* our standard output and error; only the first is used when both are one thing */
    bool merged;
    launcher_fold *folds[2];
    launcher_log_file filtered[2];
    launcher_keyboard keyboard;
    launcher_output_events events;
    uv_timer_t straggler, folding;
    bool started, finishing, finished;
    bool told[2];    /* that the output has failed */
    bool told_files; /* that a log file has */
    char chunk[READ_BYTES];
};

static channel *channel_at(const launcher_output *o, int i) { return &o->channels[0][0] + i; }
static int count_channels(const launcher_output *o) {
    return o->channels ? LAUNCHER_STREAMS * o->setup.n : 0;
}

/* The name of the file that a stream goes to. A terminal counts as standard output if that is on it. */
static const char *file_name(const launcher_output *o, const channel *c) {
    bool is_error = c->which == LAUNCHER_ERR || (c->which == LAUNCHER_TERMINAL &&
                                                 !o->routes->of[c->stream.rank][LAUNCHER_OUT].on_terminal);
    return is_error ? "stderr.log" : "stdout.log";
}

/* --- what has failed, what has ended -------------------------------------------------------------------- */

static void look_whether_finished(launcher_output *o);
static void on_straggler(uv_timer_t *timer);

static void tell_file(launcher_output *o, int rank, const char *name, int error) {
    if (o->told_files || !error) return;
    o->told_files = true;
    char path[PATH_BYTES];
    launcher_logs_path(o->setup.logs, o->setup.attempt, rank, name, path, sizeof path);
    o->events.failed(-1, path, error, o->events.cookie);
}

static void tell_files(launcher_output *o, const channel *c) {
    if (o->told_files) return;
    tell_file(o, c->stream.rank, file_name(o, c), c->stream.file.error);
    for (int i = 0; i < 2; i++)
        tell_file(o, -1, i ? "filtered_stderr.log" : "filtered_stdout.log", o->filtered[i].error);
}

/* Some blocks of a disk are root's alone. Where no blocks are counted nothing can be said. */
static bool is_full(int fd) {
    struct statvfs disk;
    if (fstatvfs(fd, &disk) != 0 || disk.f_blocks == 0) return false;
    return (geteuid() == 0 ? disk.f_bfree : disk.f_bavail) == 0;
}

/* Of a file that its rank wrote we have seen nothing: read its end for the report, and look whether the disk had room
 * for it. A failure of the rank's own writes is for the rank to see. */
static void look_at_file(launcher_output *o, channel *c) {
    launcher_stream *s = &c->stream;
    char path[PATH_BYTES], end[LAUNCHER_TAIL_BYTES];
    launcher_logs_path(o->setup.logs, o->setup.attempt, s->rank, file_name(o, c), path, sizeof path);
    if (!o->told_files && is_full(s->file.fd)) {
        o->told_files = true;
        o->events.filled(path, o->events.cookie);
    }
    int fd = c->which == LAUNCHER_ERR ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    off_t size = lseek(fd, 0, SEEK_END);
    ssize_t got = pread(fd, end, sizeof end, size > (off_t)sizeof end ? size - (off_t)sizeof end : 0);
    if (got > 0) launcher_tail_add(o->setup.tails[s->rank], end, (size_t)got);
    close(fd);
}

static void end_channel(channel *c) {
    if (c->ended) return;
    c->ended = true;
    c->reading = false;
    launcher_output *o = c->output;
    if (o->keyboard.to == (uv_stream_t *)&c->pipe) launcher_keyboard_stop(&o->keyboard);
    launcher_stream_end(&c->stream);
    uv_close((uv_handle_t *)&c->pipe, NULL);
}

/* --- reading -------------------------------------------------------------------------------------------- */

static void give_chunk(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer) {
    (void)wanted;
    launcher_output *o = ((channel *)handle->data)->output;
    *buffer = uv_buf_init(o->chunk, sizeof o->chunk);
}

static void flush_consoles(launcher_output *o) {
    for (int i = 0; i < 2; i++) launcher_sink_flush(&o->to[i].sink);
}

/* Held lines whose time has come; and again when the next one's has. */
static void on_folding(uv_timer_t *timer) {
    launcher_output *o = timer->data;
    for (int i = 0; i < 2; i++) {
        int64_t next = o->folds[i] ? launcher_fold_pass(o->folds[i], td_clock_ns() / 1000000) : -1;
        if (next >= 0 && !uv_is_active((uv_handle_t *)timer))
            uv_timer_start(timer, on_folding, (uint64_t)next, 0);
    }
    flush_consoles(o);
    look_whether_finished(o);
}

static void on_read(uv_stream_t *handle, ssize_t got, const uv_buf_t *buffer) {
    channel *c = handle->data;
    launcher_output *o = c->output;
    if (got > 0) {
        launcher_stream_take(&c->stream, buffer->base, (size_t)got);
        tell_files(o, c);
        if (o->keyboard.to == handle) launcher_keyboard_follow(&o->keyboard);
        if (o->finishing) uv_timer_start(&o->straggler, on_straggler, STRAGGLER_MS, 0);
    } else if (got < 0)
        end_channel(c); /* UV_EOF, of a terminal UV_EIO; they fail in no other way */
    if (o->routes->fold && !uv_is_active((uv_handle_t *)&o->folding))
        uv_timer_start(&o->folding, on_folding, LAUNCHER_FOLD_MS, 0);
    if (c->stream.console) launcher_sink_flush(&c->stream.console->sink);
    look_whether_finished(o);
}

/* Read from exactly those pipes whose console has room. */
static void set_reading(launcher_output *o) {
    for (int i = 0; i < count_channels(o); i++) {
        channel *c = channel_at(o, i);
        if (c->ended) continue;
        const launcher_console *to = c->stream.console;
        size_t waiting = to ? launcher_buffer_size(&to->sink.queue) : 0;
        if (c->reading && waiting > QUEUE_HIGH) uv_read_stop((uv_stream_t *)&c->pipe);
        if (!c->reading && waiting < QUEUE_LOW) uv_read_start((uv_stream_t *)&c->pipe, give_chunk, on_read);
        if (waiting > QUEUE_HIGH) c->reading = false;
        if (waiting < QUEUE_LOW) c->reading = true;
    }
}

static void look_whether_finished(launcher_output *o) {
    bool done = o->finishing;
    for (int i = 0; i < 2; i++) {
        launcher_sink *sink = &o->to[i].sink;
        if (sink->error && !o->told[i]) {
            o->told[i] = true;
            o->events.failed(i + 1, NULL, sink->error, o->events.cookie);
        }
    }
    set_reading(o);
    for (int i = 0; i < count_channels(o); i++)
        if (!channel_at(o, i)->ended) done = false;
    for (int i = 0; i < 2; i++) {
        if (done && o->folds[i]) launcher_fold_flush(o->folds[i]);
        launcher_sink_flush(&o->to[i].sink);
        if (launcher_buffer_size(&o->to[i].sink.queue) > 0) done = false;
    }
    if (!done || o->finished) return;
    o->finished = true;
    uv_timer_stop(&o->straggler);
    uv_timer_stop(&o->folding);
    for (int i = 0; i < count_channels(o); i++)
        if (channel_at(o, i)->direct) look_at_file(o, channel_at(o, i));
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
    for (int i = 0; i < count_channels(o); i++) {
        channel *c = channel_at(o, i);
        if (c->reading)
            end_channel(c);
        else
            waiting = waiting || !c->ended; /* our reader is slow: later */
    }
    if (waiting) uv_timer_start(timer, on_straggler, STRAGGLER_MS, 0);
    flush_consoles(o);
    look_whether_finished(o);
}

/* The rank's end, as far as we have it. */
static void close_end(channel *c) {
    if (c->ends[1] >= 0) close(c->ends[1]);
    c->ends[1] = -1;
}

void launcher_output_finish(launcher_output *o) {
    o->finishing = true;
    for (int i = 0; i < count_channels(o); i++) close_end(channel_at(o, i));
    uv_timer_start(&o->straggler, on_straggler, STRAGGLER_MS, 0);
    look_whether_finished(o);
}

/* --- making it ------------------------------------------------------------------------------------------ */

/* Both of our outputs are one terminal or pipe: then one queue, or a long line of one could be torn by the
 * other. */
static bool are_one(int a, int b) {
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino &&
           !S_ISREG(x.st_mode);
}

/* A line that ranks have said on standard output (index 0) or error. */
static void emit_folded(launcher_output *o, int index, const bool *said, int count, const char *line,
                        size_t n) {
    char prefix[256];
    int rank = 0;
    while (!said[rank]) rank++;
    int which = o->routes->of[rank][index].on_terminal ? LAUNCHER_TERMINAL : index;
    launcher_stream *s = &o->channels[rank][which].stream;
    if (count == 1)
        launcher_console_put(s->console, &s->speaker, line, n);
    else
        launcher_console_say(s->console, prefix,
                             launcher_fold_prefix(said, o->setup.n, count, prefix, sizeof prefix), line, n);
}

static void emit_out(const bool *said, int count, const char *line, size_t n, void *cookie) {
    emit_folded(cookie, 0, said, count, line, n);
}
static void emit_error(const bool *said, int count, const char *line, size_t n, void *cookie) {
    emit_folded(cookie, 1, said, count, line, n);
}

static td_status open_folds(launcher_output *o) {
    if (!o->routes->fold) return TD_OK;
    TD_TRY(launcher_fold_open(o->setup.n, emit_out, o, &o->folds[0]));
    TD_TRY(launcher_fold_open(o->setup.n, emit_error, o, &o->folds[1]));
    for (int rank = 0; rank < o->setup.n; rank++)
        for (int i = 0; i < 2; i++)
            if (!o->routes->of[rank][i].console) launcher_fold_leave(o->folds[i], rank);
    return TD_OK;
}

/* The consoles that a stream's lines go to, and what stands before them. */
static void fill_stream(launcher_output *o, channel *c, launcher_route route) {
    launcher_stream *s = &c->stream;
    int index = c->which == LAUNCHER_ERR || !strcmp(file_name(o, c), "stderr.log");
    int drawer = o->routes->input >= 0 ? o->routes->input : 0; /* two bars on one line would be none */
    s->speaker.draws = s->rank == drawer;
    s->speaker.prefix =
        (launcher_prefix){.template = route.file ? o->routes->tee_template : o->routes->template,
                          .role = launcher_logs_role(o->setup.logs),
                          .stream = stream_names[index],
                          .rank = s->rank,
                          .attempt = o->setup.attempt};
    if (index || c->which == LAUNCHER_TERMINAL) s->tail = o->setup.tails[s->rank];
    if (route.console) s->console = &o->to[index && !o->merged];
    if (route.console) s->fold = o->folds[index];
    if (route.duplicate) {
        s->filters = o->routes->filters[index];
        s->filtered = &o->filtered[index];
    }
}

static td_status open_pipe(const launcher_output *o, channel *c) {
    if (c->which == LAUNCHER_TERMINAL) return launcher_pty_open(c->ends);
    if (pipe2(c->ends, O_CLOEXEC) != 0)
        return td_fail_errno(errno, "launcher", "cannot make the output pipes of rank %d", c->stream.rank);
    if (o->setup.n * 2 <= PIPES_LARGE) fcntl(c->ends[0], F_SETPIPE_SZ, PIPE_BYTES);
    return TD_OK;
}

static td_status open_channel(launcher_output *o, channel *c) {
    launcher_route route = o->routes->of[c->stream.rank][c->which];
    char path[PATH_BYTES];
    if (route.on_terminal) return TD_OK;
    fill_stream(o, c, route);
    if (route.file) {
        launcher_logs_path(o->setup.logs, o->setup.attempt, c->stream.rank, file_name(o, c), path,
                           sizeof path);
        TD_TRY(launcher_logs_create(path, &c->stream.file));
    }
    bool is_terminal = c->which == LAUNCHER_TERMINAL;
    if (is_terminal && !o->routes->pty) return TD_OK;
    c->direct = route.file && !route.console && !route.duplicate && !is_terminal;
    bool is_needed = route.console || route.duplicate || c->stream.tail || is_terminal;
    return is_needed && !c->direct ? open_pipe(o, c) : TD_OK;
}

static td_status open_filtered(launcher_output *o) {
    char path[PATH_BYTES];
    for (int i = 0; i < 2; i++) {
        if (!o->routes->filters[i]) continue;
        launcher_logs_path(o->setup.logs, o->setup.attempt, -1,
                           i ? "filtered_stderr.log" : "filtered_stdout.log", path, sizeof path);
        TD_TRY(launcher_logs_create(path, &o->filtered[i]));
    }
    return TD_OK;
}

static td_status open_all(launcher_output *o) {
    o->channels = td_calloc((size_t)o->setup.n, sizeof *o->channels);
    if (!o->channels) return TD_ERR_MEMORY;
    for (int i = 0; i < count_channels(o); i++) {
        channel *c = channel_at(o, i);
        c->output = o;
        c->stream.rank = i / LAUNCHER_STREAMS;
        c->which = i % LAUNCHER_STREAMS;
        c->ends[0] = c->ends[1] = c->stream.file.fd = -1;
        c->ended = true; /* until its pipe is open */
    }
    TD_TRY(launcher_logs_begin(o->setup.logs, o->setup.attempt));
    TD_TRY(open_filtered(o));
    TD_TRY(open_folds(o));
    for (int i = 0; i < count_channels(o); i++) TD_TRY(open_channel(o, channel_at(o, i)));
    launcher_output_resize(o);
    return TD_OK;
}

td_status launcher_output_open(const launcher_output_setup *setup, launcher_output **output) {
    launcher_output *o = td_calloc(1, sizeof *o);
    if (!o) return TD_ERR_MEMORY;
    o->setup = *setup;
    o->routes = launcher_logs_routes(setup->logs);
    o->filtered[0].fd = o->filtered[1].fd = -1;
    for (int i = 0; i < 2; i++) launcher_sink_open(&o->to[i].sink, i + 1);
    o->merged = are_one(1, 2);
    td_status status = open_all(o);
    if (status < 0) {
        launcher_output_close(&o);
        return status;
    }
    *output = o;
    return TD_OK;
}

void launcher_output_give(const launcher_output *o, int rank, int null, launcher_spawn *spawn) {
    const channel *c = o->channels[rank];
    const launcher_route *route = o->routes->of[rank];
    int terminal = c[LAUNCHER_TERMINAL].ends[1];
    if (terminal >= 0) spawn->terminal = terminal;
    spawn->standard[0] = null;
    if (rank == o->routes->input) {
        if (terminal >= 0 && isatty(0))
            spawn->standard[0] = terminal;
        else if (!launcher_keyboard_is_elsewhere())
            spawn->standard[0] =
                -1; /* ours. Of a terminal that is the shell's, it would take the keystrokes. */
    }
    for (int i = 0; i < 2; i++) {
        int end = route[i].on_terminal ? terminal : c[i].direct ? c[i].stream.file.fd : c[i].ends[1];
        spawn->standard[i + 1] = end >= 0 ? end : null;
    }
}

/* --- running -------------------------------------------------------------------------------------------- */

static td_status start_channel(launcher_output *o, channel *c, uv_loop_t *loop) {
    if (c->ends[0] < 0) return TD_OK;
    /* A rank that closes its descriptors has not lost its terminal: that would be a hangup. */
    if (c->which != LAUNCHER_TERMINAL) close_end(c);
    TD_TRY(launcher_from_uv(uv_pipe_init(loop, &c->pipe, 0), "cannot watch the ranks' output"));
    c->pipe.data = c;
    c->ended = false;
    TD_TRY(launcher_from_uv(uv_pipe_open(&c->pipe, c->ends[0]), "cannot watch the ranks' output"));
    c->ends[0] = -1;
    if (c->which != LAUNCHER_TERMINAL || c->stream.rank != o->routes->input || !isatty(0)) return TD_OK;
    return launcher_keyboard_start(&o->keyboard, loop, (uv_stream_t *)&c->pipe);
}

td_status launcher_output_start(launcher_output *o, uv_loop_t *loop, launcher_output_events events) {
    o->events = events;
    uv_timer_init(loop, &o->straggler);
    uv_timer_init(loop, &o->folding);
    o->straggler.data = o->folding.data = o;
    o->started = true;
    for (int i = 0; i < 2; i++) launcher_sink_start(&o->to[i].sink, loop, on_moved, o);
    for (int i = 0; i < count_channels(o); i++) TD_TRY(start_channel(o, channel_at(o, i), loop));
    set_reading(o);
    return TD_OK;
}

void launcher_output_resize(launcher_output *o) {
    for (int rank = 0; o->routes->pty && rank < o->setup.n; rank++) {
        channel *c = &o->channels[rank][LAUNCHER_TERMINAL];
        size_t prefix_n = 0;
        uv_os_fd_t fd = c->ends[0];
        launcher_prefix_text(&c->stream.speaker.prefix, &prefix_n);
        if (fd >= 0 || (!c->ended && uv_fileno((uv_handle_t *)&c->pipe, &fd) == 0))
            launcher_pty_resize(fd, prefix_n);
    }
}

void launcher_output_suspend(launcher_output *o) { launcher_keyboard_suspend(&o->keyboard); }

void launcher_output_resume(launcher_output *o) {
    launcher_keyboard_resume(&o->keyboard);
    launcher_output_resize(o);
}

uint64_t launcher_output_received(const launcher_output *o, int rank) {
    uint64_t bytes = 0;
    struct stat st;
    for (int i = 0; i < LAUNCHER_STREAMS; i++) {
        const channel *c = &o->channels[rank][i];
        bytes += c->stream.bytes;
        if (c->direct && fstat(c->stream.file.fd, &st) == 0) bytes += (uint64_t)st.st_size;
    }
    return bytes;
}

uint64_t launcher_output_written(const launcher_output *o) {
    return o->to[0].sink.written + o->to[1].sink.written;
}

bool launcher_output_is_waiting(const launcher_output *o) {
    return launcher_buffer_size(&o->to[0].sink.queue) > 0 || launcher_buffer_size(&o->to[1].sink.queue) > 0;
}

bool launcher_output_is_mid_line(const launcher_output *o) { return o->to[o->merged ? 0 : 1].open != NULL; }

/* --- the end -------------------------------------------------------------------------------------------- */

void launcher_output_stop(launcher_output *o) {
    if (!o || !o->started) return;
    launcher_keyboard_stop(&o->keyboard);
    for (int i = 0; i < count_channels(o); i++) end_channel(channel_at(o, i));
    for (int i = 0; i < 2; i++) launcher_sink_stop(&o->to[i].sink);
    uv_close((uv_handle_t *)&o->straggler, NULL);
    uv_close((uv_handle_t *)&o->folding, NULL);
}

void launcher_output_close(launcher_output **output) {
    launcher_output *o = *output;
    if (!o) return;
    for (int i = 0; i < count_channels(o); i++) {
        channel *c = channel_at(o, i);
        if (c->ends[0] >= 0) close(c->ends[0]);
        close_end(c);
        launcher_stream_free(&c->stream);
    }
    for (int i = 0; i < 2; i++) {
        launcher_log_file_close(&o->filtered[i]);
        launcher_fold_close(&o->folds[i]);
        launcher_sink_free(&o->to[i].sink);
    }
    td_free(o->channels);
    td_free(o);
    *output = NULL;
}
