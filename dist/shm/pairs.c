/* Sends and receives. Works are looked at from the oldest on, so messages of one tag keep their order. */
#include "dist/shm/pairs.h"

#include "base/memory.h"
#include "dist/shm/steps.h"

#include <string.h>

enum {
    SENT_NOT_YET, /* of a send: no letter is written */
    SENT,         /* of a send: the letter is written */
    MATCHED,      /* of a receive: its letter is known, and its data goes through the slots */
};

/* A few slots for every other rank, within a mebibyte where ranks are many. */
static size_t slot_bytes(const td_group *group) {
    size_t bytes =
        ((size_t)1 << 20) / TD_SHM_BOX_SLOTS / (size_t)group->size / TD_SEGMENT_PAGE * TD_SEGMENT_PAGE;
    return bytes > 1 << 16 ? 1 << 16 : bytes < TD_SEGMENT_PAGE ? TD_SEGMENT_PAGE : bytes;
}

static size_t box_bytes(const td_group *group) {
    return sizeof(td_shm_box) + TD_SHM_BOX_SLOTS * slot_bytes(group);
}

/* The box for messages from s to d; NULL before s has sent anything. */
static td_shm_box *box_of(td_group *group, int s, int d) {
    td_shm *shm = td_shm_of(group);
    uint64_t boxes = atomic_load_explicit(&shm->members[s].boxes, memory_order_acquire);
    return boxes ? td_segment_at(shm->segment, boxes + (size_t)d * box_bytes(group)) : NULL;
}

static uint8_t *slot_of(td_group *group, td_shm_box *box, uint64_t chunk) {
    return (uint8_t *)(box + 1) + chunk % TD_SHM_BOX_SLOTS * slot_bytes(group);
}

static void ring(td_group *group, int rank) {
    td_shm *shm = td_shm_of(group);
    td_ring(&shm->waiter, &shm->members[rank].bell);
}

td_awaited td_shm_bell(td_group *group, int rank) {
    td_shm *shm = td_shm_of(group);
    return (td_awaited){.rank = rank, .counter = &shm->members[group->rank].bell, .value = shm->heard + 1};
}

/* Fail the group for all. */
static td_status give_up(td_group *group, const td_work *work, int culprit) {
    const td_doing doing = {.print = work->print, .number = work->sequence + 1};
    return td_room_break(&td_shm_of(group)->waiter, culprit, &doing);
}

static td_status need_sides(td_group *group, const td_work *work) {
    td_shm *shm = td_shm_of(group);
    if (!shm->sides) shm->sides = td_calloc((size_t)group->size, sizeof *shm->sides);
    return shm->sides ? TD_OK : give_up(group, work, group->rank);
}

static td_status need_boxes(td_group *group, const td_work *work) {
    td_shm *shm = td_shm_of(group);
    _Atomic uint64_t *boxes = &shm->members[group->rank].boxes;
    uint64_t offset;
    if (atomic_load_explicit(boxes, memory_order_relaxed)) return TD_OK;
    if (td_segment_alloc(shm->segment, (size_t)group->size * box_bytes(group), &offset) < 0)
        return give_up(group, work, group->rank);
    atomic_store(boxes, offset);
    return TD_OK;
}

static uint64_t chunks_of(const td_group *group, size_t bytes) {
    return (bytes + slot_bytes(group) - 1) / slot_bytes(group);
}

