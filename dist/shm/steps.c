/*
 * Three ways for data to meet: in the entries (small), in place (all ranks' data lies in the segment), or
 * chunk by chunk through staging slots. A rank whose data lies in the segment takes part in a staged call in
 * place.
 */
#include "dist/shm/steps.h"

#include <string.h>

static bool is_staged(uint64_t place) { return place & TD_SHM_STAGED; }

static uint64_t place_of(td_shm *shm, int rank, const td_work *work) {
    return atomic_load_explicit(&td_shm_entry_of(shm, rank, work->sequence)->place, memory_order_relaxed);
}

/* Where a rank's chunk is. */
static uint8_t *chunk_at(td_shm *shm, uint64_t place, uint64_t chunk) {
    uint64_t offset = is_staged(place) ? place - TD_SHM_STAGED + chunk % TD_SHM_SLOTS * TD_SHM_CHUNK
                                       : place + chunk * TD_SHM_CHUNK;
    return td_segment_at(shm->segment, offset);
}

static size_t chunk_bytes(const td_work *work, uint64_t chunk) {
    size_t left = td_shm_bytes(&work->call) - chunk * TD_SHM_CHUNK;
    return left < TD_SHM_CHUNK ? left : TD_SHM_CHUNK;
}

static uint8_t *chunk_of_caller(const td_work *work, uint64_t chunk) {
    return (uint8_t *)work->call.data + chunk * TD_SHM_CHUNK;
}

/* Bring chunks of the current work into free slots. A slot is free again when its last chunk has been moved
 * out. */
static void stage(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    td_shm_member *own = &shm->members[group->rank];
    uint64_t before = work->staged;
    while (work->staged < work->steps && work->staged < work->moved + TD_SHM_SLOTS) {
        uint64_t base = atomic_load_explicit(&own->staging, memory_order_relaxed);
        memcpy(chunk_at(shm, base | TD_SHM_STAGED, work->staged), chunk_of_caller(work, work->staged),
               chunk_bytes(work, work->staged));
        work->staged++;
    }
    if (work->staged > before)
        td_publish(&shm->waiter, &own->ready, td_shm_mark(work->sequence, work->staged));
}

static td_status need_staging(td_group *group) {
    td_shm *shm = td_shm_of(group);
    _Atomic uint64_t *staging = &shm->members[group->rank].staging;
    uint64_t offset;
    if (atomic_load_explicit(staging, memory_order_relaxed)) return TD_OK;
    if (td_segment_alloc(shm->segment, (size_t)TD_SHM_SLOTS * TD_SHM_CHUNK, &offset) < 0) {
        const td_doing doing = {.number = shm->posted};
        return td_room_break(&shm->waiter, group->rank, &doing);
    }
    atomic_store(staging, offset);
    return TD_OK;
}

td_status td_shm_place(td_group *group, td_work *work, uint64_t *place) {
    td_shm *shm = td_shm_of(group);
    size_t bytes = td_shm_bytes(&work->call);
    work->steps = (bytes + TD_SHM_CHUNK - 1) / TD_SHM_CHUNK;
    /* An odd address cannot be told from a staged place, so it is staged. */
    if (td_segment_offset(shm->segment, work->call.data, bytes, place) && !is_staged(*place)) return TD_OK;
    TD_TRY(need_staging(group));
    *place = atomic_load_explicit(&shm->members[group->rank].staging, memory_order_relaxed) | TD_SHM_STAGED;
    if (shm->current == work) stage(group, work); /* else the slots still belong to an earlier work */
    return TD_OK;
}

/* All of this rank's part is done; `awaits_all` if others still write into its memory or read it. */
static bool done_here(td_group *group, td_work *work, bool awaits_all) {
    td_shm *shm = td_shm_of(group);
    work->awaits_all = awaits_all;
    td_publish(&shm->waiter, &shm->members[group->rank].done, td_shm_mark(work->sequence + 1, 0));
    return true;
}

static void sum(td_shm *shm, const td_work *work, void *const *to, size_t outputs, const void *const *from,
                size_t inputs, size_t count) {
    td_sum_for(shm->sums, work->call.dtype)(to, outputs, from, inputs, count, work->call.op == TD_REDUCE_AVG);
}

static bool run_small(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    const td_call *call = &work->call;
    if (call->kind == TD_CALL_ALL_REDUCE) {
        const void *from[TD_SEGMENT_RANKS_MAX];
        for (int r = 0; r < group->size; r++) from[r] = td_shm_entry_of(shm, r, work->sequence)->payload;
        sum(shm, work, &call->data, 1, from, (size_t)group->size, call->count);
    } else if (call->kind == TD_CALL_BROADCAST && call->root != group->rank && call->count) {
        memcpy(call->data, td_shm_entry_of(shm, call->root, work->sequence)->payload, td_shm_bytes(call));
    }
    return done_here(group, work, false);
}

