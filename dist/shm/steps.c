/*
 * Three ways for data to meet: in the entries (small), in place (all ranks' data lies in the segment), or
 * chunk by chunk through staging slots. A rank whose data lies in the segment takes part in a staged call in
 * place.
 */
#include "dist/shm/steps.h"

#include <string.h>

static size_t data_bytes(const td_work *work) { return work->call.count * td_dtype_size(work->call.dtype); }

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
    size_t left = data_bytes(work) - chunk * TD_SHM_CHUNK;
    return left < TD_SHM_CHUNK ? left : TD_SHM_CHUNK;
}

static uint8_t *chunk_of_caller(const td_work *work, uint64_t chunk) {
    return (uint8_t *)work->call.output + chunk * TD_SHM_CHUNK;
}

/* Which of `count` elements are summed by rank `r`. */
static void slice_of(size_t count, int ranks, int r, size_t *begin, size_t *end) {
    size_t units = (count + TD_SHM_SLICE - 1) / TD_SHM_SLICE;
    *begin = units * (size_t)r / (size_t)ranks * TD_SHM_SLICE;
    *end = units * (size_t)(r + 1) / (size_t)ranks * TD_SHM_SLICE;
    if (*begin > count) *begin = count;
    if (*end > count) *end = count;
}

/* Is nobody going to read what the slot of this chunk holds? */
static bool slot_is_free(td_group *group, td_work *work, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    uint64_t mark = shm->free_mark; /* before the first chunks: the last work that was staged here is over */
    if (work->staged >= TD_SHM_SLOTS) {
        uint64_t chunk = work->staged - TD_SHM_SLOTS; /* that the slot holds */
        bool sums = work->call.kind == TD_CALL_ALL_REDUCE;
        if (sums && work->moved <= chunk) return false;
        mark = td_shm_mark(work->sequence, chunk + (sums ? TD_SHM_LAG + 1 : 1));
    }
    for (int r = 0; r < group->size; r++)
        if (r != group->rank && !td_shm_reached(&shm->members[r].done, mark, r, missing)) return false;
    return true;
}

/* Bring chunks of the current work into free slots. */
static void stage(td_group *group, td_work *work, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    td_shm_member *own = &shm->members[group->rank];
    while (work->staged < work->steps && slot_is_free(group, work, missing)) {
        uint64_t base = atomic_load_explicit(&own->staging, memory_order_relaxed);
        memcpy(chunk_at(shm, base | TD_SHM_STAGED, work->staged),
               (const uint8_t *)work->call.input + work->staged * TD_SHM_CHUNK,
               chunk_bytes(work, work->staged));
        work->staged++;
        td_publish(&shm->waiter, &own->ready, td_shm_mark(work->sequence, work->staged));
    }
    if (work->staged == work->steps) shm->free_mark = td_shm_mark(work->sequence + 1, 0);
}

static td_status need_staging(td_group *group) {
    td_shm *shm = td_shm_of(group);
    _Atomic uint64_t *staging = &shm->members[group->rank].staging;
    uint64_t offset;
    if (atomic_load_explicit(staging, memory_order_relaxed)) return TD_OK;
    if (td_segment_alloc(shm->segment, (size_t)TD_SHM_SLOTS * TD_SHM_CHUNK, &offset) < 0) {
        const td_doing doing = {.number = group->posted};
        return td_room_break(&shm->waiter, group->rank, &doing);
    }
    atomic_store(staging, offset);
    return TD_OK;
}

td_status td_shm_place(td_group *group, td_work *work, uint64_t *place) {
    td_shm *shm = td_shm_of(group);
    size_t bytes = data_bytes(work);
    work->steps = (bytes + TD_SHM_CHUNK - 1) / TD_SHM_CHUNK;
    /* An odd address cannot be told from a staged place, so it is staged. */
    if (td_segment_offset(shm->segment, work->call.input, bytes, place) && !is_staged(*place)) return TD_OK;
    TD_TRY(need_staging(group));
    *place = atomic_load_explicit(&shm->members[group->rank].staging, memory_order_relaxed) | TD_SHM_STAGED;
    td_missing missing;
    if (shm->current == work)
        stage(group, work, &missing); /* else the slots still belong to an earlier one */
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
    td_reduce_run(shm->reduce, work->call.op, work->call.dtype, work->call.factor, to, outputs, from, inputs,
                  count);
}

static bool run_small(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    const td_call *call = &work->call;
    if (call->kind == TD_CALL_ALL_REDUCE) {
        const void *from[TD_SEGMENT_RANKS_MAX];
        for (int r = 0; r < group->size; r++) from[r] = td_shm_entry_of(shm, r, work->sequence)->payload;
        sum(shm, work, &work->call.output, 1, from, (size_t)group->size, call->count);
    } else if (call->kind == TD_CALL_BROADCAST && call->root != group->rank && call->count) {
        memcpy(call->output, td_shm_entry_of(shm, call->root, work->sequence)->payload, data_bytes(work));
    }
    return done_here(group, work, false);
}

