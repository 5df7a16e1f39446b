/*
 * Opening and closing a group over shared memory, and its blocks. Nobody waits for a leader: the first rank
 * that comes makes the control block and puts it where all look; a rank that made a second one gives it back.
 */
#include "base/memory.h"
#include "dist/reduce.h"
#include "dist/shm/pairs.h"
#include "dist/shm/protocol.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static td_status can(const td_job *job, const td_group_options *options) {
    const td_job_facts *f = &job->facts;
    if (options->device != TD_DEVICE_CPU)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/shm", "it takes data on cpu, not on %s",
                       td_device_name(options->device));
    if (f->local_world_size != f->world_size)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/shm",
                       "the job spans machines: %d of its %d ranks are on this one", f->local_world_size,
                       f->world_size);
    if (f->world_size > TD_SEGMENT_RANKS_MAX)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "dist/shm", "it serves %d ranks, the job has %d",
                       TD_SEGMENT_RANKS_MAX, f->world_size);
    return TD_OK;
}

static size_t room_offset(void) { return sizeof(td_shm_control); }
static size_t members_offset(int size) { return room_offset() + td_room_bytes(size); }
static size_t control_bytes(int size) { return members_offset(size) + (size_t)size * sizeof(td_shm_member); }

/* Find the control block of the group that this rank opens as its `number`-th (from 1), or make it. */
static td_status find_control(td_shm *shm, int size, uint64_t number) {
    _Atomic uint64_t *opening = td_segment_opening(shm->segment);
    uint64_t seen = atomic_load(opening), made;
    while (seen >> 32 < number) {
        TD_TRY(td_segment_alloc(shm->segment, control_bytes(size), &made));
        if (atomic_compare_exchange_strong(opening, &seen, number << 32 | made / TD_SEGMENT_PAGE)) {
            shm->control_offset = made;
            return TD_OK;
        }
        td_segment_free(shm->segment, made);
    }
    if (seen >> 32 > number)
        return td_fail(TD_ERR_STATE, 0, "dist/shm",
                       "this rank opens its group %llu, but others their group %llu",
                       (unsigned long long)number, (unsigned long long)(seen >> 32));
    shm->control_offset = (seen & UINT32_MAX) * TD_SEGMENT_PAGE;
    return TD_OK;
}

/* Map the control block, take the seat in it, and wait for the others to take theirs. */
static td_status enter(td_group *group, td_shm *shm) {
    const td_doing doing = {.number = 0};
    shm->control = td_segment_at(shm->segment, shm->control_offset);
    shm->members = (td_shm_member *)((uint8_t *)shm->control + members_offset(group->size));
    td_room *room = (td_room *)((uint8_t *)shm->control + room_offset());
    td_waiter_enter(&shm->waiter, room);
    for (int r = 0; r < group->size; r++) {
        const td_awaited seat = {.rank = r, .counter = &room->seats[r].entered, .value = 1};
        TD_TRY(td_wait(&shm->waiter, &seat, 1, &doing));
    }
    return TD_OK;
}

static td_shm *make_state(const td_group *group) {
    td_shm *shm = td_calloc(1, sizeof *shm);
    if (!shm || td_waiter_open(&shm->waiter, group) < 0) {
        td_free(shm);
        return NULL;
    }
    shm->reduce = td_reduce_select();
    return shm;
}

static void drop_state(td_shm *shm) {
    td_waiter_close(&shm->waiter);
    td_free(shm->sides);
    td_free(shm);
}

static td_status open_group(td_group *group) {
    td_shm *shm = make_state(group);
    if (!shm) return TD_ERR_MEMORY;
    td_status status = td_job_segment(group->job, group->stall_timeout, &shm->segment);
    if (status >= 0) {
        _Atomic uint64_t *opens = &td_segment_seat(shm->segment, group->job->facts.local_rank)->opens;
        status = find_control(shm, group->size, atomic_load(opens) + 1);
        if (status >= 0) atomic_fetch_add(opens, 1);
    }
    if (status >= 0) status = enter(group, shm);
    if (status < 0) {
        drop_state(shm);
        return status;
    }
    group->compute_threads = td_waiter_settle(&shm->waiter);
    group->state = shm;
    return TD_OK;
}

/* What a rank of the parent tells the others about the part to which it belongs. */
typedef struct offer {
    int64_t status;  /* whether it can take part */
    uint64_t offset; /* of the part's control block, from its first rank */
} offer;

static offer make_offer(const td_shm *parent, const td_group *group, const td_shm *shm) {
    offer mine = {0};
    if (!group) return mine;
    if (!shm)
        mine.status = TD_ERR_MEMORY;
    else if (group->rank == 0)
        mine.status = td_segment_alloc(parent->segment, control_bytes(group->size), &mine.offset);
    return mine;
}

/* The part's control block, if all its ranks can take part. */
static td_status accept(const td_group *parent, const td_group *group, const offer *offers,
                        uint64_t *offset) {
    for (int r = 0; r < parent->size; r++)
        for (int i = 0; i < group->size; i++) {
            if (group->members[i] != td_group_name(parent, r)) continue;
            if (i == 0) *offset = offers[r].offset;
            if (offers[r].status < 0)
                return r == parent->rank
                           ? td_error_last()->status
                           : td_fail(TD_ERR_MEMORY, 0, "dist/shm", "rank %d has no memory for the new group",
                                     group->members[i]);
        }
    return TD_OK;
}

