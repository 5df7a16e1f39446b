/*
 * Records set beside one another. A group is the same on two ranks when it has the same ranks and is the
 * how-manieth of those; a collective is the same when it has the same number in its group. Times of one machine
 * are of one clock. Other machines' clocks are set by their wall clocks first, then by the calls that both have
 * finished: a call that needs all ranks ends everywhere at about the same time.
 */
#include "base/memory.h"
#include "tools/trace.h"

#include <stdlib.h>
#include <string.h>

static int compare_files(const void *a, const void *b) {
    const trace_file *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static td_status check_files(const trace_file *files, int count) {
    for (int i = 1; i < count; i++) {
        const trace_file *a = &files[i - 1], *b = &files[i];
        if (a->rank == b->rank)
            return td_fail(TD_ERR_ARG, 0, "trace", "%s and %s are both of rank %d", a->path, b->path,
                           a->rank);
        if (a->world_size != b->world_size || strcmp(a->job, b->job) != 0 || a->attempt != b->attempt)
            return td_fail(
                TD_ERR_ARG, 0, "trace",
                "%s (job \"%s\", attempt %d, %d ranks) and %s (job \"%s\", attempt %d, %d ranks) are not "
                "of the same job",
                a->path, a->job, a->attempt, a->world_size, b->path, b->job, b->attempt, b->world_size);
    }
    return TD_OK;
}

/* --- groups --------------------------------------------------------------------------------------------- */

static bool is_of_group(const trace_call *c, int group) {
    return c->group == group && strcmp(c->kind, "send") != 0 && strcmp(c->kind, "recv") != 0;
}

static int compare_calls(const void *a, const void *b) {
    const trace_call *x = *(const trace_call *const *)a, *y = *(const trace_call *const *)b;
    return (x->number > y->number) - (x->number < y->number);
}

static td_status add_member(trace_merged *m, const trace_file *file, const trace_group *g) {
    trace_member *member = &m->members[g->rank];
    if (member->file)
        return td_fail(TD_ERR_ARG, 0, "trace", "%s and %s both claim rank %d of the group of ranks %s",
                       member->file->path, file->path, g->rank, g->ranks);
    int count = 0;
    for (int i = 0; i < file->call_count; i++) count += is_of_group(&file->calls[i], g->group);
    member->by_number = td_calloc((size_t)count + 1, sizeof *member->by_number);
    if (!member->by_number) return TD_ERR_MEMORY;
    member->file = file;
    for (int i = 0; i < file->call_count; i++)
        if (is_of_group(&file->calls[i], g->group)) member->by_number[member->count++] = &file->calls[i];
    qsort(member->by_number, (size_t)member->count, sizeof *member->by_number, compare_calls);
    if (g->broken && !m->broken) {
        m->broken = true;
        strcpy(m->cause, g->cause);
    }
    return TD_OK;
}

static trace_merged *find_group(trace_job *job, const trace_group *g) {
    for (int i = 0; i < job->group_count; i++) {
        trace_merged *m = &job->groups[i];
        if (m->ordinal == g->ordinal && m->size == g->size && strcmp(m->ranks, g->ranks) == 0) return m;
    }
    return NULL;
}

static td_status merge_group(trace_job *job, const trace_file *file, const trace_group *g) {
    trace_merged *m = find_group(job, g);
    if (!m) {
        m = &job->groups[job->group_count];
        *m = (trace_merged){.ordinal = g->ordinal, .size = g->size};
        strcpy(m->ranks, g->ranks);
        strcpy(m->backend, g->backend);
        m->members = td_calloc((size_t)g->size, sizeof *m->members);
        if (!m->members) return TD_ERR_MEMORY;
        job->group_count++;
    }
    return add_member(m, file, g);
}

const trace_call *trace_find(const trace_member *member, int64_t number) {
    int low = 0, high = member->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (member->by_number[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < member->count && member->by_number[low]->number == number ? member->by_number[low] : NULL;
}

int64_t trace_all_came(const trace_merged *group, int64_t number) {
    int64_t last = 0;
    for (int r = 0; r < group->size; r++) {
        if (!group->members[r].file) continue;
        const trace_call *c = trace_find(&group->members[r], number);
        if (!c) return 0;
        int64_t at = trace_time(group->members[r].file, c->posted);
        if (at > last) last = at;
    }
    return last;
}

int trace_job_rank(const trace_merged *group, int rank) {
    int at = 0, first, last, read;
    for (const char *p = group->ranks; *p; p += *p == ',') {
        if (sscanf(p, "%9d%n", &first, &read) != 1) return -1;
        p += read;
        last = first;
        if (*p == '-' && sscanf(p + 1, "%9d%n", &last, &read) == 1) p += 1 + read;
        if (last < first || (*p && *p != ',')) return -1;
        if (rank - at <= last - first) return first + rank - at;
        at += last - first + 1;
    }
    return -1;
}

/* --- clocks --------------------------------------------------------------------------------------------- */

static bool same_clock(const trace_file *a, const trace_file *b) {
    return a->node == b->node && strcmp(a->host, b->host) == 0;
}

static bool needs_all(const trace_call *c) {
    return strcmp(c->kind, "barrier") == 0 || strncmp(c->kind, "all_", 4) == 0;
}

static int compare_times(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* How much later `b` says that common calls were done than `a`; 0 when there are none. */
static int64_t measure_shift(const trace_job *job, const trace_file *a, const trace_file *b) {
    int64_t *gaps = td_calloc((size_t)b->call_count + 1, sizeof *gaps), shift = 0;
    int count = 0;
    for (int g = 0; gaps && g < job->group_count; g++) {
        const trace_member *ma = NULL, *mb = NULL, *members = job->groups[g].members;
        for (int r = 0; r < job->groups[g].size; r++) {
            if (members[r].file == a) ma = &members[r];
            if (members[r].file == b) mb = &members[r];
        }
        for (int i = 0; ma && mb && i < mb->count; i++) {
            const trace_call *y = mb->by_number[i], *x = trace_find(ma, y->number);
            if (x && x->state == TRACE_DONE && y->state == TRACE_DONE && needs_all(y))
                gaps[count++] = trace_time(b, y->done) - trace_time(a, x->done);
        }
    }
    if (count) {
        qsort(gaps, (size_t)count, sizeof *gaps, compare_times);
        shift = gaps[count / 2];
    }
    td_free(gaps);
    return shift;
}

static void set_clocks(trace_job *job) {
    trace_file *files = job->files;
    for (int i = 1; i < job->file_count; i++) {
        int known = 0;
        while (known < i && !same_clock(&files[known], &files[i])) known++;
        if (known < i) {
            files[i].shift_ns = files[known].shift_ns;
        } else {
            files[i].shift_ns = files[i].wall_minus_clock_ns - files[0].wall_minus_clock_ns;
            files[i].shift_ns -= measure_shift(job, &files[0], &files[i]);
        }
    }
}

td_status trace_merge(trace_file *files, int count, trace_job *job) {
    trace_job made = {.files = files, .file_count = count};
    int groups = 0;
    qsort(files, (size_t)count, sizeof *files, compare_files);
    TD_TRY(check_files(files, count));
    for (int i = 0; i < count; i++) groups += files[i].group_count;
    made.groups = td_calloc((size_t)groups + 1, sizeof *made.groups);
    td_status status = made.groups ? TD_OK : TD_ERR_MEMORY;
    for (int i = 0; i < count && status >= 0; i++)
        for (int g = 0; g < files[i].group_count && status >= 0; g++)
            status = merge_group(&made, &files[i], &files[i].groups[g]);
    if (status < 0) {
        trace_job_clear(&made);
        return status;
    }
    set_clocks(&made);
    *job = made;
    return TD_OK;
}

void trace_job_clear(trace_job *job) {
    for (int g = 0; g < job->group_count; g++) {
        for (int r = 0; r < job->groups[g].size; r++) td_free(job->groups[g].members[r].by_number);
        td_free(job->groups[g].members);
    }
    td_free(job->groups);
    *job = (trace_job){0};
}
