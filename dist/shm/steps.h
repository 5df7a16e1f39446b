/* A rank's own part of a collective on shared memory: where data lies, and the copying and summing. */
#ifndef TANDEM_DIST_SHM_STEPS_H
#define TANDEM_DIST_SHM_STEPS_H

#include "base/checked.h"
#include "dist/shm/protocol.h"

/* What a rank would have to wait for. */
typedef struct td_missing {
    int rank;
    const _Atomic uint64_t *counter; /* NULL: nothing */
    uint64_t value;
} td_missing;

static inline bool td_shm_reached(const _Atomic uint64_t *counter, uint64_t value, int rank,
                                  td_missing *missing) {
    if (atomic_load_explicit(counter, memory_order_acquire) >= value) return true;
    *missing = (td_missing){.rank = rank, .counter = counter, .value = value};
    return false;
}

static inline td_shm_entry *td_shm_entry_of(td_shm *shm, int rank, uint64_t sequence) {
    return &shm->members[rank].ring[sequence % TD_SHM_RING];
}

static inline bool td_shm_is_small(const td_work *work) {
    return work->call.count * td_dtype_size(work->call.dtype) <= TD_SHM_SMALL;
}

/* Before publishing a call that is not small: where this rank's data lies, or will be staged. May fail for
 * lack of memory, and then breaks the group, as the others count on it. */
td_status td_shm_place(td_group *group, td_work *work, uint64_t *place);

/* Go on with a call on which all ranks have met; true when this rank's part is done. Never waits. */
bool td_shm_run(td_group *group, td_work *work, td_missing *missing);

#endif
