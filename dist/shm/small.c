/*
 * Small data travels in the entries: a rank writes its input beside the number that announces the call, and
 * takes what it needs out of the others' entries. When the caller waits and nothing else is in flight, that is
 * done at once, without the queue. What then counts is the way from seeing the others' numbers to writing the
 * next one: the recorder is fed after the number is out, while it is on its way; and so are the lines of the
 * next entry fetched, which the others have read eight calls ago, so that the next number is written without
 * delay.
 */
#include "dist/recorder_ring.h"
#include "dist/shm/steps.h"

#include <string.h>

static size_t most_of(const td_group *group, const td_call *call) {
    size_t most = call->count;
    for (int r = 0; call->counts && r < group->size; r++)
        if (r == 0 || call->counts[r] > most) most = call->counts[r];
    return most;
}

bool td_shm_is_small(const td_group *group, const td_call *call) {
    size_t count = call->count;
    switch (call->kind) {
    case TD_CALL_BARRIER: return true;
    case TD_CALL_ALL_GATHER:
    case TD_CALL_GATHER: count = most_of(group, call); break;
    case TD_CALL_REDUCE_SCATTER:
    case TD_CALL_SCATTER: count = td_part_begin(call->counts, call->count, group->size); break;
    case TD_CALL_ALL_TO_ALL:
        if (call->counts) return false;
        count *= (size_t)group->size;
        break;
    default: break;
    }
    return count * td_dtype_size(call->dtype) <= TD_SHM_SMALL;
}

static inline void combine(td_group *group, const td_work *work) {
    td_shm *shm = td_shm_of(group);
    const td_call *call = &work->call;
    const void *from[TD_SEGMENT_RANKS_MAX];
    size_t begin = td_shm_piece(group, work, group->rank, group->rank).from;
    for (int r = 0; r < group->size; r++) from[r] = td_shm_entry_of(shm, r, work->sequence)->payload + begin;
    td_reduce_run(shm->reduce, call->op, call->dtype, call->factor, &call->output, 1, from,
                  (size_t)group->size, work->output_bytes / td_dtype_size(call->dtype));
}

void td_shm_run_small(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    uint8_t *output = work->call.output;
    if (work->output_bytes && td_call_kinds[work->call.kind].reduces) {
        combine(group, work);
    } else if (work->output_bytes) {
        for (int s = 0; s < group->size; s++) {
            td_piece piece = td_shm_piece(group, work, s, group->rank);
            if (piece.bytes)
                memcpy(output + piece.to, td_shm_entry_of(shm, s, work->sequence)->payload + piece.from,
                       piece.bytes);
        }
    }
    td_shm_say_done(group, work);
}

/* Bring the lines of an entry of this rank into its own cache, as owner; processors without the instruction pass
 * over it. */
static inline void claim(td_shm_entry *entry, size_t bytes) {
    const uint8_t *line = (const uint8_t *)entry;
    for (size_t at = 0; at < offsetof(td_shm_entry, payload) + bytes; at += 64)
        __asm__ volatile("prefetchw %0" : : "m"(line[at]));
}

/* Wait until all have announced this call, and see that it is the same one. */
static td_status meet(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    const td_doing doing = {work->print, work->sequence + 1, work->call.timeout};
    uint64_t freed = work->sequence;
    for (int r = 0; r < group->size; r++) {
        td_shm_entry *entry = td_shm_entry_of(shm, r, work->sequence);
        td_awaited awaited;
        if (!td_shm_reached(&entry->number, work->sequence + 1, r, &awaited))
            TD_TRY(td_wait(&shm->waiter, &awaited, 1, &doing));
        td_fingerprint theirs = td_shm_print_of(entry);
        if (__builtin_expect(theirs.shape != work->print.shape || theirs.count != work->print.count, 0))
            return td_shm_disagree(group, work, r, theirs);
        for (size_t at = 0; at < work->input_bytes; at += 64) __builtin_prefetch(entry->payload + at);
        uint64_t done = atomic_load_explicit(&entry->done, memory_order_relaxed);
        if (done < freed) freed = done;
    }
    shm->freed = freed;
    return TD_OK;
}

td_status td_shm_run_at_once(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    claim(td_shm_entry_of(shm, group->rank, work->sequence), 0); /* somebody may be looking for the number */
    bool in_turn = !shm->first && !shm->pairs && work->sequence < shm->freed + TD_SHM_RING;
    if (!in_turn || td_room_is_broken(shm->waiter.room) || !td_shm_is_small(group, &work->call))
        return TD_PENDING;
    td_shm_announce(group, work);
    claim(td_shm_entry_of(shm, group->rank, work->sequence + 1), work->input_bytes);
    td_record_begin(group, work);
    td_record_posted(group, work);
    td_status status = meet(group, work);
    if (status < 0)
        status = td_shm_fail(group);
    else
        td_shm_run_small(group, work);
    td_work_finish(work, status);
    return status;
}
