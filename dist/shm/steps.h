/* A rank's own part of a collective on shared memory: where data lies, and the copying and combining. */
#ifndef TANDEM_DIST_SHM_STEPS_H
#define TANDEM_DIST_SHM_STEPS_H

#include "base/checked.h"
#include "dist/shm/protocol.h"

/* What a rank would have to wait for; a counter of NULL is nothing. Whichever comes first, it can go on. */
typedef struct td_missing {
    td_awaited need; /* of the others */
    td_awaited slot; /* to bring more of its own data in */
} td_missing;

static inline bool td_shm_reached(const _Atomic uint64_t *counter, uint64_t value, int rank,
                                  td_awaited *missing) {
    if (atomic_load_explicit(counter, memory_order_acquire) >= value) return true;
    *missing = (td_awaited){.rank = rank, .counter = counter, .value = value};
    return false;
}

static inline td_shm_entry *td_shm_entry_of(td_shm *shm, int rank, uint64_t sequence) {
    return &shm->members[rank].ring[sequence % TD_SHM_RING];
}

static inline uint64_t td_shm_place_of(td_shm *shm, int rank, const td_work *work) {
    return atomic_load_explicit(&td_shm_entry_of(shm, rank, work->sequence)->place, memory_order_relaxed);
}

static inline bool td_shm_is_staged(uint64_t place) { return place & TD_SHM_STAGED; }

/* A staging slot. */
static inline uint8_t *td_shm_slot(td_shm *shm, uint64_t place, uint64_t chunk) {
    return td_segment_at(shm->segment, place - TD_SHM_STAGED + chunk % TD_SHM_SLOTS * TD_SHM_CHUNK);
}

static inline td_fingerprint td_shm_print_of(const td_shm_entry *entry) {
    return (td_fingerprint){atomic_load_explicit(&entry->shape, memory_order_relaxed),
                            atomic_load_explicit(&entry->count, memory_order_relaxed)};
}

/* The bytes that rank `d` needs of rank `s`: where they begin in the input of `s` and in the output of `d`. */
typedef struct td_piece {
    size_t from, to, bytes;
} td_piece;
td_piece td_shm_piece(td_group *group, const td_work *work, int s, int d);

/* Does every rank's input fit an entry? The same on all ranks. */
bool td_shm_is_small(const td_group *group, const td_call *call);

/* Write this rank's entry of a small call, and the number that makes it valid. */
void td_shm_announce(td_group *group, td_work *work);

/* The calls of this rank and of `peer` differ: breaks the group. */
td_status td_shm_disagree(td_group *group, const td_work *work, int peer, td_fingerprint theirs);

/* Before publishing a call: places, or the payload. May fail for lack of memory, and then breaks the group, as
 * the others count on it. */
td_status td_shm_offer(td_group *group, td_work *work, td_shm_entry *entry);

/* Bring chunks of the current work into free slots: `fill` writes one. An all-reduce frees a slot later. */
typedef void td_shm_fill(td_group *group, td_work *work, uint8_t *slot);
void td_shm_stage(td_group *group, td_work *work, td_shm_fill *fill, uint64_t hold, td_missing *missing);

/* Announce that this rank needs nothing more of the others. */
void td_shm_say_done(td_group *group, td_work *work);

/* Go on with a call on which all ranks have met; true when this rank's part is done. Never waits. */
bool td_shm_run(td_group *group, td_work *work, td_missing *missing);
void td_shm_run_small(td_group *group, td_work *work);                           /* dist/shm/small.c */
bool td_shm_run_all_reduce(td_group *group, td_work *work, td_missing *missing); /* dist/shm/all_reduce.c */
bool td_shm_run_pull(td_group *group, td_work *work, td_missing *missing);       /* dist/shm/pull.c */

/* Copy into a slot. */
void td_shm_fill_slot(td_shm *shm, uint8_t *to, const uint8_t *from, size_t bytes); /* dist/shm/fill.c */

/* How their chunks are filled. */
td_shm_fill td_shm_fill_all_reduce, td_shm_fill_pull;
/* Chunks of this rank's input. */
uint64_t td_shm_pull_steps(td_group *group, const td_work *work);

#endif
