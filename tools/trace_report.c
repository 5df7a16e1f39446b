/*
 * What is wrong, from the records alone: calls that differ, ranks that never came to a call which others wait in,
 * calls that all began and not all finished, ranks without a record; and who was late how often. A rank that has
 * merely not come yet, in a job that was looked at while it ran, is not reported: others must have waited for a
 * second, or the group be broken.
 */
#include "base/memory.h"
#include "base/number.h"
#include "tools/trace.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STRAGGLERS = 5 };
static const int64_t LEAST_WAIT_NS = 1000000000;

typedef struct report {
    const trace_job *job;
    FILE *out;
    bool json;
    bool wrong;
} report;

/* One line; the row is *given*. */
static td_status say_row(const report *r, json_t *row) {
    char *text = row ? json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(row);
    if (!text) return td_fail(TD_ERR_MEMORY, 0, "trace", "no memory for the report");
    fprintf(r->out, "%s\n", text);
    free(text);
    return TD_OK;
}

static const char *plural(int64_t count) { return count == 1 ? "" : "s"; }

static void add_call(json_t *row, const trace_call *c) {
    json_object_set_new(row, "number", json_integer(c->number));
    json_object_set_new(row, "call", json_string(trace_describe(c).text));
    json_object_set_new(row, "kind", json_string(c->kind));
    json_object_set_new(row, "label", *c->label ? json_string(c->label) : json_null());
    json_object_set_new(row, "step", json_integer(c->step));
}

/* " of step 12", or nothing outside of training. */
static trace_text step_of(const trace_call *c) {
    trace_text out = {""};
    if (c->step) snprintf(out.text, sizeof out.text, " of step %lld", (long long)c->step);
    return out;
}

/* --- ranks ---------------------------------------------------------------------------------------------- */

static td_status say_rank(const report *r, const trace_file *f) {
    const char *lost = f->recorded > f->call_count ? "; older ones are gone" : "";
    if (r->json)
        return say_row(r, json_pack("{ss si ss sI si sI ss si sf}", "trace", "rank", "rank", f->rank, "host",
                                    f->host, "pid", (json_int_t)f->pid, "calls", f->call_count, "recorded",
                                    (json_int_t)f->recorded, "reason", f->reason, "written_by", f->written_by,
                                    "clock_shift_us", (double)f->shift_ns * 1e-3));
    fprintf(r->out, "rank %d on %s, process %lld: %s call%s%s", f->rank, f->host, (long long)f->pid,
            td_format_count(f->call_count).text, plural(f->call_count), lost);
    if (f->written_by >= 0 && f->written_by != f->rank)
        fprintf(r->out, "; written by rank %d", f->written_by);
    fprintf(r->out, "\n");
    return TD_OK;
}

static td_status say_absent(report *r, int rank) {
    if (r->json) return say_row(r, json_pack("{ss si}", "trace", "no_record", "rank", rank));
    fprintf(r->out, "rank %d: no record\n", rank);
    return TD_OK;
}

static td_status say_ranks(report *r) {
    enum { MOST_ABSENT = 16 };
    int world = r->job->files[0].world_size, next = 0, absent = world - r->job->file_count;
    for (int i = 0; i < r->job->file_count; i++) {
        for (; next < r->job->files[i].rank; next++)
            if (absent <= MOST_ABSENT) TD_TRY(say_absent(r, next));
        TD_TRY(say_rank(r, &r->job->files[i]));
        next++;
    }
    for (; next < world; next++)
        if (absent <= MOST_ABSENT) TD_TRY(say_absent(r, next));
    if (absent > MOST_ABSENT && !r->json) fprintf(r->out, "%d ranks left no record\n", absent);
    return TD_OK;
}

/* --- a group -------------------------------------------------------------------------------------------- */

static td_status say_cause(report *r, const trace_merged *g) {
    if (!g->broken) return TD_OK;
    r->wrong = true;
    if (r->json)
        return say_row(r, json_pack("{ss ss si ss}", "trace", "broken", "ranks", g->ranks, "ordinal",
                                    g->ordinal, "cause", g->cause));
    fprintf(r->out, "the group of ranks %s is broken: %s\n", g->ranks, g->cause);
    return TD_OK;
}