/* Write the next letter to the receiver, unless the place where it belongs is not free yet. */
static bool write_letter(td_group *group, td_work *work, td_shm_box *box) {
    td_shm *shm = td_shm_of(group);
    td_shm_side *side = &shm->sides[work->call.root];
    td_shm_letter *letter = &box->letters[side->sent % TD_SHM_LETTERS];
    uint64_t place = 0;
    if (side->sent >= TD_SHM_LETTERS &&
        atomic_load_explicit(&letter->taken, memory_order_acquire) < side->sent - TD_SHM_LETTERS + 1)
        return false;
    if (work->input_bytes <= TD_SHM_LETTER_BYTES) {
        if (work->input_bytes) memcpy(letter->data, work->call.input, work->input_bytes);
    } else if (!td_segment_offset(shm->segment, work->call.input, work->input_bytes, &place) ||
               td_shm_is_staged(place)) {
        place = TD_SHM_STAGED;
        work->steps = chunks_of(group, work->input_bytes);
    }
    atomic_store_explicit(&letter->tag, (uint64_t)work->call.tag, memory_order_relaxed);
    atomic_store_explicit(&letter->dtype, (uint64_t)work->call.dtype, memory_order_relaxed);
    atomic_store_explicit(&letter->count, work->call.count, memory_order_relaxed);
    atomic_store_explicit(&letter->place, place, memory_order_relaxed);
    work->letter = side->sent++;
    work->stage = SENT;
    atomic_store_explicit(&letter->number, work->letter + 1, memory_order_release);
    ring(group, work->call.root);
    return true;
}

/* Put in what the receiver has asked for. */
static void fill_slots(td_group *group, td_work *work, td_shm_box *box) {
    size_t slot = slot_bytes(group);
    uint64_t staged = atomic_load_explicit(&box->staged, memory_order_relaxed), before = staged;
    if (atomic_load_explicit(&box->wanted, memory_order_acquire) != work->letter + 1) return;
    uint64_t fetched = atomic_load_explicit(&box->fetched, memory_order_acquire);
    for (; work->staged < work->steps && staged < fetched + TD_SHM_BOX_SLOTS; staged++, work->staged++) {
        size_t at = work->staged * slot, left = work->input_bytes - at;
        memcpy(slot_of(group, box, staged), (const uint8_t *)work->call.input + at,
               left < slot ? left : slot);
    }
    if (staged == before) return;
    atomic_store_explicit(&box->staged, staged, memory_order_release);
    ring(group, work->call.root);
}

/* True when the send is over: the receiver has the data, or it is where it can be changed. */
static td_status run_send(td_group *group, td_work *work, bool *first_unsent, bool *over) {
    TD_TRY(need_boxes(group, work));
    td_shm_box *box = box_of(group, group->rank, work->call.root);
    if (work->stage == SENT_NOT_YET && (!*first_unsent || !write_letter(group, work, box))) {
        *first_unsent = false; /* nor may a later one to this rank */
        return TD_OK;
    }
    const td_shm_letter *letter = &box->letters[work->letter % TD_SHM_LETTERS];
    if (work->steps) {
        fill_slots(group, work, box);
        *over = work->staged == work->steps;
    } else {
        *over = work->input_bytes <= TD_SHM_LETTER_BYTES ||
                atomic_load_explicit(&letter->taken, memory_order_acquire) >= work->letter + 1;
    }
    return TD_OK;
}

static td_status disagree(td_group *group, const td_work *work, const td_shm_letter *letter) {
    td_fingerprint sent = {.shape = TD_CALL_SEND |
                                    atomic_load_explicit(&letter->dtype, memory_order_relaxed) << 8 |
                                    (uint64_t)td_group_name(group, group->rank) << 32,
                           .count = atomic_load_explicit(&letter->count, memory_order_relaxed)};
    td_call_text theirs = td_fingerprint_describe(sent), ours = td_fingerprint_describe(work->print);
    td_fail(TD_ERR_MISMATCH, 0, "dist/shm", "tag %d: rank %d calls %s, but rank %d calls %s", work->call.tag,
            td_group_name(group, work->call.root), theirs.text, td_group_name(group, group->rank), ours.text);
    return give_up(group, work, -1);
}

/* The oldest unmatched letter with this tag, or NULL. */
static td_shm_letter *match(td_group *group, td_work *work, td_shm_box *box) {
    td_shm_side *side = &td_shm_of(group)->sides[work->call.root];
    for (uint64_t n = side->low; n < side->low + TD_SHM_LETTERS; n++) {
        td_shm_letter *letter = &box->letters[n % TD_SHM_LETTERS];
        if (atomic_load_explicit(&letter->number, memory_order_acquire) != n + 1) return NULL;
        if (side->matched >> n % TD_SHM_LETTERS & 1) continue;
        if (atomic_load_explicit(&letter->tag, memory_order_relaxed) != (uint64_t)work->call.tag) continue;
        side->matched |= 1u << n % TD_SHM_LETTERS;
        while (side->matched >> side->low % TD_SHM_LETTERS & 1)
            side->matched &= ~(1u << side->low++ % TD_SHM_LETTERS);
        work->letter = n;
        return letter;
    }
    return NULL;
}

