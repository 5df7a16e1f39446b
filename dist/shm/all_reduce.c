/*
 * All-reduce of data that does not fit the entries. Where all ranks' data lies in the segment, each rank
 * combines its slice of all and writes it to all. Otherwise that is done chunk by chunk: a chunk is brought
 * in (but for the rank's own slice, which nobody else reads), combined by slices, and the other slices are
 * fetched.
 */
#include "dist/shm/steps.h"

#include <string.h>

/* Which of `count` elements are combined by rank `r`. */
static void slice_of(size_t count, int ranks, int r, size_t *begin, size_t *end) {
    size_t units = (count + TD_SHM_SLICE - 1) / TD_SHM_SLICE;
    *begin = units * (size_t)r / (size_t)ranks * TD_SHM_SLICE;
    *end = units * (size_t)(r + 1) / (size_t)ranks * TD_SHM_SLICE;
    if (*begin > count) *begin = count;
    if (*end > count) *end = count;
}

static uint64_t output_of(td_shm *shm, int r, const td_work *work) {
    return atomic_load_explicit(&td_shm_entry_of(shm, r, work->sequence)->output, memory_order_relaxed);
}

static bool run_in_place(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    const td_call *call = &work->call;
    void *to[TD_SEGMENT_RANKS_MAX];
    const void *from[TD_SEGMENT_RANKS_MAX];
    size_t begin, end, size = td_dtype_size(call->dtype), ranks = (size_t)group->size;
    slice_of(call->count, group->size, group->rank, &begin, &end);
    for (int r = 0; r < group->size; r++) {
        from[r] = td_segment_at(shm->segment, td_shm_place_of(shm, r, work) + begin * size);
        to[r] = td_segment_at(shm->segment, output_of(shm, r, work) + begin * size);
    }
    if (begin < end)
        td_reduce_run(shm->reduce, call->op, call->dtype, call->factor, to, ranks, from, ranks, end - begin);
    work->awaits_all = true; /* the others write to this rank's output */
    td_shm_say_done(group, work);
    return true;
}

static size_t chunk_count(const td_work *work, uint64_t chunk) {
    size_t left = work->input_bytes - chunk * TD_SHM_CHUNK;
    return (left < TD_SHM_CHUNK ? left : TD_SHM_CHUNK) / td_dtype_size(work->call.dtype);
}

void td_shm_fill_all_reduce(td_group *group, td_work *work, uint8_t *slot) {
    size_t begin, end, size = td_dtype_size(work->call.dtype), count = chunk_count(work, work->staged);
    const uint8_t *chunk = (const uint8_t *)work->call.input + work->staged * TD_SHM_CHUNK;
    slice_of(count, group->size, group->rank, &begin, &end);
    td_shm_fill_slot(td_shm_of(group), slot, chunk, begin * size);
    td_shm_fill_slot(td_shm_of(group), slot + end * size, chunk + end * size, (count - end) * size);
}

/* Where a rank's chunk is to be read, and where its sums are to be fetched. */
static uint8_t *given_by(td_shm *shm, int r, const td_work *work, uint64_t chunk) {
    uint64_t place = td_shm_place_of(shm, r, work);
    return td_shm_is_staged(place) ? td_shm_slot(shm, place, chunk)
                                   : (uint8_t *)td_segment_at(shm->segment, place + chunk * TD_SHM_CHUNK);
}

static uint8_t *left_by(td_shm *shm, int r, const td_work *work, uint64_t chunk) {
    uint64_t place = td_shm_place_of(shm, r, work);
    return td_shm_is_staged(place)
               ? td_shm_slot(shm, place, chunk)
               : (uint8_t *)td_segment_at(shm->segment, output_of(shm, r, work) + chunk * TD_SHM_CHUNK);
}

