/*
 * The engine: posted works stand in a queue, and each rank advances its own as far as the others' counters
 * allow. `advance` never waits; where it stops it says which counter of which rank it misses, and only
 * td_shm_wait then waits for that.
 */
#include "dist/recorder_ring.h"
#include "dist/shm/protocol.h"
#include "dist/shm/steps.h"

#include <string.h>

static td_doing doing_of(const td_work *work) {
    return (td_doing){.print = work->print, .number = work->sequence + 1};
}

/* After any failure: nothing that is posted will ever be done. */
static td_status fail_all(td_group *group) {
    td_shm *shm = td_shm_of(group);
    td_status status = td_group_break(group);
    while (shm->first) {
        td_work *work = shm->first;
        shm->first = work->next;
        td_work_finish(work, status);
    }
    shm->last = shm->current = shm->unpublished = NULL;
    return status;
}

/* Have all ranks reached `mark`? If not, says who has not. */
static bool all_done(td_group *group, uint64_t mark, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    for (int r = 0; r < group->size; r++)
        if (!td_shm_reached(&shm->members[r].done, mark, r, missing)) return false;
    return true;
}

/* May the entry of this collective be written? */
static bool ring_has_room(td_group *group, uint64_t sequence, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    if (sequence < shm->freed + TD_SHM_RING) return true;
    uint64_t least = UINT64_MAX;
    for (int r = 0; r < group->size; r++) {
        uint64_t done = atomic_load_explicit(&shm->members[r].done, memory_order_acquire) >> 24;
        if (done < least) least = done;
    }
    shm->freed = least;
    return sequence < least + TD_SHM_RING ||
           all_done(group, td_shm_mark(sequence - TD_SHM_RING + 1, 0), missing);
}

static td_status publish(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    td_shm_entry *entry = td_shm_entry_of(shm, group->rank, work->sequence);
    td_fingerprint print = work->print;
    bool gives = work->call.kind == TD_CALL_ALL_REDUCE ||
                 (work->call.kind == TD_CALL_BROADCAST && work->call.root == group->rank);
    uint64_t place = 0;
    if (gives && td_shm_is_small(work))
        memcpy(entry->payload, work->call.input, work->input_bytes);
    else if (gives)
        TD_TRY(td_shm_place(group, work, &place));
    atomic_store_explicit(&entry->shape, print.shape, memory_order_relaxed);
    atomic_store_explicit(&entry->count, print.count, memory_order_relaxed);
    atomic_store_explicit(&entry->place, place, memory_order_relaxed);
    td_waiter_note(&shm->waiter, work->sequence + 1, print);
    td_publish(&shm->waiter, &entry->number, work->sequence + 1);
    work->stage = TD_SHM_PUBLISHED;
    shm->unpublished = work->next;
    return TD_OK;
}

static td_status disagree(td_group *group, const td_work *work, int peer, td_fingerprint theirs) {
    td_doing doing = doing_of(work);
    td_call_text a = td_fingerprint_describe(doing.print), b = td_fingerprint_describe(theirs);
    bool first = group->rank < peer;
    td_fail(TD_ERR_MISMATCH, 0, "dist/shm", "call %llu of the group: rank %d calls %s, but rank %d calls %s",
            (unsigned long long)doing.number, first ? group->rank : peer, first ? a.text : b.text,
            first ? peer : group->rank, first ? b.text : a.text);
    return td_room_break(&td_shm_of(group)->waiter, -1, &doing);
}

/* See whether every rank has published this call, and the same one. */
static td_status meet(td_group *group, td_work *work, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    td_fingerprint ours = work->print;
    for (; work->met < group->size; work->met++) {
        td_shm_entry *entry = td_shm_entry_of(shm, work->met, work->sequence);
        if (!td_shm_reached(&entry->number, work->sequence + 1, work->met, missing)) return TD_OK;
        td_fingerprint theirs = {atomic_load_explicit(&entry->shape, memory_order_relaxed),
                                 atomic_load_explicit(&entry->count, memory_order_relaxed)};
        if (__builtin_expect(theirs.shape != ours.shape || theirs.count != ours.count, 0))
            return disagree(group, work, work->met, theirs);
    }
    work->stage = TD_SHM_MET;
    td_record_started(group, work);
    return TD_OK;
}

/* Works are finished in order; those that wrote to others' memory wait until all others have written to
 * theirs. */
static void finish_front(td_group *group, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    while (shm->first && shm->first->stage == TD_SHM_DONE_HERE) {
        td_work *work = shm->first;
        if (work->awaits_all && !all_done(group, td_shm_mark(work->sequence + 1, 0), missing)) return;
        shm->first = work->next;
        if (!shm->first) shm->last = NULL;
        td_work_finish(work, TD_OK);
    }
}

/* Do all that can be done now. missing->counter is then what keeps `current`, or the front, from going on. */
static td_status advance(td_group *group, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    missing->counter = NULL;
    if (__builtin_expect(td_room_is_broken(shm->waiter.room), 0)) {
        td_doing doing = {.number = group->posted};
        if (shm->first) doing = doing_of(shm->first);
        return td_room_report(&shm->waiter, &doing);
    }
    for (;;) {
        while (shm->unpublished && ring_has_room(group, shm->unpublished->sequence, missing))
            TD_TRY(publish(group, shm->unpublished));
        td_work *work = shm->current;
        if (!work || work->stage == TD_SHM_POSTED) break;
        if (work->stage == TD_SHM_PUBLISHED) TD_TRY(meet(group, work, missing));
        if (work->stage != TD_SHM_MET || !td_shm_run(group, work, missing)) break;
        work->stage = TD_SHM_DONE_HERE;
        shm->current = work->next;
        finish_front(group, missing);
    }
    td_missing front = {0};
    finish_front(group, &front);
    if (!shm->current) *missing = front;
    return TD_OK;
}

td_status td_shm_post(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    td_missing missing;
    if (shm->last) shm->last->next = work;
    if (!shm->first) shm->first = work;
    if (!shm->current) shm->current = work;
    if (!shm->unpublished) shm->unpublished = work;
    shm->last = work;
    return advance(group, &missing) < 0 ? fail_all(group) : TD_OK;
}

td_status td_shm_test(td_group *group) {
    td_missing missing;
    return advance(group, &missing) < 0 ? fail_all(group) : TD_OK;
}

td_status td_shm_wait(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    td_missing missing;
    for (;;) {
        if (advance(group, &missing) < 0) return fail_all(group);
        if (work->status != TD_PENDING) return work->status;
        td_work *blocked = shm->current;
        if (work->stage ==
            TD_SHM_DONE_HERE) { /* then only the others' parts are missing, of the front first */
            blocked = shm->first;
            if (all_done(group, td_shm_mark(blocked->sequence + 1, 0), &missing)) continue;
        }
        td_doing doing = doing_of(blocked);
        if (td_wait(&shm->waiter, missing.rank, missing.counter, missing.value, &doing) < 0)
            return fail_all(group);
    }
}