static bool is_same_call(const trace_call *a, const trace_call *b) {
    return strcmp(a->kind, b->kind) == 0 && strcmp(a->op, b->op) == 0 && strcmp(a->dtype, b->dtype) == 0 &&
           a->count == b->count && a->root == b->root && a->more == b->more;
}

/* The first member that has this call on record, before member `limit`; -1: none. */
static int first_with(const trace_merged *g, int64_t number, int limit) {
    for (int r = 0; r < limit; r++)
        if (trace_find(&g->members[r], number)) return r;
    return -1;
}

/* The first call that two members made differently; 0: there is none. */
static int64_t find_difference(const trace_merged *g, int *a, int *b) {
    int64_t first = 0;
    for (int m = 1; m < g->size; m++)
        for (int i = 0; i < g->members[m].count; i++) {
            const trace_call *c = g->members[m].by_number[i];
            if (first && c->number >= first) break;
            int other = first_with(g, c->number, m);
            if (other < 0 || is_same_call(trace_find(&g->members[other], c->number), c)) continue;
            first = c->number;
            *a = other;
            *b = m;
        }
    return first;
}

static int64_t newest_of(const trace_merged *g) {
    int64_t newest = 0;
    for (int r = 0; r < g->size; r++) {
        const trace_member *m = &g->members[r];
        if (m->count && m->by_number[m->count - 1]->number > newest)
            newest = m->by_number[m->count - 1]->number;
    }
    return newest;
}

static td_status say_mismatch(report *r, const trace_merged *g, bool *differ) {
    int a = 0, b = 0;
    int64_t first = find_difference(g, &a, &b);
    *differ = first > 0;
    if (!first) return TD_OK;
    r->wrong = true;
    const trace_call *x = trace_find(&g->members[a], first), *y = trace_find(&g->members[b], first);
    int rank_x = g->members[a].file->rank, rank_y = g->members[b].file->rank;
    if (r->json)
        return say_row(r, json_pack("{ss ss si sI si ss si ss}", "trace", "mismatch", "ranks", g->ranks,
                                    "ordinal", g->ordinal, "number", (json_int_t)first, "rank", rank_x,
                                    "call", trace_describe(x).text, "other_rank", rank_y, "other_call",
                                    trace_describe(y).text));
    fprintf(r->out, "call %lld of the group of ranks %s%s: rank %d calls %s, but rank %d calls %s%s\n",
            (long long)first, g->ranks, step_of(x).text, rank_x, trace_describe(x).text, rank_y,
            trace_describe(y).text,
            x->more != y->more && x->count == y->count ? " with other counts or another factor" : "");
    return TD_OK;
}

/* Will nothing more come? */
static bool is_over(const trace_merged *g) {
    for (int r = 0; r < g->size; r++)
        if (g->members[r].file && g->members[r].file->final) return true;
    return g->broken;
}

/* How long members have been in this call without an end, on the common clock; 0: nobody is. `waiting` receives
 * the job's ranks of those, as text and as an array. */
static int64_t see_waiting(const trace_merged *g, int64_t number, const trace_call **call, char *text,
                           size_t room, json_t *array) {
    int64_t since = INT64_MAX, until = 0;
    size_t used = 0;
    *text = 0;
    *call = NULL;
    for (int r = 0; r < g->size; r++) {
        const trace_member *m = &g->members[r];
        const trace_call *c = m->file ? trace_find(m, number) : NULL;
        if (!c) continue;
        if (!*call) *call = c;
        if (c->state == TRACE_DONE) continue;
        int64_t posted = trace_time(m->file, c->posted);
        int64_t seen =
            trace_time(m->file, c->state == TRACE_FAILED && c->done ? c->done : m->file->written_ns);
        if (posted < since) since = posted;
        if (seen > until) until = seen;
        if (used < room)
            used += (size_t)snprintf(text + used, room - used, "%s%d", used ? ", " : "", m->file->rank);
        json_array_append_new(array, json_integer(m->file->rank));
    }
    return until > since ? until - since : 0;
}