static td_status split(td_group *parent, int colour, int key, td_group *group) {
    td_shm *above = td_shm_of(parent), *shm = group ? make_state(group) : NULL;
    offer mine = make_offer(above, group, shm), *offers = td_calloc((size_t)parent->size, sizeof *offers);
    (void)colour, (void)key;
    td_error own = *td_error_last();
    td_status status = offers ? td_group_all_gather(parent, &mine, offers, sizeof mine, TD_DTYPE_U8,
                                                    (td_device){TD_DEVICE_CPU, 0}, NULL, NULL)
                              : td_group_give_up(parent);
    if (status >= 0 && mine.status < 0) td_error_restore(&own);
    uint64_t offset = 0;
    if (status >= 0 && group) status = accept(parent, group, offers, &offset);
    td_free(offers);
    if (status >= 0 && group) {
        shm->segment = above->segment;
        shm->control_offset = offset;
        status = enter(group, shm);
    }
    if (status < 0) {
        if (mine.offset) td_segment_free(above->segment, mine.offset);
        if (shm) drop_state(shm);
        return status;
    }
    if (!group) return TD_OK;
    shm->waiter.spin_ns = above->waiter.spin_ns; /* the same cores */
    shm->waiter.yield_ns = above->waiter.yield_ns;
    if (atomic_load(&above->waiter.room->no_membarrier)) atomic_store(&shm->waiter.room->no_membarrier, 1);
    group->state = shm;
    return TD_OK;
}

/* The last rank to leave knows that nobody looks at the group's memory any more. */
static void leave(td_group *group, td_shm *shm) {
    td_waiter_close(&shm->waiter);
    if (atomic_fetch_add(&shm->control->left, 1) + 1 < (uint32_t)group->size) return;
    for (const td_block *block = group->arena.blocks; block; block = block->next)
        td_segment_free(shm->segment, block->offset);
    for (int r = 0; r < group->size; r++) {
        uint64_t staging = atomic_load(&shm->members[r].staging);
        uint64_t boxes = atomic_load(&shm->members[r].boxes);
        if (staging) td_segment_free(shm->segment, staging);
        if (boxes) td_segment_free(shm->segment, boxes);
    }
    td_segment_free(shm->segment, shm->control_offset);
}

static void close_group(td_group *group) {
    td_shm *shm = td_shm_of(group);
    while (shm->last && td_shm_wait(group, shm->last) >= 0) {}
    while (shm->pairs && td_shm_wait(group, shm->pairs) >= 0) {}
    leave(group, shm);
    drop_state(shm);
}

static void abort_group(td_group *group, int culprit) {
    td_shm *shm = td_shm_of(group);
    const td_doing doing = {.number = group->posted};
    td_room_break(&shm->waiter, culprit, &doing);
}

/* A rank whose newest call is an older one. */
static int missing(const td_group *group, const td_work *work, int after) {
    const td_waiter *waiter = &((const td_shm *)group->state)->waiter;
    if (td_call_traits_of(work->call.kind)->pairs) return work->call.root > after ? work->call.root : -1;
    for (int r = after + 1; r < group->size; r++)
        if (r != group->rank && atomic_load(&waiter->room->seats[r].last_number) <= work->sequence) return r;
    return -1;
}

/* What rank 0 tells the others about an allocation. */
typedef struct verdict {
    int64_t status;
    uint64_t offset;
    char text[480];
} verdict;

static td_status alloc(td_group *group, td_block *block) {
    td_shm *shm = td_shm_of(group);
    size_t bytes = (size_t)block->parts * block->stride;
    verdict v = {0};
    if (group->rank == 0) {
        v.status = td_segment_alloc(shm->segment, bytes, &v.offset);
        if (v.status) snprintf(v.text, sizeof v.text, "%.479s", td_error_last()->text);
    }
    TD_TRY(
        td_group_broadcast(group, &v, sizeof v, TD_DTYPE_U8, 0, (td_device){TD_DEVICE_CPU, 0}, NULL, NULL));
    if (v.status) return td_fail((td_status)v.status, 0, "dist/shm", "%s", v.text);
    block->offset = v.offset;
    block->base = td_segment_at(shm->segment, v.offset);
    block->addressable = true;
    /* Page tables are filled now rather than page by page in the first step; an old kernel does without. */
    madvise(block->base, bytes, MADV_POPULATE_WRITE);
    return TD_OK;
}

static void free_block(td_group *group, td_block *block) {
    /* Every rank is past its last use when all have come here; in a broken group that is not certain, and the
     * memory goes back with the group. */
    if (td_group_barrier(group, NULL) < 0 || group->rank != 0) return;
    td_segment_free(td_shm_of(group)->segment, block->offset);
}

const td_backend td_backend_shm = {
    .name = "shm",
    .device = TD_DEVICE_CPU,
    .reduces = TD_REDUCES_EVERYTHING,
    .can = can,
    .open = open_group,
    .split = split,
    .close = close_group,
    .post =
        {
            [TD_CALL_BARRIER] = td_shm_post,
            [TD_CALL_ALL_REDUCE] = td_shm_post,
            [TD_CALL_BROADCAST] = td_shm_post,
            [TD_CALL_REDUCE] = td_shm_post,
            [TD_CALL_REDUCE_SCATTER] = td_shm_post,
            [TD_CALL_ALL_GATHER] = td_shm_post,
            [TD_CALL_GATHER] = td_shm_post,
            [TD_CALL_SCATTER] = td_shm_post,
            [TD_CALL_ALL_TO_ALL] = td_shm_post_all_to_all,
            [TD_CALL_SEND] = td_shm_post_pair,
            [TD_CALL_RECV] = td_shm_post_pair,
        },
    .run = td_shm_run_at_once,
    .test = td_shm_test,
    .wait = td_shm_wait,
    .missing = missing,
    .abort = abort_group,
    .alloc = alloc,
    .free = free_block,
};
