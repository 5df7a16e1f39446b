/* Reading what a flight recorder wrote. The file may be cut off, damaged or something else altogether: every value
 * is looked at before it is believed, and what is wrong is told with its line. */
#include "base/file.h"
#include "base/memory.h"
#include "tools/trace.h"

#include <jansson.h>
#include <string.h>

enum { MOST_BYTES = 256 << 20, MOST_GROUPS = 64 };

/* Where the reader is, for messages. */
typedef struct reader {
    trace_file *file;
    int line, group_room, call_room;
    bool ended;
} reader;

static td_status wrong(const reader *r, const char *what) {
    return td_fail(TD_ERR_FORMAT, 0, "trace", "%s, line %d: %s", r->file->path, r->line, what);
}

/* A number in a range; a missing one is wrong. */
static td_status get_number(const reader *r, const json_t *line, const char *key, int64_t least, int64_t most,
                            int64_t *value) {
    const json_t *found = json_object_get(line, key);
    int64_t number = json_integer_value(found);
    if (json_is_integer(found) && number >= least && number <= most) {
        *value = number;
        return TD_OK;
    }
    return td_fail(TD_ERR_FORMAT, 0, "trace", "%s, line %d: \"%s\" is %s", r->file->path, r->line, key,
                   !found                   ? "missing"
                   : json_is_integer(found) ? "out of range"
                                            : "no number");
}

static td_status get_int(const reader *r, const json_t *line, const char *key, int64_t least, int64_t most,
                         int *value) {
    int64_t number = 0;
    TD_TRY(get_number(r, line, key, least, most, &number));
    *value = (int)number;
    return TD_OK;
}

/* Text of at most `room` - 1 bytes. */
static td_status get_text(const reader *r, const json_t *line, const char *key, char *text, size_t room) {
    const json_t *found = json_object_get(line, key);
    if (!json_is_string(found) || json_string_length(found) >= room ||
        json_string_length(found) != strlen(json_string_value(found)))
        return td_fail(TD_ERR_FORMAT, 0, "trace", "%s, line %d: \"%s\" is %s", r->file->path, r->line, key,
                       !found                  ? "missing"
                       : json_is_string(found) ? "too long"
                                               : "no text");
    strcpy(text, json_string_value(found));
    return TD_OK;
}

static td_status read_head(reader *r, const json_t *line) {
    trace_file *f = r->file;
    int64_t version = 0;
    if (!json_object_get(line, "tandem_trace")) return wrong(r, "this is no record of a Tandem rank");
    TD_TRY(get_number(r, line, "tandem_trace", 1, INT32_MAX, &version));
    if (version != 1) return wrong(r, "the record is of a newer version than this program knows");
    TD_TRY(get_int(r, line, "world_size", 1, 1 << 16, &f->world_size));
    TD_TRY(get_int(r, line, "rank", 0, f->world_size - 1, &f->rank));
    TD_TRY(get_int(r, line, "node", 0, 1 << 24, &f->node));
    TD_TRY(get_int(r, line, "attempt", 0, INT32_MAX, &f->attempt));
    TD_TRY(get_int(r, line, "written_by", -1, 1 << 24, &f->written_by));
    TD_TRY(get_number(r, line, "pid", 0, INT32_MAX, &f->pid));
    TD_TRY(get_number(r, line, "written_ns", 0, INT64_MAX / 4, &f->written_ns));
    TD_TRY(
        get_number(r, line, "wall_minus_clock_ns", -INT64_MAX / 4, INT64_MAX / 4, &f->wall_minus_clock_ns));
    TD_TRY(get_number(r, line, "recorded", 0, INT64_MAX, &f->recorded));
    f->final = json_is_true(json_object_get(line, "final"));
    TD_TRY(get_text(r, line, "host", f->host, sizeof f->host));
    TD_TRY(get_text(r, line, "job", f->job, sizeof f->job));
    return get_text(r, line, "reason", f->reason, sizeof f->reason);
}

/* Room for one more; NULL when there is no memory. */
static void *grow(void *list, int count, int *room, size_t size) {
    if (count < *room) return list;
    int larger = *room ? 2 * *room : 64;
    void *moved = td_realloc(list, (size_t)larger, size);
    if (moved) *room = larger;
    return moved;
}

static td_status read_group(reader *r, const json_t *line) {
    trace_file *f = r->file;
    if (f->group_count == MOST_GROUPS) return wrong(r, "too many groups");
    trace_group *groups = grow(f->groups, f->group_count, &r->group_room, sizeof *groups), g = {0};
    if (!groups) return TD_ERR_MEMORY;
    f->groups = groups;
    char state[16];
    TD_TRY(get_int(r, line, "group", 0, 65535, &g.group));
    TD_TRY(get_int(r, line, "size", 1, f->world_size, &g.size));
    TD_TRY(get_int(r, line, "rank", 0, g.size - 1, &g.rank));
    TD_TRY(get_int(r, line, "ordinal", 0, INT32_MAX, &g.ordinal));
    TD_TRY(get_text(r, line, "ranks", g.ranks, sizeof g.ranks));
    TD_TRY(get_text(r, line, "backend", g.backend, sizeof g.backend));
    TD_TRY(get_text(r, line, "state", state, sizeof state));
    g.broken = strcmp(state, "broken") == 0;
    if (g.broken) TD_TRY(get_text(r, line, "cause", g.cause, sizeof g.cause));
    f->groups[f->group_count++] = g;
    return TD_OK;
}

