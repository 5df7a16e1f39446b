/* The recorder's life: where its memory is, which groups and labels there are, and when it is written by
 * itself. */
#include "dist/recorder.h"

#include "base/log.h"
#include "base/memory.h"
#include "dist/recorder_dump.h"
#include "dist/recorder_ring.h"

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Seconds between two times that a rank writes everybody's record: ranks break, or wait, all at once. */
enum { BREAK_PAUSE = 1, STALL_PAUSE = 60 };

/* A counter that runs at one rate on all cores and in all states of sleep. */
static bool tsc_is_steady(void) {
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) && d & 1u << 8;
}

static int64_t wall_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void fill(td_recorder *r, const td_job *job) {
    const char *attempt = getenv("TORCHELASTIC_RESTART_COUNT");
    memset(r, 0, sizeof *r);
    r->rank = job->facts.rank;
    r->world_size = job->facts.world_size;
    r->local_rank = job->facts.local_rank;
    r->node = job->facts.node;
    r->pid = (int32_t)getpid();
    r->attempt = attempt ? atoi(attempt) : 0;
    r->ticks_are_tsc = tsc_is_steady();
    r->opened_ns = td_clock_ns();
    r->opened_ticks = td_recorder_ticks(r);
    r->wall_minus_clock_ns = wall_ns() - r->opened_ns;
    snprintf(r->job, sizeof r->job, "%.63s", job->facts.id);
    if (gethostname(r->host, sizeof r->host - 1)) r->host[0] = 0;
    atomic_store_explicit(&r->layout, TD_RECORDER_LAYOUT, memory_order_release);
}

/* The place of this rank's recorder in shared memory: a former one's, once nobody writes there any more. */
static td_recorder *find_shared(td_job *job) {
    _Atomic uint64_t *place = &td_segment_seat(job->segment, job->facts.local_rank)->recorder;
    uint64_t offset = atomic_load(place);
    if (offset) {
        td_recorder *former = td_segment_at(job->segment, offset);
        if (!atomic_load(&former->closed) && former->pid == (int32_t)getpid()) return NULL;
    } else if (td_segment_alloc(job->segment, sizeof(td_recorder), &offset) < 0) {
        return NULL;
    }
    fill(td_segment_at(job->segment, offset), job);
    atomic_store(place, offset);
    return td_segment_at(job->segment, offset);
}

void td_recorder_open(td_job *job) {
    if (job->recorder) return;
    td_error before = *td_error_last();
    job->recorder = job->segment ? find_shared(job) : NULL;
    if (!job->recorder) {
        job->recorder = job->own_recorder = td_alloc_aligned(sizeof(td_recorder));
        if (job->recorder) fill(job->recorder, job);
    }
    td_error_restore(&before); /* doing without is no failure */
}

void td_recorder_close(td_job *job) {
    if (job->recorder) atomic_store(&job->recorder->closed, 1);
    td_free(job->own_recorder);
    job->recorder = job->own_recorder = NULL;
}

/* --- groups --------------------------------------------------------------------------------------------- */

/* "0-3,6"; cut with "..." when there is no room. */
static void describe_ranks(const int *ranks, int count, char text[96]) {
    size_t used = 0;
    for (int i = 0; i < count;) {
        int first = ranks ? ranks[i] : i, last = first;
        while (++i < count && (ranks ? ranks[i] : i) == last + 1) last++;
        if (used > 70) {
            snprintf(text + used, 96 - used, "...");
            return;
        }
        used += (size_t)snprintf(text + used, 96 - used, last > first ? "%s%d-%d" : "%s%d", used ? "," : "",
                                 first, last);
    }
}

/* The newest group of the same ranks knows how many there were before. */
static uint32_t count_alike(const td_recorder *r, const char *ranks) {
    uint32_t ordinal = 0;
    for (int i = 0; i < TD_RECORD_GROUPS; i++)
        if (atomic_load(&r->group[i].serial) && strcmp(r->group[i].ranks, ranks) == 0 &&
            r->group[i].ordinal >= ordinal)
            ordinal = r->group[i].ordinal + 1;
    return ordinal;
}

/* A place never used, else that of the group which was closed first. */
static int find_slot(const td_recorder *r) {
    int oldest = -1;
    for (int i = 0; i < TD_RECORD_GROUPS; i++) {
        uint32_t serial = atomic_load(&r->group[i].serial);
        if (!serial) return i;
        if (atomic_load(&r->group[i].state) & TD_RECORD_GROUP_CLOSED &&
            (oldest < 0 || serial < atomic_load(&r->group[oldest].serial)))
            oldest = i;
    }
    return oldest;
}

