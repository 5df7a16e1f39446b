/*
 * Every other collective of data that does not fit the entries: each rank takes what it needs from the others,
 * from where it lies or, of ranks that stage, chunk by chunk. Where all ranks need the same of a rank, a chunk
 * is a piece of its input; where each needs something else, a chunk holds a share for every rank, so that all
 * are busy at once.
 */
#include "dist/shm/steps.h"

#include <string.h>

enum { ALIGNMENT = 64 };

static bool is_strided(const td_work *work) {
    td_call_kind kind = work->call.kind;
    return kind == TD_CALL_SCATTER || kind == TD_CALL_ALL_TO_ALL || kind == TD_CALL_REDUCE_SCATTER;
}

/* Bytes of a chunk that are for one rank. */
static size_t share_of(const td_group *group, const td_work *work) {
    if (!is_strided(work)) return TD_SHM_CHUNK;
    return TD_SHM_CHUNK / (size_t)group->size / ALIGNMENT * ALIGNMENT;
}

static uint64_t rounds_of(size_t bytes, size_t share) { return (bytes + share - 1) / share; }

uint64_t td_shm_pull_steps(td_group *group, const td_work *work) {
    size_t share = share_of(group, work), most = work->input_bytes;
    if (is_strided(work)) {
        most = 0;
        for (int d = 0; d < group->size; d++) {
            size_t bytes = td_shm_piece(group, work, group->rank, d).bytes;
            if (d != group->rank && bytes > most) most = bytes;
        }
    }
    return rounds_of(most, share);
}

static size_t rest(size_t bytes, size_t done, size_t share) {
    size_t left = bytes > done ? bytes - done : 0;
    return left < share ? left : share;
}

void td_shm_fill_pull(td_group *group, td_work *work, uint8_t *slot) {
    size_t share = share_of(group, work), at = work->staged * share;
    const uint8_t *input = work->call.input;
    if (!is_strided(work)) {
        td_shm_fill_slot(td_shm_of(group), slot, input + at, rest(work->input_bytes, at, share));
        return;
    }
    for (int d = 0; d < group->size; d++) {
        if (d == group->rank) continue;
        td_piece piece = td_shm_piece(group, work, group->rank, d);
        size_t bytes = rest(piece.bytes, at, share);
        if (bytes)
            td_shm_fill_slot(td_shm_of(group), slot + (size_t)d * share, input + piece.from + at, bytes);
    }
}

static bool gives_by_slots(td_shm *shm, int s, const td_work *work) {
    return td_shm_is_staged(td_shm_place_of(shm, s, work));
}

/* Where byte `at` of a piece from rank s is to be read. */
static const uint8_t *source(td_group *group, const td_work *work, int s, td_piece piece, size_t at,
                             size_t share) {
    td_shm *shm = td_shm_of(group);
    uint64_t place = td_shm_place_of(shm, s, work);
    if (s == group->rank) return (const uint8_t *)work->call.input + piece.from + at;
    if (!td_shm_is_staged(place))
        return (const uint8_t *)td_segment_at(shm->segment, place) + piece.from + at;
    return td_shm_slot(shm, place, at / share) + (is_strided(work) ? (size_t)group->rank * share : 0);
}

/* Has rank s brought in what this rank needs of it in this round? */
static bool is_in(td_group *group, const td_work *work, int s, td_awaited *missing) {
    td_shm *shm = td_shm_of(group);
    return td_shm_reached(&shm->members[s].ready, td_shm_mark(work->sequence, work->moved + 1), s, missing);
}

static void combine(td_group *group, td_work *work, size_t share) {
    td_shm *shm = td_shm_of(group);
    const td_call *call = &work->call;
    const void *from[TD_SEGMENT_RANKS_MAX];
    size_t at = work->moved * share, bytes = rest(work->output_bytes, at, share);
    void *to = (uint8_t *)call->output + at;
    for (int s = 0; s < group->size; s++)
        from[s] = source(group, work, s, td_shm_piece(group, work, s, group->rank), at, share);
    td_reduce_run(shm->reduce, call->op, call->dtype, call->factor, &to, 1, from, (size_t)group->size,
                  bytes / td_dtype_size(call->dtype));
}

/* Data of ranks that do not stage is there at once and comes whole, in the first round. */
static void copy(td_group *group, td_work *work, size_t share) {
    td_shm *shm = td_shm_of(group);
    uint8_t *output = work->call.output;
    for (int i = 0; i < group->size; i++) {
        int s = (group->rank + i) % group->size; /* so that not all read from one rank at a time */
        td_piece piece = td_shm_piece(group, work, s, group->rank);
        bool slots = s != group->rank && gives_by_slots(shm, s, work);
        size_t at = slots ? work->moved * share : 0;
        size_t bytes = slots ? rest(piece.bytes, at, share) : work->moved ? 0 : piece.bytes;
        if (!bytes) continue;
        const uint8_t *from = source(group, work, s, piece, at, share);
        if (from != output + piece.to + at) memcpy(output + piece.to + at, from, bytes);
    }
}

/* Rounds in which this rank takes something, and the share of each. */
static uint64_t plan(td_group *group, const td_work *work, size_t *share) {
    td_shm *shm = td_shm_of(group);
    bool reduces = td_call_traits_of(work->call.kind)->reduces;
    size_t most = 0, any = 0;
    *share = share_of(group, work);
    for (int s = 0; s < group->size; s++) {
        size_t bytes = td_shm_piece(group, work, s, group->rank).bytes;
        any |= bytes;
        if (s != group->rank && gives_by_slots(shm, s, work) && bytes > most) most = bytes;
    }
    if (!any) return 0;
    if (most) return rounds_of(most, *share);
    if (reduces) *share = work->output_bytes; /* nobody stages: all at once */
    return 1;
}

/* Take what is in, round by round; true when nothing more is needed. */
static bool take(td_group *group, td_work *work, td_awaited *missing) {
    td_shm *shm = td_shm_of(group);
    size_t share;
    uint64_t rounds = plan(group, work, &share);
    for (; work->moved < rounds; work->moved++) {
        for (int s = 0; s < group->size; s++) {
            if (s == group->rank || !gives_by_slots(shm, s, work)) continue;
            if (td_shm_piece(group, work, s, group->rank).bytes <= work->moved * share) continue;
            if (!is_in(group, work, s, missing)) return false;
        }
        if (td_call_traits_of(work->call.kind)->reduces)
            combine(group, work, share);
        else
            copy(group, work, share);
        td_publish(&shm->waiter, &shm->members[group->rank].done,
                   td_shm_mark(work->sequence, work->moved + 1));
    }
    return true;
}

bool td_shm_run_pull(td_group *group, td_work *work, td_missing *missing) {
    td_shm *shm = td_shm_of(group);
    bool own_is_in_place = !gives_by_slots(shm, group->rank, work) && work->input_bytes;
    for (;;) {
        uint64_t before = work->moved + work->staged;
        missing->need.counter = NULL;
        td_shm_stage(group, work, td_shm_fill_pull, 0, missing);
        if (!work->taken && take(group, work, &missing->need)) {
            work->taken = true;
            td_shm_say_done(group, work);
        }
        if (work->taken && work->staged == work->steps) break;
        if (work->moved + work->staged == before) return false;
    }
    work->awaits_all = own_is_in_place; /* the others read from it */
    return true;
}
