/* All ranks are looked at at the same time. gdb stops a process only for as long as it looks; when it has to be
 * killed the kernel lets go of the process. */
#include "launcher/stacks.h"

#include "base/memory.h"
#include "launcher/uv.h"

#include <jansson.h>
#include <signal.h>
#include <string.h>

enum { TEXT_BYTES = 32 << 10, LIMIT_MS = 10000, OWN_WORD_MS = 300, GDB_LINES = 40 };

typedef struct look {
    launcher_stacks *stacks;
    int rank;
    uv_process_t gdb;
    uv_pipe_t pipe;
    bool made, running, reading;
    char text[TEXT_BYTES];
    size_t size;
} look;

struct launcher_stacks {
    launcher_attempt *attempt;
    uv_timer_t limit;
    bool asked_ranks, finished, stopped;
    int count;
    void (*done)(void *cookie);
    void *cookie;
    look looks[LAUNCHER_STACKS_MOST];
};

/* Did gdb see a stack? */
static bool has_frames(const look *l) { return strstr(l->text, "#0 ") != NULL; }

static void on_limit(uv_timer_t *timer);

/* gdb is through with all of them. Those that it could not look at are asked to speak for themselves. */
static void look_whether_done(launcher_stacks *s) {
    for (int i = 0; i < s->count; i++)
        if (s->looks[i].running || s->looks[i].reading) return;
    if (s->asked_ranks || s->finished) return;
    s->asked_ranks = true;
    bool any = false;
    for (int i = 0; i < s->count; i++) {
        int rank = s->looks[i].rank;
        if (has_frames(&s->looks[i]) || !td_progress_see(s->attempt->progress, rank).has_stacks) continue;
        launcher_attempt_order(s->attempt, (guardian_order){GUARDIAN_TELL_RANK, TD_PROGRESS_SIGNAL, rank});
        any = true;
    }
    uv_timer_start(&s->limit, on_limit, any ? OWN_WORD_MS : 0, 0);
}

static void on_limit(uv_timer_t *timer) {
    launcher_stacks *s = timer->data;
    if (s->asked_ranks) {
        s->finished = true;
        s->done(s->cookie);
        return;
    }
    for (int i = 0; i < s->count; i++) {
        look *l = &s->looks[i];
        if (l->running) uv_process_kill(&l->gdb, SIGKILL);
        if (l->reading) uv_read_stop((uv_stream_t *)&l->pipe);
        l->running = l->reading = false;
    }
    look_whether_done(s);
}

static void on_gdb_exit(uv_process_t *process, int64_t status, int signal) {
    look *l = process->data;
    (void)status, (void)signal;
    l->running = false;
    look_whether_done(l->stacks);
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer) {
    static char overflow[4096]; /* of no interest */
    look *l = handle->data;
    size_t room = sizeof l->text - 1 - l->size;
    (void)wanted;
    *buffer = room ? uv_buf_init(l->text + l->size, (unsigned)room) : uv_buf_init(overflow, sizeof overflow);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer) {
    look *l = stream->data;
    if (got > 0 && buffer->base == l->text + l->size) l->size += (size_t)got;
    if (got >= 0) return;
    uv_read_stop(stream);
    l->reading = false;
    look_whether_done(l->stacks);
}

/* Without gdb, or without the right to look, the text just stays empty. */
static td_status start_gdb(look *l, uv_loop_t *loop, pid_t pid) {
    char number[16];
    snprintf(number, sizeof number, "%d", (int)pid);
    char *argv[] = {"gdb",
                    "-nx",
                    "-batch",
                    "-iex",
                    "set debuginfod enabled off",
                    "-p",
                    number,
                    "-ex",
                    "thread apply all bt 30",
                    NULL};
    TD_TRY(launcher_from_uv(uv_pipe_init(loop, &l->pipe, 0), "cannot read from gdb"));
    l->made = true;
    l->pipe.data = l->gdb.data = l;
    uv_stdio_container_t standard[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&l->pipe},
        {.flags = UV_IGNORE}};
    uv_process_options_t options = {.exit_cb = on_gdb_exit,
                                    .file = "gdb",
                                    .args = argv,
                                    .stdio = standard,
                                    .stdio_count = 3,
                                    .flags = UV_PROCESS_DETACHED};
    if (uv_spawn(loop, &l->gdb, &options) != 0) return TD_OK;
    l->running = l->reading = true;
    return launcher_from_uv(uv_read_start((uv_stream_t *)&l->pipe, give_room, on_read),
                            "cannot read from gdb");
}

td_status launcher_stacks_take(launcher_attempt *attempt, uv_loop_t *loop, const int *ranks, int count,
                               void (*done)(void *cookie), void *cookie, launcher_stacks **stacks) {
    launcher_stacks *s = td_calloc(1, sizeof *s);
    if (!s) return TD_ERR_MEMORY;
    s->attempt = attempt;
    s->done = done;
    s->cookie = cookie;
    uv_timer_init(loop, &s->limit);
    s->limit.data = s;
    *stacks = s;
    uv_timer_start(&s->limit, on_limit, LIMIT_MS, 0);
    for (int i = 0; i < count && s->count < LAUNCHER_STACKS_MOST; i++) {
        look *l = &s->looks[s->count++];
        *l = (look){.stacks = s, .rank = ranks[i]};
        TD_TRY(start_gdb(l, loop, attempt->ranks[ranks[i]].pid));
    }
    look_whether_done(s);
    return TD_OK;
}

/* From the first thread on: what gdb says before is about itself. NULL when it saw nothing. */
static const char *text_of(const look *l) {
    const char *at = strstr(l->text, "\nThread ");
    if (!has_frames(l)) return NULL;
    return at ? at + 1 : strstr(l->text, "#0 ");
}

static void print_look(const look *l, FILE *out) {
    const char *at = text_of(l);
    if (!at) return;
    fprintf(out, "tandem: where rank %d (pid %d) is:\n", l->rank,
            (int)l->stacks->attempt->ranks[l->rank].pid);
    for (int lines = 0; *at && lines < GDB_LINES; lines++) {
        size_t n = strcspn(at, "\n");
        if (n > 0 && *at != '[') fprintf(out, "  | %.*s\n", (int)n, at);
        at += n + (at[n] == '\n');
    }
}

void launcher_stacks_print(const launcher_stacks *stacks, FILE *out) {
    for (int i = 0; i < stacks->count; i++) print_look(&stacks->looks[i], out);
}

json_t *launcher_stacks_describe(const launcher_stacks *stacks) {
    json_t *array = json_array();
    for (int i = 0; stacks && i < stacks->count; i++) {
        const char *text = text_of(&stacks->looks[i]);
        if (text)
            json_array_append_new(array,
                                  json_pack("{s:i, s:s}", "rank", stacks->looks[i].rank, "text", text));
    }
    return array;
}

void launcher_stacks_stop(launcher_stacks *s) {
    if (!s || s->stopped) return;
    s->finished = s->stopped = true;
    uv_close((uv_handle_t *)&s->limit, NULL);
    for (int i = 0; i < s->count; i++) {
        look *l = &s->looks[i];
        if (l->running) uv_process_kill(&l->gdb, SIGKILL);
        if (l->made) uv_close((uv_handle_t *)&l->pipe, NULL);
        if (l->gdb.type == UV_PROCESS) uv_close((uv_handle_t *)&l->gdb, NULL);
    }
}

void launcher_stacks_close(launcher_stacks **stacks) {
    td_free(*stacks);
    *stacks = NULL;
}