static td_status read_state(const reader *r, const json_t *line, trace_call *call) {
    static const char *const names[] = {"posted", "done", "failed"};
    char state[16];
    TD_TRY(get_text(r, line, "state", state, sizeof state));
    for (int i = 0; i < 3; i++) {
        call->state = (trace_state)i;
        if (strcmp(state, names[i]) == 0) return TD_OK;
    }
    return wrong(r, "\"state\" is none of posted, done, failed");
}

static td_status read_call(reader *r, const json_t *line) {
    trace_file *f = r->file;
    trace_call *calls = grow(f->calls, f->call_count, &r->call_room, sizeof *calls), c = {.tag = -1};
    if (!calls) return TD_ERR_MEMORY;
    f->calls = calls;
    TD_TRY(get_number(r, line, "call", 1, INT64_MAX - 1, &c.number));
    TD_TRY(get_int(r, line, "group", 0, 65535, &c.group));
    TD_TRY(get_text(r, line, "kind", c.kind, sizeof c.kind));
    TD_TRY(get_text(r, line, "op", c.op, sizeof c.op));
    TD_TRY(get_text(r, line, "dtype", c.dtype, sizeof c.dtype));
    if (json_object_get(line, "label")) TD_TRY(get_text(r, line, "label", c.label, sizeof c.label));
    if (json_object_get(line, "tag")) TD_TRY(get_int(r, line, "tag", 0, INT32_MAX, &c.tag));
    if (json_object_get(line, "more")) TD_TRY(get_number(r, line, "more", 0, INT64_MAX, &c.more));
    TD_TRY(get_number(r, line, "count", 0, INT64_MAX, &c.count));
    TD_TRY(get_int(r, line, "root", -1, 1 << 24, &c.root));
    TD_TRY(get_number(r, line, "step", 0, INT64_MAX, &c.step));
    TD_TRY(get_number(r, line, "posted", 0, INT64_MAX / 4, &c.posted));
    TD_TRY(get_number(r, line, "done", 0, INT64_MAX / 4, &c.done));
    TD_TRY(read_state(r, line, &c));
    if (c.state == TRACE_DONE && c.done < c.posted) return wrong(r, "a call is done before it was posted");
    f->calls[f->call_count++] = c;
    return TD_OK;
}

static td_status read_end(reader *r, const json_t *line) {
    int64_t count = 0;
    TD_TRY(get_number(r, line, "end", 0, INT64_MAX, &count));
    if (count != r->file->call_count) return wrong(r, "some calls are missing");
    r->ended = true;
    return TD_OK;
}

static td_status read_line(reader *r, const json_t *line) {
    if (!json_is_object(line)) return wrong(r, "this is no JSON object");
    if (r->ended) return wrong(r, "something follows the end");
    if (r->line == 1) return read_head(r, line);
    if (json_object_get(line, "call")) return read_call(r, line);
    if (json_object_get(line, "ranks")) return read_group(r, line);
    if (json_object_get(line, "end")) return read_end(r, line);
    return wrong(r, "a line of no known kind");
}

td_status trace_parse(const char *bytes, size_t size, const char *path, trace_file *file) {
    trace_file made = {0};
    reader r = {.file = &made};
    td_status status = TD_OK;
    snprintf(made.path, sizeof made.path, "%s", path);
    for (size_t at = 0; at < size && status >= 0;) {
        const char *end = memchr(bytes + at, '\n', size - at);
        r.line++;
        if (!end) {
            status = wrong(&r, "the file ends in the middle of a line");
            break;
        }
        json_t *line = json_loadb(bytes + at, (size_t)(end - (bytes + at)), JSON_REJECT_DUPLICATES, NULL);
        status = read_line(&r, line);
        json_decref(line);
        at = (size_t)(end - bytes) + 1;
    }
    if (status >= 0 && !r.ended) {
        r.line++;
        status = wrong(&r, r.line == 1 ? "the file is empty" : "the file ends too early");
    }
    if (status < 0) {
        trace_clear(&made);
        return status;
    }
    *file = made;
    return TD_OK;
}

td_status trace_read(const char *path, trace_file *file) {
    void *bytes;
    size_t size;
    TD_TRY(td_file_read(path, MOST_BYTES, &bytes, &size));
    td_status status = trace_parse(bytes, size, path, file);
    td_free(bytes);
    return status;
}

void trace_clear(trace_file *file) {
    td_free(file->groups);
    td_free(file->calls);
    *file = (trace_file){0};
}

trace_text trace_describe(const trace_call *c) {
    trace_text out;
    char op[24] = "", much[40] = "", place[32] = "", label[40] = "";
    if (*c->op) snprintf(op, sizeof op, "(%s)", c->op);
    if (*c->dtype) snprintf(much, sizeof much, " of %lld %s", (long long)c->count, c->dtype);
    if (c->root >= 0)
        snprintf(place, sizeof place, strcmp(c->kind, "send") == 0 ? " to rank %d" : " from rank %d",
                 c->root);
    if (*c->label) snprintf(label, sizeof label, " \"%s\"", c->label);
    snprintf(out.text, sizeof out.text, "%s%s%s%s%s", c->kind, op, much, place, label);
    return out;
}