static td_status say_missing(report *r, const trace_merged *g, int member, int64_t newest) {
    const trace_member *m = &g->members[member];
    int64_t last = m->count ? m->by_number[m->count - 1]->number : 0;
    if (last >= newest) return TD_OK;
    if (m->file && !m->count && m->file->recorded > m->file->call_count)
        return TD_OK; /* forgotten over others */
    char who[256];
    const trace_call *call;
    json_t *waiting = json_array();
    int64_t next = m->file ? last + 1 : newest;
    int64_t waited = see_waiting(g, next, &call, who, sizeof who, waiting);
    if (!call || (waited < LEAST_WAIT_NS && !is_over(g))) {
        json_decref(waiting);
        return TD_OK;
    }
    int rank = m->file ? m->file->rank : trace_job_rank(g, member);
    r->wrong = true;
    if (r->json) {
        json_t *row = json_pack("{ss ss si si sb sI so sf}", "trace", "missing", "ranks", g->ranks, "ordinal",
                                g->ordinal, "rank", rank, "has_record", m->file != NULL, "last_number",
                                (json_int_t)last, "waiting", waiting, "seconds", (double)waited * 1e-9);
        if (row) add_call(row, call);
        return say_row(r, row);
    }
    json_decref(waiting);
    fprintf(r->out, "rank %d %s call %lld of the group of ranks %s: %s%s\n", rank,
            m->file ? "never came to" : "left no record; it may be missing in", (long long)next, g->ranks,
            trace_describe(call).text, step_of(call).text);
    if (*who)
        fprintf(r->out, "  rank%s %s waited there for %s\n", strchr(who, ',') ? "s" : "", who,
                td_format_seconds((double)waited * 1e-9).text);
    if (m->file && last) {
        const trace_call *c = m->by_number[m->count - 1];
        fprintf(r->out, "  its last was call %lld: %s%s, %s\n", (long long)last, trace_describe(c).text,
                step_of(c).text, c->state == TRACE_DONE ? "done" : "not finished");
    } else if (m->file) {
        fprintf(r->out, "  it has called nothing in that group\n");
    }
    return TD_OK;
}

/* All came, and not all were done. */
static td_status say_unfinished(report *r, const trace_merged *g) {
    const trace_member *m = g->members;
    while (m < g->members + g->size - 1 && !m->file) m++;
    for (int i = 0; i < m->count; i++) {
        int64_t number = m->by_number[i]->number;
        char who[256];
        const trace_call *call;
        if (!trace_all_came(g, number)) continue;
        json_t *waiting = json_array();
        int64_t waited = see_waiting(g, number, &call, who, sizeof who, waiting);
        if (!*who || (waited < LEAST_WAIT_NS && !is_over(g))) {
            json_decref(waiting);
            continue;
        }
        r->wrong = true;
        if (r->json) {
            json_t *row = json_pack("{ss ss si so sf}", "trace", "unfinished", "ranks", g->ranks, "ordinal",
                                    g->ordinal, "waiting", waiting, "seconds", (double)waited * 1e-9);
            if (row) add_call(row, call);
            return say_row(r, row);
        }
        json_decref(waiting);
        fprintf(r->out,
                "call %lld of the group of ranks %s was begun by all whose records are here, but not "
                "finished by rank%s %s: %s%s\n",
                (long long)number, g->ranks, strchr(who, ',') ? "s" : "", who, trace_describe(call).text,
                step_of(call).text);
        return TD_OK;
    }
    return TD_OK;
}

static td_status say_group(report *r, const trace_merged *g) {
    int64_t newest = newest_of(g);
    bool differ = false;
    TD_TRY(say_cause(r, g));
    TD_TRY(say_mismatch(r, g, &differ));
    for (int m = 0; m < g->size; m++) TD_TRY(say_missing(r, g, m, newest));
    return differ ? TD_OK : say_unfinished(r, g);
}