static void take(td_group *group, td_work *work, td_shm_letter *letter) {
    atomic_store_explicit(&letter->taken, work->letter + 1, memory_order_release);
    ring(group, work->call.root);
}

/* Take out what is in the slots; true when that was all. */
static bool empty_slots(td_group *group, td_work *work, td_shm_box *box) {
    size_t slot = slot_bytes(group);
    uint64_t fetched = atomic_load_explicit(&box->fetched, memory_order_relaxed), before = fetched;
    uint64_t staged = atomic_load_explicit(&box->staged, memory_order_acquire);
    for (; work->moved < work->steps && fetched < staged; fetched++, work->moved++) {
        size_t at = work->moved * slot, left = work->output_bytes - at;
        memcpy((uint8_t *)work->call.output + at, slot_of(group, box, fetched), left < slot ? left : slot);
    }
    if (fetched != before) {
        atomic_store_explicit(&box->fetched, fetched, memory_order_release);
        ring(group, work->call.root);
    }
    return work->moved == work->steps;
}

static td_status run_receive(td_group *group, td_work *work, bool *over) {
    td_shm *shm = td_shm_of(group);
    td_shm_side *side = &shm->sides[work->call.root];
    td_shm_box *box = box_of(group, work->call.root, group->rank);
    if (!box) return TD_OK;
    td_shm_letter *letter = &box->letters[work->letter % TD_SHM_LETTERS];
    if (work->stage != MATCHED) {
        letter = match(group, work, box);
        if (!letter) return TD_OK;
        if (atomic_load_explicit(&letter->count, memory_order_relaxed) != work->call.count ||
            atomic_load_explicit(&letter->dtype, memory_order_relaxed) != (uint64_t)work->call.dtype)
            return disagree(group, work, letter);
        uint64_t place = atomic_load_explicit(&letter->place, memory_order_relaxed);
        if (place != TD_SHM_STAGED) {
            const void *from = place ? td_segment_at(shm->segment, place) : letter->data;
            if (work->output_bytes) memcpy(work->call.output, from, work->output_bytes);
            take(group, work, letter);
            *over = true;
            return TD_OK;
        }
        work->stage = MATCHED;
        work->steps = chunks_of(group, work->output_bytes);
    }
    if (!side->pulling) {
        side->pulling = work;
        atomic_store_explicit(&box->wanted, work->letter + 1, memory_order_release);
        ring(group, work->call.root);
    }
    if (side->pulling != work || !empty_slots(group, work, box)) return TD_OK;
    side->pulling = NULL;
    take(group, work, letter);
    *over = true;
    return TD_OK;
}

td_status td_shm_run_pairs(td_group *group) {
    td_shm *shm = td_shm_of(group);
    uint64_t held_back[TD_SEGMENT_RANKS_MAX / 64] = {0}; /* ranks to which an older send could not go yet */
    shm->heard = atomic_load_explicit(&shm->members[group->rank].bell, memory_order_acquire);
    for (td_work **link = &shm->pairs; *link;) {
        td_work *work = *link;
        int peer = work->call.root;
        bool over = false, may_send = !(held_back[peer / 64] >> peer % 64 & 1);
        TD_TRY(need_sides(group, work));
        if (work->call.kind == TD_CALL_SEND)
            TD_TRY(run_send(group, work, &may_send, &over));
        else
            TD_TRY(run_receive(group, work, &over));
        if (!may_send) held_back[peer / 64] |= UINT64_C(1) << peer % 64;
        if (!over) {
            link = &work->next;
            continue;
        }
        *link = work->next;
        work->next = NULL;
        td_work_finish(work, TD_OK);
    }
    return TD_OK;
}
