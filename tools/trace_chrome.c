/*
 * The records in Chrome's trace event format, which ui.perfetto.dev and chrome://tracing open: a process per rank,
 * in it a track per group, and further ones where calls overlap. Each call is a slice; in it, "waiting" lasts until
 * the last rank has come. A call that was never done has a beginning only.
 */
#include "base/file.h"
#include "base/memory.h"
#include "tools/trace.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 8 }; /* tracks of a group; calls beyond that many at once share the last */

typedef struct chrome {
    const trace_job *job;
    td_file_writer *writer;
    int64_t start_ns; /* of everything */
    bool first;
} chrome;

/* The event is *given*. */
static td_status write_event(chrome *c, json_t *event) {
    char *text = event ? json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(event);
    if (!text) return td_fail(TD_ERR_MEMORY, 0, "trace", "no memory for a line of the trace");
    td_status status = td_file_write(c->writer, c->first ? "\n" : ",\n", c->first ? 1 : 2);
    if (status >= 0) status = td_file_write(c->writer, text, strlen(text));
    c->first = false;
    free(text);
    return status;
}

static double us(const chrome *c, int64_t ns) { return (double)(ns - c->start_ns) * 1e-3; }

static td_status name_it(chrome *c, const char *what, int process, int track, const char *name) {
    return write_event(c, json_pack("{ss ss si si s{ss}}", "name", what, "ph", "M", "pid", process, "tid",
                                    track, "args", "name", name));
}

static const trace_merged *merged_of(const trace_job *job, const trace_file *file, const trace_group *g) {
    for (int i = 0; i < job->group_count; i++) {
        const trace_merged *m = &job->groups[i];
        if (g->rank < m->size && m->members[g->rank].file == file && m->ordinal == g->ordinal &&
            strcmp(m->ranks, g->ranks) == 0)
            return m;
    }
    return NULL;
}

static td_status write_call(chrome *c, const trace_file *f, const trace_call *call, int track, int64_t came) {
    const char *name = *call->label ? call->label : call->kind;
    int64_t posted = trace_time(f, call->posted), done = trace_time(f, call->done);
    bool finished = call->state == TRACE_DONE;
    json_t *event = json_pack("{ss ss ss si si sf s{sI ss sI ss}}", "name", name, "cat", call->kind, "ph",
                              finished ? "X" : "B", "pid", f->rank, "tid", track, "ts", us(c, posted), "args",
                              "number", (json_int_t)call->number, "call", trace_describe(call).text, "step",
                              (json_int_t)call->step, "state",
                              finished                      ? "done"
                              : call->state == TRACE_FAILED ? "failed"
                                                            : "posted");
    if (event && finished) json_object_set_new(event, "dur", json_real((double)(done - posted) * 1e-3));
    TD_TRY(write_event(c, event));
    if (!finished || came <= posted) return TD_OK;
    if (came > done) came = done; /* clocks of two machines */
    return write_event(c, json_pack("{ss ss ss si si sf sf}", "name", "waiting", "cat", "waiting", "ph", "X",
                                    "pid", f->rank, "tid", track, "ts", us(c, posted), "dur",
                                    (double)(came - posted) * 1e-3));
}

static td_status write_group(chrome *c, const trace_file *f, int index) {
    const trace_group *g = &f->groups[index];
    const trace_merged *m = merged_of(c->job, f, g);
    int64_t busy_until[LANES] = {0};
    bool named[LANES] = {false};
    for (int i = 0; i < f->call_count; i++) {
        const trace_call *call = &f->calls[i];
        if (call->group != g->group) continue;
        int lane = 0;
        while (lane < LANES - 1 && busy_until[lane] > call->posted) lane++;
        busy_until[lane] = call->state == TRACE_DONE ? call->done : INT64_MAX;
        int track = index * LANES + lane + 1;
        char name[160];
        snprintf(name, sizeof name, "%s %s%s", g->backend, g->ranks, lane ? ", at the same time" : "");
        if (!named[lane]) TD_TRY(name_it(c, "thread_name", f->rank, track, name));
        named[lane] = true;
        bool pair = strcmp(call->kind, "send") == 0 || strcmp(call->kind, "recv") == 0;
        TD_TRY(write_call(c, f, call, track, m && !pair ? trace_all_came(m, call->number) : 0));
    }
    return TD_OK;
}

static td_status write_file(chrome *c, const trace_file *f) {
    char name[128];
    snprintf(name, sizeof name, "rank %d (%s, process %lld)", f->rank, f->host, (long long)f->pid);
    TD_TRY(name_it(c, "process_name", f->rank, 0, name));
    TD_TRY(write_event(c, json_pack("{ss ss si si s{si}}", "name", "process_sort_index", "ph", "M", "pid",
                                    f->rank, "tid", 0, "args", "sort_index", f->rank)));
    for (int g = 0; g < f->group_count; g++) TD_TRY(write_group(c, f, g));
    return TD_OK;
}

static int64_t find_start(const trace_job *job) {
    int64_t start = INT64_MAX;
    for (int i = 0; i < job->file_count; i++)
        for (int k = 0; k < job->files[i].call_count; k++) {
            int64_t at = trace_time(&job->files[i], job->files[i].calls[k].posted);
            if (at < start) start = at;
        }
    return start == INT64_MAX ? 0 : start;
}

static td_status write_all(chrome *c) {
    static const char head[] = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", tail[] = "\n]}\n";
    TD_TRY(td_file_write(c->writer, head, sizeof head - 1));
    for (int i = 0; i < c->job->file_count; i++) TD_TRY(write_file(c, &c->job->files[i]));
    return td_file_write(c->writer, tail, sizeof tail - 1);
}

td_status trace_write_chrome(const trace_job *job, const char *path) {
    chrome c = {.job = job, .start_ns = find_start(job), .first = true};
    TD_TRY(td_file_begin(path, &c.writer));
    td_status status = write_all(&c);
    if (status >= 0) return td_file_commit(&c.writer);
    td_file_drop(&c.writer);
    return status;
}
