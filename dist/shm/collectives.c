/*
 * The engine: posted works stand in a queue, and each rank advances its own as far as the others' counters
 * allow. `advance` never waits; where it stops it says which counters of which ranks it misses, and only
 * td_shm_wait then waits for one of them.
 */
#include "dist/recorder_ring.h"
#include "dist/shm/pairs.h"
#include "dist/shm/protocol.h"
#include "dist/shm/steps.h"

#include <string.h>

static td_doing doing_of(const td_work *work) {
    return (td_doing){.print = work->print, .number = work->sequence + 1};
}

static void finish_all(td_work **first, td_status status) {
    while (*first) {
        td_work *work = *first;
        *first = work->next;
        td_work_finish(work, status);
    }
}

td_status td_shm_fail(td_group *group) {
    td_shm *shm = td_shm_of(group);
    td_status status = td_group_break(group);
    finish_all(&shm->first, status);
    finish_all(&shm->pairs, status);
    shm->last = shm->current = shm->unpublished = NULL;
    return status;
}

/* Have all ranks reached `mark`? If not, says who has not. */
static bool all_done(td_group *group, uint64_t mark, td_awaited *missing) {
    td_shm *shm = td_shm_of(group);
    for (int r = 0; r < group->size; r++)
        if (!td_shm_reached(&shm->members[r].done, mark, r, missing)) return false;
    return true;
}

/* May the entry of this collective be written? */
static bool ring_has_room(td_group *group, uint64_t sequence, td_awaited *missing) {
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

static void announce(td_group *group, const td_work *work, td_shm_entry *entry) {
    td_shm *shm = td_shm_of(group);
    uint64_t done = atomic_load_explicit(&shm->members[group->rank].done, memory_order_relaxed) >> 24;
    atomic_store_explicit(&entry->shape, work->print.shape, memory_order_relaxed);
    atomic_store_explicit(&entry->count, work->print.count, memory_order_relaxed);
    atomic_store_explicit(&entry->done, done, memory_order_relaxed);
    td_publish(&shm->waiter, &entry->number, work->sequence + 1);
    td_waiter_note(&shm->waiter, work->sequence + 1, work->print);
}

void td_shm_announce(td_group *group, td_work *work) {
    td_shm_entry *entry = td_shm_entry_of(td_shm_of(group), group->rank, work->sequence);
    if (work->input_bytes) memcpy(entry->payload, work->call.input, work->input_bytes);
    announce(group, work, entry);
}

static td_status publish(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    if (td_shm_is_small(group, &work->call)) {
        td_shm_announce(group, work);
    } else {
        td_shm_entry *entry = td_shm_entry_of(shm, group->rank, work->sequence);
        TD_TRY(td_shm_offer(group, work, entry));
        announce(group, work, entry);
    }
    work->stage = TD_SHM_PUBLISHED;
    shm->unpublished = work->next;
    return TD_OK;
}

td_status td_shm_disagree(td_group *group, const td_work *work, int peer, td_fingerprint theirs) {
    td_doing doing = doing_of(work);
    td_call_text a = td_fingerprint_describe(doing.print), b = td_fingerprint_describe(theirs);
    bool first = group->rank < peer;
    int own = td_group_name(group, group->rank), other = td_group_name(group, peer);
    td_fail(TD_ERR_MISMATCH, 0, "dist/shm", "call %llu of the group: rank %d calls %s, but rank %d calls %s",
            (unsigned long long)doing.number, first ? own : other, first ? a.text : b.text,
            first ? other : own, first ? b.text : a.text);
    return td_room_break(&td_shm_of(group)->waiter, -1, &doing);
}

/* What only two ranks know of each other: how much each sends the other. */
static td_status check_pairs(td_group *group, const td_work *work) {
    td_shm *shm = td_shm_of(group);
    for (int s = 0; s < group->size; s++) {
        uint64_t sent;
        memcpy(&sent, td_shm_entry_of(shm, s, work->sequence)->payload + (size_t)group->rank * sizeof sent,
               sizeof sent);
        if (sent == work->call.recv_counts[s]) continue;
        td_doing doing = doing_of(work);
        td_fail(
            TD_ERR_MISMATCH, 0, "dist/shm",
            "call %llu of the group, all_to_all: rank %d sends %llu elements to rank %d, which expects %zu",
            (unsigned long long)doing.number, td_group_name(group, s), (unsigned long long)sent,
            td_group_name(group, group->rank), work->call.recv_counts[s]);
        return td_room_break(&shm->waiter, -1, &doing);
    }
    return TD_OK;
}

/* See whether every rank has published this call, and the same one. */
static td_status meet(td_group *group, td_work *work, td_awaited *missing) {
    td_shm *shm = td_shm_of(group);
    td_fingerprint ours = work->print;
    for (; work->met < group->size; work->met++) {
        td_shm_entry *entry = td_shm_entry_of(shm, work->met, work->sequence);
        if (!td_shm_reached(&entry->number, work->sequence + 1, work->met, missing)) return TD_OK;
        td_fingerprint theirs = td_shm_print_of(entry);
        if (__builtin_expect(theirs.shape != ours.shape || theirs.count != ours.count, 0))
            return td_shm_disagree(group, work, work->met, theirs);
    }
    if (__builtin_expect(work->call.recv_counts != NULL, 0)) TD_TRY(check_pairs(group, work));
    work->stage = TD_SHM_MET;
    td_record_started(group, work);
    return TD_OK;
}

/* Works are finished in order; those whose memory others use wait until all others are done. */
static void finish_front(td_group *group, td_awaited *missing) {
    td_shm *shm = td_shm_of(group);
    while (shm->first && shm->first->stage == TD_SHM_DONE_HERE) {
        td_work *work = shm->first;
        if (work->awaits_all && !all_done(group, td_shm_mark(work->sequence + 1, 0), missing)) return;
        shm->first = work->next;
        if (!shm->first) shm->last = NULL;
        td_work_finish(work, TD_OK);
    }
}

/* Do all that can be done now; `missing` then keeps `current` from going on, or the front from ending. */
static td_status advance(td_group *group, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    *missing = (td_missing){0};
    if (__builtin_expect(td_room_is_broken(shm->waiter.room), 0)) {
        td_doing doing = {.number = group->posted};
        if (shm->first) doing = doing_of(shm->first);
        return td_room_report(&shm->waiter, &doing);
    }
    if (__builtin_expect(shm->pairs != NULL, 0)) TD_TRY(td_shm_run_pairs(group));
    for (;;) {
        while (shm->unpublished && ring_has_room(group, shm->unpublished->sequence, &missing->need))
            TD_TRY(publish(group, shm->unpublished));
        td_work *work = shm->current;
        if (!work || work->stage == TD_SHM_POSTED) break;
        if (work->stage == TD_SHM_PUBLISHED) TD_TRY(meet(group, work, &missing->need));
        if (work->stage != TD_SHM_MET || !td_shm_run(group, work, missing)) break;
        work->stage = TD_SHM_DONE_HERE;
        shm->current = work->next;
        *missing = (td_missing){0};
        finish_front(group, &missing->need);
    }
    td_awaited front = {0};
    finish_front(group, &front);
    if (!shm->current) *missing = (td_missing){.need = front};
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
    return advance(group, &missing) < 0 ? td_shm_fail(group) : TD_OK;
}

/* The counts of an uneven one travel in the entry. */
td_status td_shm_post_all_to_all(td_group *group, td_work *work) {
    if (work->call.counts && (size_t)group->size * sizeof(uint64_t) > TD_SHM_SMALL)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/shm", "an uneven all_to_all takes %zu ranks, not %d",
                       TD_SHM_SMALL / sizeof(uint64_t), group->size);
    return td_shm_post(group, work);
}

