/*
 * The memory that the ranks of a job on one machine share: a memfd, mapped once per process at any address,
 * so only offsets cross ranks. It is carved into extents, handed out through a table in its header without
 * locks: a rank that is killed at any point stops nobody. An all-zero memfd is a valid empty segment.
 */
#ifndef TANDEM_DIST_SEGMENT_H
#define TANDEM_DIST_SEGMENT_H

#include "base/status.h"

typedef struct td_segment td_segment;

enum { TD_SEGMENT_PAGE = 4096, TD_SEGMENT_RANKS_MAX = 256 };

/* Where a rank announces itself before a group exists. */
typedef struct td_seat {
    _Alignas(
        64) _Atomic uint64_t opens; /* group openings this rank has begun; its pid is valid for the last */
    _Atomic int32_t pid;
    _Atomic uint64_t recorder; /* offset of its flight recorder, 0: none */
} td_seat;

/* Map the memfd, *lent* for the call. *Yours*. */
td_status td_segment_map(int fd, td_segment **segment);
/* Map what another job shares, for reading only. *Yours*. TD_ERR_FORMAT when it is no segment of this build. */
td_status td_segment_look(int fd, td_segment **segment);
/* One more owner. */
td_segment *td_segment_retain(td_segment *segment);
/* Leaves NULL; unmaps with the last owner. */
void td_segment_release(td_segment **segment);

/* Commit zeroed memory. TD_ERR_MEMORY, with what is free, when the machine or the container lacks it. */
td_status td_segment_alloc(td_segment *segment, size_t bytes, uint64_t *offset);
/* Give an extent back to the system. Its pages must not be used again by any rank. */
void td_segment_free(td_segment *segment, uint64_t offset);

void *td_segment_at(const td_segment *segment, uint64_t offset);
/* The offset of a place in the segment; false when these bytes do not lie in it. */
bool td_segment_offset(const td_segment *segment, const void *start, size_t bytes, uint64_t *offset);

td_seat *td_segment_seat(td_segment *segment, int local_rank);

/* The last group whose opening local rank 0 has begun: its number from 1 up in the upper half, the page of
 * its control block in the lower half, 0 if that could not be allocated. */
_Atomic uint64_t *td_segment_opening(td_segment *segment);

#endif
