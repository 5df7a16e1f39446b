/* The objects of dist as its own files and its backends see them. */
#ifndef TANDEM_DIST_INTERNAL_H
#define TANDEM_DIST_INTERNAL_H

#include "dist/arena.h"
#include "dist/backend.h"
#include "dist/control.h"
#include "dist/fingerprint.h"
#include "dist/group.h"
#include "dist/job_facts.h"
#include "dist/progress.h"
#include "dist/segment.h"

#include <stdatomic.h>

struct td_job {
    td_job_facts facts;
    int control_fd;                   /* ours, or -1 */
    int arena_fd;                     /* ours, or -1 until it is needed */
    td_progress *progress;            /* NULL without a launcher of ours */
    td_segment *segment;              /* NULL until a group needs it */
    struct td_recorder *recorder;     /* NULL before the first group, or for want of memory */
    struct td_recorder *own_recorder; /* the same if it does not lie in the segment */
    _Atomic bool lost;                /* a group lost a rank: leaving is then no clean leave */
    bool answered;                    /* the launcher has told about its terminal */
    int terminal_columns;             /* as it said last */
    uint8_t inbox[2 * TD_CONTROL_FRAME_MAX];
    size_t inbox_used;
};

/* The job's shared memory, mapped on the first call: inherited, or passed on by local rank 0 within `timeout`
 * seconds. *Lent* for the job's life. */
td_status td_job_segment(td_job *job, double timeout, td_segment **segment);

/* Tell the launcher; does nothing without one. Never blocks and never fails: it is only news. */
void td_job_tell(td_job *job, const td_control_message *message);

/* One block of an arena: a part per rank, or one part for all. */
typedef struct td_block {
    struct td_block *next;
    size_t bytes;     /* of a part, as the caller asked */
    size_t stride;    /* from one part to the next, and the size of each */
    int parts;        /* the group's size, or 1 */
    uint8_t *base;    /* of the first part; of this rank's where others' are not addressable */
    bool addressable; /* all parts */
    uint64_t offset;  /* the backend's */
} td_block;

struct td_arena {
    td_group *group;
    td_block *blocks;
};

struct td_group {
    td_job *job; /* lent */
    const td_backend *backend;
    void *state; /* the backend's */
    int rank, size;
    int node; /* this rank's machine, in the order of their first ranks; 0 where the backend has one */
    struct td_watch *watch; /* lent by a backend over messages: over its processes */
    int *members;           /* the job's rank of each rank; NULL: the same */
    uint64_t posted;        /* collectives so far */
    uint64_t paired;        /* sends and receives so far */
    double stall_timeout, stall_report;
    int compute_threads;
    td_arena arena;
    td_work *works;               /* all that were handed out, to be freed on close */
    td_work *free_works;          /* those of them not in use */
    td_error broken;              /* the first cause, or TD_OK */
    struct td_recorder *recorder; /* lent by the job; NULL: nothing is recorded */
    struct td_record_group *record_place;
    uint64_t record_serial;
    char refusals[512];
};

struct td_work {
    td_group *group;
    td_call call;
    td_fingerprint print; /* of the call */
    uint64_t sequence;    /* the how-manieth collective of the group, or the how-manieth send or receive; from
                             0 */
    size_t input_bytes, output_bytes;
    td_status status;     /* TD_PENDING until done, then for ever as it ended */
    bool released;        /* the caller has given it back: recycle when done */
    bool pooled;          /* belongs to group->works; others live in the caller's frame */
    struct td_work *next; /* the backend's, while pending; of the free list afterwards */
    struct td_work *all;
    struct td_record *record; /* in the recorder; NULL: none */
    uint64_t record_turn;
    int stage, met; /* the backend's, as all that follows */
    bool awaits_all, taken;
    uint64_t steps, staged, summed, moved, letter;
};

/* Keep the calling thread's record as the cause why this group is broken, unless there is one already; every
 * later call fails with it. Returns its status. */
TD_API td_status td_group_break(td_group *group);

/* This rank cannot take part in what the others have begun: they are told its record, which stays and whose
 * status is returned. */
TD_API td_status td_group_give_up(td_group *group);

/* Does the call make sense here? Says what is wrong otherwise; a broken group's cause. Fills what a work knows of
 * its call: the fingerprint and how many bytes this rank gives and gets. */
td_status td_call_examine(td_group *group, const td_call *call, td_work *work);

/* The job's rank of a group's rank, for messages. */
static inline int td_group_name(const td_group *group, int rank) {
    return group->members ? group->members[rank] : rank;
}

/* Where rank r's part begins among all parts, in elements. */
static inline size_t td_part_begin(const size_t *counts, size_t count, int r) {
    if (!counts) return count * (size_t)r;
    size_t begin = 0;
    for (int i = 0; i < r; i++) begin += counts[i];
    return begin;
}

/* For backends: a work has ended, well or not. */
TD_API void td_work_finish(td_work *work, td_status status);

/* Release the bookkeeping of all blocks on close. */
void td_arena_forget(td_arena *arena);

#endif