/* Have all other ranks that stage brought in this chunk? */
static bool chunk_is_in(td_group *group, const td_work *work, uint64_t chunk, td_awaited *missing) {
    td_shm *shm = td_shm_of(group);
    for (int r = 0; r < group->size; r++)
        if (r != group->rank && td_shm_is_staged(td_shm_place_of(shm, r, work)) &&
            !td_shm_reached(&shm->members[r].ready, td_shm_mark(work->sequence, chunk + 1), r, missing))
            return false;
    return true;
}

/* Have all ranks done their share of this chunk? */
static bool chunk_is_done(td_group *group, const td_work *work, uint64_t chunk, td_awaited *missing) {
    td_shm *shm = td_shm_of(group);
    for (int r = 0; r < group->size; r++)
        if (!td_shm_reached(&shm->members[r].done, td_shm_mark(work->sequence, chunk + 1), r, missing))
            return false;
    return true;
}

/* This rank's slice: the result goes to the caller, and then to where the others fetch it. */
static void combine_chunk(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    const td_call *call = &work->call;
    const void *from[TD_SEGMENT_RANKS_MAX];
    uint64_t chunk = work->summed;
    size_t begin, end, size = td_dtype_size(call->dtype);
    slice_of(chunk_count(work, chunk), group->size, group->rank, &begin, &end);
    for (int r = 0; r < group->size; r++) from[r] = given_by(shm, r, work, chunk) + begin * size;
    from[group->rank] = (const uint8_t *)call->input + chunk * TD_SHM_CHUNK + begin * size;
    void *to = (uint8_t *)call->output + chunk * TD_SHM_CHUNK + begin * size;
    uint8_t *left = left_by(shm, group->rank, work, chunk) + begin * size;
    if (begin < end) {
        td_reduce_run(shm->reduce, call->op, call->dtype, call->factor, &to, 1, from, (size_t)group->size,
                      end - begin);
        if (left != to) td_shm_fill_slot(td_shm_of(group), left, to, (end - begin) * size);
    }
    work->summed++;
    td_publish(&shm->waiter, &shm->members[group->rank].done, td_shm_mark(work->sequence, work->summed));
}

static void fetch_chunk(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    uint64_t chunk = work->moved;
    size_t begin, end, size = td_dtype_size(work->call.dtype), count = chunk_count(work, chunk);
    uint8_t *output = (uint8_t *)work->call.output + chunk * TD_SHM_CHUNK;
    for (int r = 0; r < group->size; r++) {
        if (r == group->rank) continue;
        slice_of(count, group->size, r, &begin, &end);
        memcpy(output + begin * size, left_by(shm, r, work, chunk) + begin * size, (end - begin) * size);
    }
    work->moved++;
}

/* Each of the three goes on while it can. Combining runs at most TD_SHM_LAG chunks ahead of fetching, so `done`
 * tells what has been fetched too. */
static bool run_staged(td_group *group, td_work *work, td_missing *missing) {
    uint64_t chunks = (work->input_bytes + TD_SHM_CHUNK - 1) / TD_SHM_CHUNK;
    while (work->moved < chunks) {
        missing->need.counter = NULL;
        td_shm_stage(group, work, td_shm_fill_all_reduce, TD_SHM_LAG, missing);
        bool own_is_in = !work->steps || work->summed < work->staged;
        if (work->summed < chunks && work->summed < work->moved + TD_SHM_LAG && own_is_in &&
            chunk_is_in(group, work, work->summed, &missing->need))
            combine_chunk(group, work);
        else if (work->moved < work->summed && chunk_is_done(group, work, work->moved, &missing->need))
            fetch_chunk(group, work);
        else
            return false;
    }
    work->awaits_all = !work->steps; /* the others read from this rank's own memory */
    td_shm_say_done(group, work);
    return true;
}

bool td_shm_run_all_reduce(td_group *group, td_work *work, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    for (int r = 0; r < group->size; r++)
        if (td_shm_is_staged(td_shm_place_of(shm, r, work))) return run_staged(group, work, missing);
    return run_in_place(group, work);
}
