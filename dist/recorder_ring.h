/*
 * The recorder's memory, and what dist does at each collective. All of it is one flat block without pointers,
 * so that another process may read it: only its own rank writes. A reader may meet a record that is just being
 * written, and leaves it out: `turn` is zero meanwhile, and different afterwards.
 */
#ifndef TANDEM_DIST_RECORDER_RING_H
#define TANDEM_DIST_RECORDER_RING_H

#include "base/clock.h"
#include "dist/internal.h"

enum { TD_RECORDS = 2048, TD_RECORD_GROUPS = 64, TD_RECORD_LABELS = 512, TD_RECORD_TEXT = 32 };
enum { TD_RECORD_TAG_BIT = 40 };
enum { TD_RECORD_SMALL = 4096 }; /* bytes of a call for which even a look at the clock counts */

typedef enum td_record_state { TD_RECORD_POSTED = 1, TD_RECORD_DONE, TD_RECORD_FAILED } td_record_state;

/* One collective, a cache line. Times are ticks of the recorder's clock, 0: not yet. */
typedef struct td_record {
    _Alignas(64) _Atomic uint64_t turn; /* how many were recorded before, plus 1, above 8 bits of state */
    _Atomic uint64_t posted, started, done;
    _Atomic uint64_t number; /* in its group, from 1; sends and receives are counted apart and have their tag
                                from TD_RECORD_TAG_BIT on */
    _Atomic uint64_t shape, count; /* the fingerprint */
    _Atomic uint64_t where;        /* group's serial 16, label 16 (0: none), step 32 */
} td_record;

enum { TD_RECORD_GROUP_BROKEN = 1, TD_RECORD_GROUP_CLOSED = 2 }; /* both may be true */

typedef struct td_record_group {
    _Atomic uint32_t serial; /* which group of the rank, from 1; 0: unused, or being written */
    _Atomic uint32_t state;
    int32_t size, rank;
    uint32_t ordinal; /* among the rank's groups of these ranks */
    char backend[12];
    char ranks[96];  /* world ranks: "0-3,6" */
    char cause[480]; /* why it is broken */
} td_record_group;

typedef struct td_recorder {
    _Atomic uint32_t layout; /* TD_RECORDER_LAYOUT once all that follows up to `head` is there */
    _Atomic uint32_t closed; /* the job is */
    int32_t rank, world_size, local_rank, node, pid, attempt;
    uint32_t ticks_are_tsc;
    uint64_t opened_ticks;
    int64_t opened_ns, wall_minus_clock_ns;
    char job[64], host[64];
    _Atomic int64_t step;
    _Atomic uint32_t written;           /* by the rank itself when a group broke */
    _Atomic int64_t break_ns, stall_ns; /* of local rank 0: when a rank last wrote everybody's record */
    _Atomic uint32_t groups, labels;    /* taken so far */
    _Alignas(64) _Atomic uint64_t head; /* records so far */
    _Atomic uint32_t waited;            /* somebody was late since the last time when a record was done */
    td_record ring[TD_RECORDS];
    td_record_group group[TD_RECORD_GROUPS];
    char label[TD_RECORD_LABELS][TD_RECORD_TEXT];
} td_recorder;

#define TD_RECORDER_LAYOUT 0x7d720001u

/* Give the job a recorder if it has none: in its shared memory if it has that. Without memory there is none,
 * and nothing is recorded. */
void td_recorder_open(td_job *job);
void td_recorder_close(td_job *job);

/* A group has been opened: `ranks[r]` is the world rank of its rank r, NULL: all ranks of the job. */
void td_recorder_enter(td_group *group, const int *ranks);
/* It is closed, or has just broken with the thread's record, which stays as it is. */
void td_recorder_leave(td_group *group);
void td_recorder_break(td_group *group);
/* A rank of the job has just said that it waits for another. */
void td_recorder_stall(td_job *job, const char *what);

/* The number that stands for a label; 0 when there is no room for another. */
uint64_t td_recorder_label(td_recorder *recorder, const char *label);