/* This rank's slice of all ranks' data, written to all. */
static bool run_in_place(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    void *to[TD_SEGMENT_RANKS_MAX];
    const void *from[TD_SEGMENT_RANKS_MAX];
    size_t begin, end, size = td_dtype_size(work->call.dtype), ranks = (size_t)group->size;
    slice_of(work->call.count, group->size, group->rank, &begin, &end);
    for (int r = 0; r < group->size; r++)
        from[r] = to[r] = td_segment_at(shm->segment, place_of(shm, r, work) + begin * size);
    if (begin < end) sum(shm, work, to, ranks, from, ranks, end - begin);
    return done_here(group, work, true);
}

/* Have all other ranks that stage brought in this chunk? */
static bool chunk_is_in(td_group *group, const td_work *work, uint64_t chunk, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    for (int r = 0; r < group->size; r++)
        if (r != group->rank && is_staged(place_of(shm, r, work)) &&
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

/* This rank's slice of a chunk: the sum is left where the others fetch it, and goes to the caller at once. */
static void sum_chunk(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    const void *from[TD_SEGMENT_RANKS_MAX];
    size_t begin, end, size = td_dtype_size(work->call.dtype), count = chunk_bytes(work, work->summed) / size;
    slice_of(count, group->size, group->rank, &begin, &end);
    for (int r = 0; r < group->size; r++)
        from[r] = chunk_at(shm, place_of(shm, r, work), work->summed) + begin * size;
    void *to[2] = {chunk_at(shm, place_of(shm, group->rank, work), work->summed) + begin * size,
                   chunk_of_caller(work, work->summed) + begin * size};
    if (begin < end) sum(shm, work, to, to[0] == to[1] ? 1 : 2, from, (size_t)group->size, end - begin);
    work->summed++;
    td_publish(&shm->waiter, &shm->members[group->rank].done, td_shm_mark(work->sequence, work->summed));
}

/* The other ranks' slices of a chunk. */
static void fetch_chunk(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    size_t begin, end, size = td_dtype_size(work->call.dtype), count = chunk_bytes(work, work->moved) / size;
    for (int r = 0; r < group->size; r++) {
        if (r == group->rank) continue;
        slice_of(count, group->size, r, &begin, &end);
        memcpy(chunk_of_caller(work, work->moved) + begin * size,
               chunk_at(shm, place_of(shm, r, work), work->moved) + begin * size, (end - begin) * size);
    }
    work->moved++;
}

/* Chunks are brought in, summed by slices, and the other slices fetched; each of the three goes on while it
 * can. Summing runs at most TD_SHM_LAG chunks ahead of fetching, so `done` tells what has been fetched too.
 */
static bool run_staged(td_group *group, td_work *work, td_missing *missing) {
    bool staged = is_staged(place_of(td_shm_of(group), group->rank, work));
    while (work->moved < work->steps) {
        if (staged) stage(group, work, missing);
        bool own_is_in = !staged || work->summed < work->staged;
        if (work->summed < work->steps && work->summed < work->moved + TD_SHM_LAG && own_is_in &&
            chunk_is_in(group, work, work->summed, missing))
            sum_chunk(group, work);
        else if (work->moved < work->summed && chunk_is_done(group, work, work->moved, missing))
            fetch_chunk(group, work);
        else
            return false;
    }
    return done_here(group, work, !staged);
}

/* The root's slots are free again when all others have copied from them. */
static bool run_staged_root(td_group *group, td_work *work, td_missing *missing) {
    stage(group, work, missing);
    return work->staged == work->steps && done_here(group, work, false);
}

static bool run_broadcast(td_group *group, td_work *work, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    int root = work->call.root;
    uint64_t place = place_of(shm, root, work);
    if (root == group->rank)
        return is_staged(place) ? run_staged_root(group, work, missing) : done_here(group, work, true);
    if (!is_staged(place)) {
        memcpy(work->call.output, td_segment_at(shm->segment, place), data_bytes(work));
        return done_here(group, work, false);
    }
    uint64_t steps = (data_bytes(work) + TD_SHM_CHUNK - 1) / TD_SHM_CHUNK;
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
    if (work->call.kind == TD_CALL_BARRIER || td_shm_is_small(work)) return run_small(group, work);
    if (work->call.kind == TD_CALL_BROADCAST) return run_broadcast(group, work, missing);
    for (int r = 0; r < group->size; r++)
        if (is_staged(place_of(shm, r, work))) return run_staged(group, work, missing);
    return run_in_place(group, work);
}
