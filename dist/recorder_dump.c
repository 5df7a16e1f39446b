/*
 * A recorder as lines of JSON: one for the rank, one for each group, one for each collective from the oldest to
 * the newest, and one that says how many there were, by which a reader sees that nothing is missing. Times are
 * nanoseconds of the machine's monotonic clock.
 */
#include "dist/recorder_dump.h"

#include "base/file.h"
#include "base/memory.h"
#include "dist/recorder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct clock_map {
    double ns_per_tick;
    int64_t now_ns;
} clock_map;

/* What others wrote may have been cut in the middle of a character. */
typedef struct plain_text {
    char text[512];
} plain_text;
static plain_text plain(const char *text) {
    plain_text out;
    size_t i = 0;
    for (; text[i] && i < sizeof out.text - 1; i++)
        out.text[i] = (text[i] >= ' ' && text[i] < 127) ? text[i] : '?';
    out.text[i] = 0;
    return out;
}

/* The rate is measured over the recorder's whole life; a very short one is waited out. */
static clock_map map_clock(const td_recorder *r) {
    enum { LEAST_NS = 2000000 };
    if (!r->ticks_are_tsc) return (clock_map){1, td_clock_ns()};
    if (td_clock_ns() - r->opened_ns < LEAST_NS) usleep(LEAST_NS / 1000);
    int64_t now = td_clock_ns();
    return (clock_map){(double)(now - r->opened_ns) / (double)(td_recorder_ticks(r) - r->opened_ticks), now};
}

static int64_t to_ns(const td_recorder *r, const clock_map *map, uint64_t ticks) {
    if (!ticks) return 0;
    return r->opened_ns + (int64_t)((double)(int64_t)(ticks - r->opened_ticks) * map->ns_per_tick);
}

/* The line is *given*. */
static td_status write_line(td_file_writer *writer, json_t *line) {
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (!text) return td_fail(TD_ERR_MEMORY, 0, "dist", "no memory for a line of the flight recorder");
    size_t n = strlen(text);
    text[n] = '\n'; /* over the closing zero, which is not written */
    td_status status = td_file_write(writer, text, n + 1);
    free(text);
    return status;
}

static td_status write_rank(td_file_writer *w, const td_recorder *r, const clock_map *map,
                            const td_record_note *note) {
    return write_line(
        w, json_pack("{si si si si si ss si ss si ss si sb sI sI sI}", "tandem_trace", 1, "rank", r->rank,
                     "world_size", r->world_size, "local_rank", r->local_rank, "node", r->node, "host",
                     plain(r->host).text, "pid", r->pid, "job", plain(r->job).text, "attempt", r->attempt,
                     "reason", plain(note->reason).text, "written_by", note->by, "final", note->final,
                     "written_ns", (json_int_t)map->now_ns, "wall_minus_clock_ns",
                     (json_int_t)r->wall_minus_clock_ns, "recorded", (json_int_t)atomic_load(&r->head)));
}

static td_status write_group(td_file_writer *w, const td_record_group *g) {
    static const char *const states[] = {"open", "broken", "closed", "broken"};
    uint32_t serial = atomic_load(&g->serial), state = atomic_load(&g->state);
    if (!serial) return TD_OK;
    json_t *line = json_pack("{si ss si si ss si ss}", "group", (int)(serial & 0xffff), "ranks",
                             plain(g->ranks).text, "size", g->size, "rank", g->rank, "backend",
                             plain(g->backend).text, "ordinal", (int)g->ordinal, "state", states[state & 3]);
    if (line && state & TD_RECORD_GROUP_BROKEN)
        json_object_set_new(line, "cause", json_string(plain(g->cause).text));
    return write_line(w, line);
}

/* What a record said at one moment; false if it was just being written. */
static bool take(const td_record *record, td_record *copy) {
    uint64_t turn = atomic_load_explicit(&record->turn, memory_order_acquire);
    copy->posted = atomic_load_explicit(&record->posted, memory_order_relaxed);
    copy->started = atomic_load_explicit(&record->started, memory_order_relaxed);
    copy->done = atomic_load_explicit(&record->done, memory_order_relaxed);
    copy->number = atomic_load_explicit(&record->number, memory_order_relaxed);
    copy->shape = atomic_load_explicit(&record->shape, memory_order_relaxed);
    copy->count = atomic_load_explicit(&record->count, memory_order_relaxed);
    copy->where = atomic_load_explicit(&record->where, memory_order_relaxed);
    copy->turn = turn;
    atomic_thread_fence(memory_order_acquire);
    return turn >> 8 && atomic_load_explicit(&record->turn, memory_order_relaxed) >> 8 == turn >> 8;
}