/* --- who was late --------------------------------------------------------------------------------------- */

typedef struct lateness {
    int rank;
    int64_t times, total, worst; /* ns by which all others had to wait for this rank alone */
    const trace_call *worst_call;
} lateness;

static int compare_lateness(const void *a, const void *b) {
    const lateness *x = a, *y = b;
    return (x->total < y->total) - (x->total > y->total);
}

/* Who came last to this call, and by how much after the last but one. */
static void see_last(const trace_job *job, const trace_merged *g, int64_t number, lateness *late) {
    int64_t last = INT64_MIN, second = INT64_MIN;
    const trace_file *who = NULL;
    const trace_call *call = NULL;
    if (!trace_all_came(g, number)) return;
    for (int r = 0; r < g->size; r++) {
        if (!g->members[r].file) continue;
        const trace_call *c = trace_find(&g->members[r], number);
        int64_t at = trace_time(g->members[r].file, c->posted);
        if (at >= last) {
            second = last;
            last = at;
            who = g->members[r].file;
            call = c;
        } else if (at > second) {
            second = at;
        }
    }
    if (second == INT64_MIN) return;
    lateness *l = &late[who - job->files];
    l->times++;
    l->total += last - second;
    if (last - second < l->worst) return;
    l->worst = last - second;
    l->worst_call = call;
}

static td_status say_lateness(const report *r, const lateness *l) {
    if (r->json) {
        json_t *row = json_pack("{ss si sI sf sf}", "trace", "straggler", "rank", l->rank, "times_last",
                                (json_int_t)l->times, "seconds", (double)l->total * 1e-9, "worst_seconds",
                                (double)l->worst * 1e-9);
        if (row) add_call(row, l->worst_call);
        return say_row(r, row);
    }
    fprintf(r->out, "  rank %d: %s in %s call%s, at most %s, in call %lld: %s%s\n", l->rank,
            td_format_seconds((double)l->total * 1e-9).text, td_format_count(l->times).text, plural(l->times),
            td_format_seconds((double)l->worst * 1e-9).text, (long long)l->worst_call->number,
            trace_describe(l->worst_call).text, step_of(l->worst_call).text);
    return TD_OK;
}

static td_status say_stragglers(const report *r) {
    const trace_job *job = r->job;
    lateness *late = td_calloc((size_t)job->file_count, sizeof *late);
    if (!late) return TD_ERR_MEMORY;
    for (int i = 0; i < job->file_count; i++) late[i].rank = job->files[i].rank;
    for (int g = 0; g < job->group_count; g++) {
        const trace_member *widest = &job->groups[g].members[0];
        for (int m = 1; m < job->groups[g].size; m++)
            if (job->groups[g].members[m].count > widest->count) widest = &job->groups[g].members[m];
        for (int i = 0; i < widest->count; i++)
            see_last(job, &job->groups[g], widest->by_number[i]->number, late);
    }
    qsort(late, (size_t)job->file_count, sizeof *late, compare_lateness);
    td_status status = TD_OK;
    for (int i = 0; i < job->file_count && i < MOST_STRAGGLERS && late[i].worst_call && status >= 0; i++) {
        if (i == 0 && !r->json) fprintf(r->out, "time that others waited for one rank alone:\n");
        status = say_lateness(r, &late[i]);
    }
    td_free(late);
    return status;
}

td_status trace_report(const trace_job *job, bool json, FILE *out, bool *wrong) {
    report r = {.job = job, .out = out, .json = json};
    TD_TRY(say_ranks(&r));
    for (int g = 0; g < job->group_count; g++) TD_TRY(say_group(&r, &job->groups[g]));
    TD_TRY(say_stragglers(&r));
    if (!r.wrong && !json) fprintf(out, "all ranks made the same calls, and nobody was waited for in vain\n");
    *wrong = r.wrong;
    return TD_OK;
}
