/*
 * Memory that the ranks of one machine share, without names: collectives on buffers that lie in it need no
 * staging copy. Central object: td_arena, a group's share of the machine's memory, *lent* by td_group_arena
 * and gone with the group. Allocation is collective and each call is large (buckets, a decoded data set), so
 * make few of them. Shortage, also the container's, is a status at allocation and never a signal later.
 * One thread at a time, the group's.
 *
 * In a group whose ranks cannot share memory every block is the rank's own, and td_arena_at knows no others.
 */
#ifndef TANDEM_DIST_ARENA_H
#define TANDEM_DIST_ARENA_H

#include "base/status.h"

TD_BEGIN_DECLS

/* A block of `bytes` for each rank; *block receives this rank's. Every rank calls it with the same number
 * (TD_ERR_MISMATCH). Zeroed, aligned to 64 bytes, with 64 bytes of tail padding. *Yours* until
 * td_arena_free or until the group is closed. TD_ERR_MEMORY, on all ranks, with what was free. */
TD_API td_status td_arena_alloc(td_arena *arena, size_t bytes, void **block);

/* One block that all ranks see; as td_arena_alloc otherwise. */
TD_API td_status td_arena_alloc_one(td_arena *arena, size_t bytes, void **block);

/* Give a block back; every rank calls it, after its last use by anybody. Leaves NULL; NULL inside is fine. */
TD_API void td_arena_free(td_arena *arena, void **block);

/* Where rank `rank` has what this rank has at `mine`, a place within one of its blocks: readable and writable
 * here. NULL when `mine` is in no block or that rank's memory is not addressable. */
TD_API void *td_arena_at(const td_arena *arena, const void *mine, int rank);

/* Do these bytes lie in one of this rank's blocks? */
TD_API bool td_arena_contains(const td_arena *arena, const void *start, size_t bytes);

TD_END_DECLS

#endif