static td_status write_record(td_file_writer *w, const td_recorder *r, const clock_map *map,
                              const td_record *c) {
    static const char *const states[] = {"?", "posted", "done", "failed"};
    static const td_call_traits unknown = {0};
    unsigned kind = c->shape & 0xff, label = c->where >> 16 & 0xffff, state = c->turn & 0xff;
    unsigned more = c->shape >> 48;
    const td_call_traits *traits = kind < TD_CALL_COUNT ? td_call_traits_of((td_call_kind)kind) : &unknown;
    uint64_t posted = c->done && c->done < c->posted ? c->done : c->posted; /* done while it was posted */
    uint64_t done = !c->done && state == TD_RECORD_DONE ? posted : c->done;
    json_t *line = json_pack("{sI si ss ss ss sI si ss sI sI sI sI}", "call",
                             (json_int_t)(c->number & ((UINT64_C(1) << TD_RECORD_TAG_BIT) - 1)), "group",
                             (int)(c->where & 0xffff), "kind", td_call_name((td_call_kind)kind), "op",
                             traits->reduces ? td_reduce_name((td_reduce)(c->shape >> 16 & 0xff)) : "",
                             "dtype", traits->has_data ? td_dtype_name((td_dtype)(c->shape >> 8 & 0xff)) : "",
                             "count", (json_int_t)c->count, "root",
                             traits->rooted || traits->pairs ? (int)(c->shape >> 32 & 0xffff) : -1, "state",
                             states[state < 4 ? state : 0], "step", (json_int_t)(c->where >> 32), "posted",
                             (json_int_t)(posted ? to_ns(r, map, posted) : map->now_ns), "started",
                             (json_int_t)to_ns(r, map, c->started), "done", (json_int_t)to_ns(r, map, done));
    if (line && label && label <= TD_RECORD_LABELS)
        json_object_set_new(line, "label", json_string(plain(r->label[label - 1]).text));
    if (line && traits->pairs)
        json_object_set_new(line, "tag", json_integer((json_int_t)(c->number >> TD_RECORD_TAG_BIT)));
    if (line && more)
        json_object_set_new(line, "more", json_integer(more)); /* stands for counts or a factor */
    return write_line(w, line);
}

static td_status write_all(td_file_writer *w, const td_recorder *r, const td_record_note *note) {
    clock_map map = map_clock(r);
    if (note->at_ns) map.now_ns = note->at_ns;
    TD_TRY(write_rank(w, r, &map, note));
    for (int i = 0; i < TD_RECORD_GROUPS; i++) TD_TRY(write_group(w, &r->group[i]));
    uint64_t head = atomic_load(&r->head), written = 0;
    for (uint64_t i = head > TD_RECORDS ? head - TD_RECORDS : 0; i < head; i++) {
        td_record copy;
        if (!take(&r->ring[i % TD_RECORDS], &copy) || copy.turn >> 8 != i + 1) continue;
        TD_TRY(write_record(w, r, &map, &copy));
        written++;
    }
    return write_line(w, json_pack("{sI}", "end", (json_int_t)written));
}

td_status td_recorder_write(const td_recorder *r, const char *folder, const td_record_note *note) {
    char path[PATH_MAX], attempt[32] = "";
    if (r->attempt > 0) snprintf(attempt, sizeof attempt, "-attempt-%d", r->attempt);
    if (snprintf(path, sizeof path, "%s/tandem%s-rank-%d.jsonl", folder, attempt, r->rank) >=
        (int)sizeof path)
        return td_fail_errno(ENAMETOOLONG, "dist", "%s", folder);
    if (mkdir(folder, 0777) && errno != EEXIST) return td_fail_errno(errno, "dist", "cannot make %s", folder);
    td_file_writer *writer = NULL;
    TD_TRY(td_file_begin(path, &writer));
    td_status status = write_all(writer, r, note);
    if (status >= 0) return td_file_commit(&writer);
    td_file_drop(&writer);
    return status;
}