/* This rank's slice of `count` elements that lie at at[r] for each rank r. */
static void sum_slice(td_group *group, td_work *work, uint8_t *const *at, size_t count) {
    size_t size = td_dtype_size(work->call.dtype), n = (size_t)group->size, r = (size_t)group->rank;
    size_t units = (count + TD_SHM_SLICE - 1) / TD_SHM_SLICE;
    size_t begin = units * r / n * TD_SHM_SLICE, end = units * (r + 1) / n * TD_SHM_SLICE;
    void *to[TD_SEGMENT_RANKS_MAX];
    const void *from[TD_SEGMENT_RANKS_MAX];
    if (end > count) end = count;
    if (begin >= end) return;
    for (size_t p = 0; p < n; p++) from[p] = to[p] = at[p] + begin * size;
    sum(td_shm_of(group), work, to, n, from, n, end - begin);
}

static bool run_in_place(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    uint8_t *at[TD_SEGMENT_RANKS_MAX];
    for (int r = 0; r < group->size; r++) at[r] = td_segment_at(shm->segment, place_of(shm, r, work));
    sum_slice(group, work, at, work->call.count);
    return done_here(group, work, true);
}

/* Have all ranks that stage brought in this chunk? */
static bool chunk_is_in(td_group *group, const td_work *work, uint64_t chunk, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    for (int r = 0; r < group->size; r++)
        if (is_staged(place_of(shm, r, work)) &&
            !td_shm_reached(&shm->members[r].ready, td_shm_mark(work->sequence, chunk + 1), r, missing))
            return false;
    return true;
}

/* Have all ranks done their share of this chunk? */
static bool chunk_is_done(td_group *group, const td_work *work, uint64_t chunk, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    for (int r = 0; r < group->size; r++)
        if (!td_shm_reached(&shm->members[r].done, td_shm_mark(work->sequence, chunk + 1), r, missing))
            return false;
    return true;
}

static void sum_chunk(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    uint8_t *at[TD_SEGMENT_RANKS_MAX];
    for (int r = 0; r < group->size; r++) at[r] = chunk_at(shm, place_of(shm, r, work), work->summed);
    sum_slice(group, work, at, chunk_bytes(work, work->summed) / td_dtype_size(work->call.dtype));
    work->summed++;
    td_publish(&shm->waiter, &shm->members[group->rank].done, td_shm_mark(work->sequence, work->summed));
}

/* Chunks are brought in, summed and moved out; each of the three goes on while it can. */
static bool run_staged(td_group *group, td_work *work, td_missing *missing) {
    uint64_t place = place_of(td_shm_of(group), group->rank, work);
    while (work->moved < work->steps) {
        if (is_staged(place)) stage(group, work);
        if (work->summed < work->steps && work->summed < work->moved + TD_SHM_SLOTS &&
            chunk_is_in(group, work, work->summed, missing)) {
            sum_chunk(group, work);
        } else if (work->moved < work->summed && chunk_is_done(group, work, work->moved, missing)) {
            if (is_staged(place))
                memcpy(chunk_of_caller(work, work->moved), chunk_at(td_shm_of(group), place, work->moved),
                       chunk_bytes(work, work->moved));
            work->moved++;
        } else {
            return false;
        }
    }
    return done_here(group, work, false);
}

/* The root's slots are free again when all others have copied from them. */
static bool run_staged_root(td_group *group, td_work *work, td_missing *missing) {
    while (work->moved < work->steps) {
        stage(group, work);
        for (int r = 0; r < group->size; r++)
            if (r != group->rank && !td_shm_reached(&td_shm_of(group)->members[r].done,
                                                    td_shm_mark(work->sequence, work->moved + 1), r, missing))
                return false;
        work->moved++;
    }
    return done_here(group, work, false);
}

static bool run_broadcast(td_group *group, td_work *work, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    int root = work->call.root;
    uint64_t place = place_of(shm, root, work);
    if (root == group->rank)
        return is_staged(place) ? run_staged_root(group, work, missing) : done_here(group, work, true);
    if (!is_staged(place)) {
        memcpy(work->call.data, td_segment_at(shm->segment, place), td_shm_bytes(&work->call));
        return done_here(group, work, false);
    }
    uint64_t steps = (td_shm_bytes(&work->call) + TD_SHM_CHUNK - 1) / TD_SHM_CHUNK;
    for (; work->moved < steps; work->moved++) {
        if (!td_shm_reached(&shm->members[root].ready, td_shm_mark(work->sequence, work->moved + 1), root,
                            missing))
            return false;
        memcpy(chunk_of_caller(work, work->moved), chunk_at(shm, place, work->moved),
               chunk_bytes(work, work->moved));
        td_publish(&shm->waiter, &shm->members[group->rank].done,
                   td_shm_mark(work->sequence, work->moved + 1));
    }
    return done_here(group, work, false);
}

bool td_shm_run(td_group *group, td_work *work, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    if (work->call.kind == TD_CALL_BARRIER || td_shm_is_small(&work->call)) return run_small(group, work);
    if (work->call.kind == TD_CALL_BROADCAST) return run_broadcast(group, work, missing);
    for (int r = 0; r < group->size; r++)
        if (is_staged(place_of(shm, r, work))) return run_staged(group, work, missing);
    return run_in_place(group, work);
}
