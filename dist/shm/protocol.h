/*
 * What the ranks of a machine share, and each rank's private side of it.
 *
 * One control block per group: td_shm_control, then the td_room, then one td_shm_member per rank. Only the
 * rank itself writes its member, but for its bell. Collectives are numbered from 0 in the order of posting, which is the same
 * on all ranks; the k-th uses entry k % RING of every member:
 *
 *   entry.number = k + 1    I have posted collective k; its fingerprint, places and payload are valid
 *   ready >= mark(k, c)     my first c chunks of k lie in my staging slots (only when staged)
 *   done  >= mark(k, c)     I need nothing more of the others' first c chunks (an all-reduce: my share of the
 *                           first c chunks is where the others fetch it, and I have fetched all of the first
 *                           c - LAG)
 *   done  >= mark(k + 1, 0) I need nothing more of k: the others' entries of k may be used again
 *
 * Small data travels in the entry itself. Data in the segment is read where it lies; an all-reduce of such
 * data is summed by slices, rank r slice r, and written to all ranks. Other data passes through staging slots
 * chunk by chunk, of an all-reduce only those slices which others sum; rank r leaves the sum of slice r in its
 * own slot, where the others fetch it, so no rank writes to lines that another wrote.
 *
 * Sends and receives have a mailbox per pair of ranks, see dist/shm/pairs.h.
 */
#ifndef TANDEM_DIST_SHM_PROTOCOL_H
#define TANDEM_DIST_SHM_PROTOCOL_H

#include "dist/internal.h"
#include "dist/reduce.h"
#include "dist/wait.h"

enum {
    TD_SHM_RING = 8,        /* collectives in flight */
    TD_SHM_SMALL = 2000,    /* bytes that travel in an entry: with its head they fill whole lines */
    TD_SHM_CHUNK = 1 << 17, /* bytes of a staging slot: a few of them stay in a core's second-level cache */
    TD_SHM_SLOTS = 4,
    TD_SHM_LAG = 2,     /* chunks that summing may be ahead of fetching */
    TD_SHM_SLICE = 256, /* elements at which data is cut into ranks' slices */
};

typedef struct td_shm_entry {
    _Alignas(TD_LINE) _Atomic uint64_t number;
    _Atomic uint64_t shape, count; /* the fingerprint */
    _Atomic uint64_t done;         /* collectives with which this rank is done: saves the others a look at its
                                      counter */
    _Atomic uint64_t place;        /* offset of the input in the segment, or of the first staging slot plus
                                      TD_SHM_STAGED; 0: this rank gives nothing */
    _Atomic uint64_t output;       /* offset of the output in the segment, 0: it is not there */
    uint8_t payload[TD_SHM_SMALL]; /* the input; the counts of an uneven all_to_all */
} td_shm_entry;

#define TD_SHM_STAGED UINT64_C(1) /* added to an even place */

typedef struct td_shm_member {
    _Alignas(TD_LINE) _Atomic uint64_t done;
    _Alignas(TD_LINE) _Atomic uint64_t ready;
    _Atomic uint64_t staging;                /* offset of its staging slots, 0 before they are needed */
    _Atomic uint64_t boxes;                  /* offset of its mailboxes, 0 before they are needed */
    _Alignas(TD_LINE) _Atomic uint64_t bell; /* moved by others, see dist/shm/pairs.h */
    td_shm_entry ring[TD_SHM_RING];
} td_shm_member;

typedef struct td_shm_control {
    _Alignas(TD_LINE) _Atomic uint32_t left; /* ranks that have closed the group; the last frees its memory */
} td_shm_control;

static inline uint64_t td_shm_mark(uint64_t collective, uint64_t chunks) { return collective << 24 | chunks; }

/* How far a posted work has come on this rank. */
enum {
    TD_SHM_POSTED,
    TD_SHM_PUBLISHED, /* its entry is valid */
    TD_SHM_MET,       /* every rank has published it, and they agree */
    TD_SHM_DONE_HERE, /* this rank's part is done */
};

/* What this rank knows of the two ways of writing to slots, see dist/shm/fill.c. */
typedef struct td_shm_ways {
    double cost[2]; /* ticks a byte: fetching lines, past the caches; 0: not known */
    uint64_t copies;
} td_shm_ways;

typedef struct td_shm {
    td_segment *segment; /* the job's */
    uint64_t control_offset;
    td_shm_control *control;
    td_waiter waiter;
    td_shm_member *members;
    const td_reduce_table *reduce;
    uint64_t freed;     /* all ranks are done with those before it */
    uint64_t free_mark; /* of the others: from then on this rank may stage another work */
    td_work *first;     /* oldest that is not finished; works are linked by `next` */
    td_work *last;
    td_work *current; /* oldest whose part here is not done */
    td_work *unpublished;
    td_shm_ways ways;
    td_work *pairs; /* sends and receives that are not finished, oldest first */
    struct td_shm_side
        *sides;     /* per rank, what this one knows of the mailboxes; NULL before they are needed */
    uint64_t heard; /* rings of this rank's bell that have been looked at */
} td_shm;

static inline td_shm *td_shm_of(td_group *group) { return group->state; }

/* dist/shm/collectives.c; the slots of the backend's table. */
td_status td_shm_post(td_group *group, td_work *work);
td_status td_shm_post_all_to_all(td_group *group, td_work *work);
td_status td_shm_run_at_once(td_group *group, td_work *work); /* dist/shm/small.c */
td_status td_shm_test(td_group *group);
td_status td_shm_wait(td_group *group, td_work *work);

/* For the parts of this backend: after any failure nothing that is posted will ever be done. Returns the
 * group's cause. */
td_status td_shm_fail(td_group *group);

#endif