td_status td_shm_post_pair(td_group *group, td_work *work) {
    td_missing missing;
    td_work **end = &td_shm_of(group)->pairs;
    while (*end) end = &(*end)->next;
    *end = work;
    return advance(group, &missing) < 0 ? td_shm_fail(group) : TD_OK;
}

td_status td_shm_test(td_group *group) {
    td_missing missing;
    return advance(group, &missing) < 0 ? td_shm_fail(group) : TD_OK;
}

/* What this rank sleeps for while `work` cannot go on; the first is whom to blame. */
static int list_awaited(td_group *group, const td_work *work, const td_missing *missing,
                        td_awaited awaited[3]) {
    td_shm *shm = td_shm_of(group);
    int count = 0;
    bool is_pair = td_call_traits_of(work->call.kind)->pairs;
    td_awaited bell = td_shm_bell(group, is_pair ? work->call.root : missing->need.rank);
    if (is_pair) awaited[count++] = bell;
    if (missing->need.counter) awaited[count++] = missing->need;
    if (missing->slot.counter) awaited[count++] = missing->slot;
    if (!is_pair && shm->pairs) awaited[count++] = bell;
    return count;
}

td_status td_shm_wait(td_group *group, td_work *work) {
    td_shm *shm = td_shm_of(group);
    bool is_pair = td_call_traits_of(work->call.kind)->pairs;
    td_missing missing;
    td_awaited awaited[3];
    for (;;) {
        if (advance(group, &missing) < 0) return td_shm_fail(group);
        if (work->status != TD_PENDING) return work->status;
        const td_work *blocked = is_pair ? work : shm->current;
        if (!is_pair && work->stage == TD_SHM_DONE_HERE) { /* only the others' parts are missing, of the front
                                                              first */
            blocked = shm->first;
            missing = (td_missing){0};
            if (all_done(group, td_shm_mark(blocked->sequence + 1, 0), &missing.need)) continue;
        }
        td_doing doing = doing_of(blocked);
        doing.timeout = work->call.timeout;
        int count = list_awaited(group, work, &missing, awaited);
        if (td_wait(&shm->waiter, awaited, count, &doing) < 0) return td_shm_fail(group);
    }
}