/* The recorder of a local rank, or NULL when there is none that this build can read. */
static const td_recorder *find_in(const td_segment *segment, int local_rank) {
    uint64_t at, offset = atomic_load(&td_segment_seat((td_segment *)segment, local_rank)->recorder);
    if (!offset || offset % TD_SEGMENT_PAGE) return NULL;
    const td_recorder *r = td_segment_at(segment, offset);
    if (!td_segment_offset(segment, r, sizeof *r, &at)) return NULL;
    return atomic_load_explicit(&r->layout, memory_order_acquire) == TD_RECORDER_LAYOUT ? r : NULL;
}

/* Which records of a segment to write, and as what. */
typedef struct request {
    const td_recorder *except;
    bool unwritten; /* only of ranks that have not done it themselves */
    const char *folder;
    td_record_note note;
} request;

/* The first failure, after all were tried. *files counts those left out too, as they are there already. */
static td_status write_segment(const td_segment *segment, const request *q, int *files) {
    td_status status = TD_OK;
    td_error first;
    for (int i = 0; i < TD_SEGMENT_RANKS_MAX; i++) {
        const td_recorder *r = find_in(segment, i);
        if (!r || r == q->except) continue;
        if ((q->unwritten && atomic_load(&r->written)) || td_recorder_write(r, q->folder, &q->note) >= 0) {
            ++*files;
        } else if (status == TD_OK) {
            first = *td_error_last();
            status = first.status;
        }
    }
    if (status < 0) td_error_restore(&first);
    return status;
}

td_status td_recorder_dump(td_job *job, const char *folder, bool all, td_record_note note) {
    int files = 0;
    note.by = job->facts.rank;
    if (!job->recorder)
        return td_fail(TD_ERR_STATE, 0, "dist", "nothing has been recorded: the job has had no group yet");
    TD_TRY(td_recorder_write(job->recorder, folder, &note));
    if (!all || !job->segment) return TD_OK;
    request others = {.except = job->recorder, .unwritten = note.final, .folder = folder, .note = note};
    others.note.final = false; /* they may not even know yet */
    return write_segment(job->segment, &others, &files);
}

td_status td_job_dump(td_job *job, const char *folder, bool all, const char *reason) {
    return td_recorder_dump(job, folder, all, (td_record_note){.reason = reason});
}

static td_status write_descriptor(int fd, const request *q, int *files) {
    td_segment *segment = NULL;
    int found = 0;
    TD_TRY(td_segment_look(fd, &segment));
    td_status status = write_segment(segment, q, &found);
    td_segment_release(&segment);
    if (status >= 0) *files = found;
    return status;
}

td_status td_trace_arena(int fd, const char *folder, const char *reason, int64_t at_ns, int *files) {
    struct stat about;
    if (!fstat(fd, &about) && about.st_size == 0) return *files = 0, TD_OK; /* no rank has used it */
    td_record_note note = {.reason = reason, .by = -1, .final = true, .at_ns = at_ns};
    request q = {.unwritten = true, .folder = folder, .note = note};
    return write_descriptor(fd, &q, files);
}

/* Write from the descriptor of a process if it is ranks' shared memory; TD_PENDING if it is something else. */
static td_status write_from(int64_t pid, const char *name, const char *folder, int *files) {
    char path[PATH_MAX], target[64] = "";
    static const char wanted[] = "/memfd:tandem-arena";
    snprintf(path, sizeof path, "/proc/%lld/fd/%s", (long long)pid, name);
    if (readlink(path, target, sizeof target - 1) < 0 || strncmp(target, wanted, sizeof wanted - 1) != 0)
        return TD_PENDING;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return td_fail_errno(errno, "dist", "cannot open %s", path);
    request q = {.folder = folder, .note = {.reason = "asked for", .by = -1}};
    td_status status = write_descriptor(fd, &q, files);
    close(fd);
    return status;
}

td_status td_trace_live(int64_t pid, const char *folder, int *files) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/fd", (long long)pid);
    DIR *descriptors = opendir(path);
    if (!descriptors) return td_fail_errno(errno, "dist", "cannot look at process %lld", (long long)pid);
    td_status status = TD_PENDING;
    int written = 0;
    for (struct dirent *entry; status == TD_PENDING && (entry = readdir(descriptors));)
        status = write_from(pid, entry->d_name, folder, &written);
    closedir(descriptors);
    if (status == TD_PENDING || (status >= 0 && !written))
        return td_fail(
            TD_ERR_STATE, 0, "dist",
            "process %lld is no rank, and no launcher of ranks, that share memory: name one whose ranks "
            "have opened a group",
            (long long)pid);
    if (status >= 0) *files = written;
    return status;
}
