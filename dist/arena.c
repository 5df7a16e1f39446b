/* A group's blocks: sizes are agreed on here, memory comes from the backend. */
#include "dist/arena.h"

#include "base/checked.h"
#include "base/memory.h"
#include "dist/internal.h"

enum { PAGE = 4096, TAIL_PADDING = 64 };

/* Rank 0's request is everybody's; a rank that asked for something else breaks the group. */
static td_status agree(td_group *group, size_t bytes, bool one) {
    int64_t asked[2] = {(int64_t)bytes, one}, first[2] = {asked[0], asked[1]};
    if (group->size == 1) return TD_OK;
    TD_TRY(td_group_broadcast(group, first, 2, TD_DTYPE_I64, 0, (td_device){TD_DEVICE_CPU, 0}, NULL, NULL));
    if (first[0] == asked[0] && first[1] == asked[1]) return TD_OK;
    td_fail(TD_ERR_MISMATCH, 0, "dist", "rank 0 wants %s of %lld bytes in the arena, rank %d %s of %lld",
            first[1] ? "one block" : "blocks", (long long)first[0], group->rank, one ? "one block" : "blocks",
            (long long)asked[0]);
    group->backend->abort(group, -1);
    return td_group_break(group);
}

static td_status alloc(td_arena *arena, size_t bytes, bool one, void **block) {
    td_group *group = arena->group;
    size_t padded, stride, total;
    if (!td_add_size(bytes, TAIL_PADDING, &padded) || !td_round_up_size(padded, PAGE, &stride) ||
        !td_mul_size(stride, (size_t)group->size, &total) || total > INT64_MAX)
        return td_fail(TD_ERR_ARG, 0, "dist", "a block of %zu bytes for each of %d ranks cannot be", bytes,
                       group->size);
    td_block *made = td_calloc(1, sizeof *made);
    if (!made) return td_group_give_up(group); /* the others are on their way into the exchange below */
    made->bytes = bytes;
    made->stride = stride;
    made->parts = one ? 1 : group->size;
    td_status status = agree(group, bytes, one);
    if (status >= 0) status = group->backend->alloc(group, made);
    if (status < 0) {
        td_free(made);
        return status;
    }
    made->next = arena->blocks;
    arena->blocks = made;
    *block = made->base + (made->addressable && !one ? (size_t)group->rank * stride : 0);
    return TD_OK;
}

td_status td_arena_alloc(td_arena *arena, size_t bytes, void **block) {
    return alloc(arena, bytes, false, block);
}

td_status td_arena_alloc_one(td_arena *arena, size_t bytes, void **block) {
    return alloc(arena, bytes, true, block);
}

/* This rank's part of a block. */
static uint8_t *own_part(const td_arena *arena, const td_block *block) {
    return block->base +
           (block->addressable && block->parts > 1 ? (size_t)arena->group->rank * block->stride : 0);
}

/* The block in whose part of this rank the bytes lie, or NULL. */
static td_block *find(const td_arena *arena, const void *start, size_t bytes) {
    uintptr_t at = (uintptr_t)start;
    for (td_block *block = arena->blocks; block; block = block->next) {
        uintptr_t part = (uintptr_t)own_part(arena, block);
        if (at >= part && at - part < block->stride && bytes <= block->stride - (at - part)) return block;
    }
    return NULL;
}

void td_arena_free(td_arena *arena, void **block) {
    void *start = *block;
    *block = NULL;
    td_block *found = start ? find(arena, start, 0) : NULL;
    if (!found) return;
    for (td_block **link = &arena->blocks; *link; link = &(*link)->next)
        if (*link == found) {
            *link = found->next;
            break;
        }
    arena->group->backend->free(arena->group, found);
    td_free(found);
}

void *td_arena_at(const td_arena *arena, const void *mine, int rank) {
    const td_block *block = find(arena, mine, 0);
    if (!block || rank < 0 || rank >= arena->group->size) return NULL;
    if (!block->addressable && rank != arena->group->rank) return NULL;
    if (!block->addressable || block->parts == 1) return (void *)(uintptr_t)mine;
    return block->base + (size_t)rank * block->stride + ((const uint8_t *)mine - own_part(arena, block));
}

bool td_arena_contains(const td_arena *arena, const void *start, size_t bytes) {
    return find(arena, start, bytes);
}

void td_arena_forget(td_arena *arena) {
    while (arena->blocks) {
        td_block *block = arena->blocks;
        arena->blocks = block->next;
        td_free(block);
    }
}