void td_recorder_enter(td_group *group, const int *ranks) {
    td_recorder_open(group->job);
    td_recorder *r = group->job->recorder;
    int slot = r ? find_slot(r) : -1;
    if (slot < 0) return; /* with that many groups open, the newest go unrecorded */
    td_record_group *g = &r->group[slot];
    char text[sizeof g->ranks] = "";
    describe_ranks(ranks, group->size, text);
    uint32_t ordinal = count_alike(r, text);
    atomic_store(&g->serial, 0);
    g->size = group->size;
    g->rank = group->rank;
    g->ordinal = ordinal;
    snprintf(g->backend, sizeof g->backend, "%s", group->backend->name);
    memcpy(g->ranks, text, sizeof text);
    g->cause[0] = 0;
    atomic_store(&g->state, 0);
    uint32_t serial = atomic_fetch_add(&r->groups, 1) + 1;
    atomic_store(&g->serial, serial);
    group->recorder = r;
    group->record_serial = serial;
    group->record_place = g;
}

void td_recorder_leave(td_group *group) {
    if (group->recorder) atomic_fetch_or(&group->record_place->state, TD_RECORD_GROUP_CLOSED);
    group->recorder = NULL;
}

uint64_t td_recorder_label(td_recorder *r, const char *label) {
    uint32_t known = atomic_load_explicit(&r->labels, memory_order_acquire);
    if (known > TD_RECORD_LABELS) known = TD_RECORD_LABELS;
    for (uint32_t i = 0; i < known; i++)
        if (strncmp(r->label[i], label, TD_RECORD_TEXT - 1) == 0) return i + 1;
    if (known == TD_RECORD_LABELS) return 0;
    uint32_t mine = atomic_fetch_add(&r->labels, 1); /* two threads may both add it, which does no harm */
    if (mine >= TD_RECORD_LABELS) return 0;
    strncpy(r->label[mine], label, TD_RECORD_TEXT - 1);
    return mine + 1;
}

/* --- written by itself ---------------------------------------------------------------------------------- */

/* The folder that was asked for, or NULL. */
static const char *folder_of(const td_job *job) {
    return *job->facts.trace_dir ? job->facts.trace_dir : NULL;
}

static bool dump_quietly(td_job *job, bool all, const char *reason, bool final) {
    td_error before = *td_error_last();
    td_status status =
        td_recorder_dump(job, folder_of(job), all, (td_record_note){.reason = reason, .final = final});
    if (status < 0)
        td_log_line(TD_LOG_WARN, "dist", "the flight recorder could not be written: %s",
                    td_error_last()->text);
    td_error_restore(&before);
    return status >= 0;
}

/* Is it this rank that writes for all of the machine? The first to ask after a pause does. */
static bool writes_for_all(td_job *job, size_t clock_at, int pause) {
    if (!job->segment || job->own_recorder) return false;
    uint64_t offset = 0;
    for (int r = 0; r < job->facts.local_world_size && !offset; r++)
        offset = atomic_load(&td_segment_seat(job->segment, r)->recorder);
    td_recorder *first = td_segment_at(job->segment, offset);
    _Atomic int64_t *clock = (_Atomic int64_t *)((char *)first + clock_at);
    int64_t now = td_clock_ns(), last = atomic_load(clock);
    if (last && now - last < pause * INT64_C(1000000000)) return false;
    return atomic_compare_exchange_strong(clock, &last, now);
}

void td_recorder_break(td_group *group) {
    if (!group->recorder) return;
    td_record_group *g = group->record_place;
    td_job *job = group->job;
    snprintf(g->cause, sizeof g->cause, "%.*s", (int)sizeof g->cause - 1, td_error_last()->text);
    atomic_fetch_or(&g->state, TD_RECORD_GROUP_BROKEN);
    if (!folder_of(job)) return;
    bool all = writes_for_all(job, offsetof(td_recorder, break_ns), BREAK_PAUSE);
    if (dump_quietly(job, all, td_error_last()->text, true)) atomic_store(&job->recorder->written, 1);
}

void td_recorder_stall(td_job *job, const char *what) {
    if (!job->recorder || !folder_of(job)) return;
    if (writes_for_all(job, offsetof(td_recorder, stall_ns), STALL_PAUSE))
        dump_quietly(job, true, what, false);
}
