/*
 * Ways for data to meet: in the entries (small), in place (all ranks' data lies in the segment), or chunk by
 * chunk through staging slots. A rank whose data lies in the segment takes part in a staged call in place.
 */
#include "dist/shm/steps.h"

#include <string.h>
#include <sys/mman.h>

static size_t part_of(const td_call *call, int r) { return call->counts ? call->counts[r] : call->count; }

/* Where rank d's part begins in the input of rank s; an uneven all_to_all has told it in its entry. */
static size_t begin_in(td_group *group, const td_work *work, int s, int d) {
    const td_call *call = &work->call;
    if (call->kind != TD_CALL_ALL_TO_ALL || !call->counts || s == group->rank)
        return td_part_begin(call->counts, call->count, d);
    const td_shm_entry *entry = td_shm_entry_of(td_shm_of(group), s, work->sequence);
    size_t begin = 0;
    for (int r = 0; r < d; r++) {
        uint64_t count;
        memcpy(&count, entry->payload + (size_t)r * sizeof count, sizeof count);
        begin += count;
    }
    return begin;
}

td_piece td_shm_piece(td_group *group, const td_work *work, int s, int d) {
    const td_call *call = &work->call;
    size_t size = td_dtype_size(call->dtype), begin;
    switch (call->kind) {
    case TD_CALL_ALL_REDUCE: return (td_piece){0, 0, call->count * size};
    case TD_CALL_REDUCE: return (td_piece){0, 0, d == call->root ? call->count * size : 0};
    case TD_CALL_BROADCAST: return (td_piece){0, 0, s == call->root && d != s ? call->count * size : 0};
    case TD_CALL_REDUCE_SCATTER:
        return (td_piece){td_part_begin(call->counts, call->count, d) * size, 0, part_of(call, d) * size};
    case TD_CALL_SCATTER:
        if (s != call->root) break;
        return (td_piece){td_part_begin(call->counts, call->count, d) * size, 0, part_of(call, d) * size};
    case TD_CALL_GATHER:
        if (d != call->root) break;
        return (td_piece){0, td_part_begin(call->counts, call->count, s) * size, part_of(call, s) * size};
    case TD_CALL_ALL_GATHER:
        return (td_piece){0, td_part_begin(call->counts, call->count, s) * size, part_of(call, s) * size};
    case TD_CALL_ALL_TO_ALL:
        begin = begin_in(group, work, s, d) * size;
        if (!call->counts) return (td_piece){begin, call->count * (size_t)s * size, call->count * size};
        if (d == group->rank)
            return (td_piece){begin, td_part_begin(call->recv_counts, 0, s) * size,
                              call->recv_counts[s] * size};
        return (td_piece){begin, 0, call->counts[d] * size}; /* this rank is s, which gives */
    default: break;
    }
    return (td_piece){0, 0, 0};
}

static td_status need_staging(td_group *group) {
    td_shm *shm = td_shm_of(group);
    _Atomic uint64_t *staging = &shm->members[group->rank].staging;
    uint64_t offset;
    if (atomic_load_explicit(staging, memory_order_relaxed)) return TD_OK;
    size_t bytes = (size_t)TD_SHM_SLOTS * TD_SHM_CHUNK;
    if (td_segment_alloc(shm->segment, bytes, &offset) < 0) {
        const td_doing doing = {.number = group->posted};
        return td_room_break(&shm->waiter, group->rank, &doing);
    }
    /* Page tables are filled now; an old kernel does without. */
    madvise(td_segment_at(shm->segment, offset), bytes, MADV_POPULATE_WRITE);
    atomic_store(staging, offset);
    return TD_OK;
}

/* Does nobody read any more what the slot of this chunk holds? */
static bool slot_is_free(td_group *group, td_work *work, uint64_t hold, td_awaited *missing) {
    td_shm *shm = td_shm_of(group);
    uint64_t mark = shm->free_mark; /* before the first chunks: the last work that was staged here is over */
    if (work->staged >= TD_SHM_SLOTS)
        mark = td_shm_mark(work->sequence, work->staged - TD_SHM_SLOTS + 1 + hold);
    for (int r = 0; r < group->size; r++)
        if (r != group->rank && !td_shm_reached(&shm->members[r].done, mark, r, missing)) return false;
    return true;
}

void td_shm_stage(td_group *group, td_work *work, td_shm_fill *fill, uint64_t hold, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    td_shm_member *own = &shm->members[group->rank];
    missing->slot.counter = NULL;
    if (!work->steps) return;
    while (work->staged < work->steps && slot_is_free(group, work, hold, &missing->slot)) {
        uint64_t base = atomic_load_explicit(&own->staging, memory_order_relaxed);
        fill(group, work, td_shm_slot(shm, base | TD_SHM_STAGED, work->staged));
        work->staged++;
        td_publish(&shm->waiter, &own->ready, td_shm_mark(work->sequence, work->staged));
    }
    if (work->staged == work->steps) shm->free_mark = td_shm_mark(work->sequence + 1, 0);
}

/* Offset of bytes that others may address; an odd address cannot be told from a staged place. */
static uint64_t offset_of(const td_shm *shm, const void *start, size_t bytes) {
    uint64_t offset;
    return td_segment_offset(shm->segment, start, bytes, &offset) && !td_shm_is_staged(offset) ? offset : 0;
}

td_status td_shm_offer(td_group *group, td_work *work, td_shm_entry *entry) {
    td_shm *shm = td_shm_of(group);
    const td_call *call = &work->call;
    bool all_reduce = call->kind == TD_CALL_ALL_REDUCE;
    uint64_t output = all_reduce ? offset_of(shm, call->output, work->output_bytes) : 0;
    uint64_t place = work->input_bytes ? offset_of(shm, call->input, work->input_bytes) : 0;
    if (all_reduce && !output) place = 0; /* where this rank leaves its sums must be addressable too */
    if (call->kind == TD_CALL_ALL_TO_ALL && call->counts)
        for (int r = 0; r < group->size; r++) {
            uint64_t count = call->counts[r];
            memcpy(entry->payload + (size_t)r * sizeof count, &count, sizeof count);
        }
    if (!place && work->input_bytes) {
        TD_TRY(need_staging(group));
        place =
            atomic_load_explicit(&shm->members[group->rank].staging, memory_order_relaxed) | TD_SHM_STAGED;
        work->steps = all_reduce ? (work->input_bytes + TD_SHM_CHUNK - 1) / TD_SHM_CHUNK
                                 : td_shm_pull_steps(group, work);
        td_missing missing;
        if (shm->current == work) /* else the slots still belong to an earlier one */
            td_shm_stage(group, work, all_reduce ? td_shm_fill_all_reduce : td_shm_fill_pull,
                         all_reduce ? TD_SHM_LAG : 0, &missing);
    }
    atomic_store_explicit(&entry->place, place, memory_order_relaxed);
    atomic_store_explicit(&entry->output, output, memory_order_relaxed);
    return TD_OK;
}

void td_shm_say_done(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    td_publish(&shm->waiter, &shm->members[group->rank].done, td_shm_mark(work->sequence + 1, 0));
}

bool td_shm_run(td_group *group, td_work *work, td_missing *missing) {
    if (td_shm_is_small(group, &work->call)) {
        td_shm_run_small(group, work);
        return true;
    }
    if (work->call.kind == TD_CALL_ALL_REDUCE) return td_shm_run_all_reduce(group, work, missing);
    return td_shm_run_pull(group, work, missing);
}