static inline uint64_t td_recorder_ticks(const td_recorder *recorder) {
    return __builtin_expect(recorder->ticks_are_tsc, 1) ? __builtin_ia32_rdtsc() : (uint64_t)td_clock_ns();
}

static inline void td_recorder_note_wait(const td_job *job) {
    if (job->recorder) atomic_store_explicit(&job->recorder->waited, 1, memory_order_relaxed);
}

static inline bool td_record_is_small(const td_work *work) {
    return (work->input_bytes | work->output_bytes) < TD_RECORD_SMALL;
}

/* Before a work is posted. */
static inline void td_record_begin(td_group *group, td_work *work) {
    td_recorder *recorder = group->recorder;
    work->record = NULL;
    if (__builtin_expect(!recorder, 0)) return;
    uint64_t before = atomic_fetch_add_explicit(&recorder->head, 1, memory_order_relaxed);
    td_record *record = &recorder->ring[before % TD_RECORDS];
    uint64_t where = (group->record_serial & 0xffff) | (uint64_t)(uint32_t)recorder->step << 32;
    if (__builtin_expect(work->call.label != NULL, 0))
        where |= td_recorder_label(recorder, work->call.label) << 16;
    work->record_turn = (before + 1) << 8;
    work->record = record;
    atomic_store_explicit(&record->turn, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&record->posted, td_record_is_small(work) ? 0 : td_recorder_ticks(recorder),
                          memory_order_relaxed);
    atomic_store_explicit(&record->started, 0, memory_order_relaxed);
    atomic_store_explicit(&record->done, 0, memory_order_relaxed);
    atomic_store_explicit(&record->number,
                          (work->sequence + 1) | (uint64_t)work->call.tag << TD_RECORD_TAG_BIT,
                          memory_order_relaxed);
    atomic_store_explicit(&record->shape, work->print.shape, memory_order_relaxed);
    atomic_store_explicit(&record->count, work->print.count, memory_order_relaxed);
    atomic_store_explicit(&record->where, where, memory_order_relaxed);
    atomic_store_explicit(&record->turn, work->record_turn | TD_RECORD_POSTED, memory_order_release);
}

/* Is the record still this work's? Another has it when 2048 were posted meanwhile. */
static inline bool td_record_is_own(const td_work *work) {
    return work->record &&
           atomic_load_explicit(&work->record->turn, memory_order_relaxed) >> 8 == work->record_turn >> 8;
}

/* After it is posted. What the others wait for is out by now, so for small calls it is here that the clock is
 * read: it delays nobody. */
static inline void td_record_posted(const td_group *group, const td_work *work) {
    if (td_record_is_small(work) && td_record_is_own(work))
        atomic_store_explicit(&work->record->posted, td_recorder_ticks(group->recorder),
                              memory_order_relaxed);
}

/* All ranks have come; backends that cannot tell never call it. */
static inline void td_record_started(const td_group *group, const td_work *work) {
    if (!td_record_is_small(work) && td_record_is_own(work))
        atomic_store_explicit(&work->record->started, td_recorder_ticks(group->recorder),
                              memory_order_relaxed);
}

/* A small call that the caller waits for, and for which nobody was late, leaves `done` at 0: it took less than a
 * microsecond, and reading the clock would be a tenth of that. */
static inline void td_record_done(const td_group *group, const td_work *work, td_status status) {
    if (!td_record_is_own(work)) return;
    td_recorder *recorder = group->recorder;
    if (work->pooled || !td_record_is_small(work) ||
        atomic_load_explicit(&recorder->waited, memory_order_relaxed) != 0) {
        atomic_store_explicit(&recorder->waited, 0, memory_order_relaxed);
        atomic_store_explicit(&work->record->done, td_recorder_ticks(recorder), memory_order_relaxed);
    }
    atomic_store_explicit(&work->record->turn,
                          work->record_turn | (status < 0 ? TD_RECORD_FAILED : TD_RECORD_DONE),
                          memory_order_release);
}

#endif
