/*
 * Sends and receives: a mailbox for each ordered pair of ranks, in memory of the sender.
 *
 * The n-th message from s to d is letter n % LETTERS of that box. Small data is in the letter; data in the
 * segment is read where it lies; other data is put into the box's slots when the receiver asks for it, so the
 * receiver decides in which order messages come, by tag:
 *
 *   letter.number = n + 1   sent; what the letter says is valid            (moved by s)
 *   letter.taken  = n + 1   received: the letter and the data are free     (by d)
 *   box.wanted    = n + 1   message n is to be put into the slots          (by d; one at a time)
 *   box.staged, box.fetched chunks put in and taken out, of all messages   (by s, by d)
 *
 * Whoever moves one of them rings the other rank's bell, the one counter that a rank with sends or receives in
 * flight listens to.
 */
#ifndef TANDEM_DIST_SHM_PAIRS_H
#define TANDEM_DIST_SHM_PAIRS_H

#include "dist/shm/protocol.h"

enum { TD_SHM_LETTERS = 16, TD_SHM_LETTER_BYTES = 440, TD_SHM_BOX_SLOTS = 4 };

typedef struct td_shm_letter {
    _Alignas(TD_LINE) _Atomic uint64_t number;
    _Atomic uint64_t tag, dtype, count, place; /* TD_SHM_STAGED: in the slots; 0: in the letter */
    uint8_t data[TD_SHM_LETTER_BYTES];
    _Alignas(TD_LINE) _Atomic uint64_t taken;
} td_shm_letter;

typedef struct td_shm_box {
    td_shm_letter letters[TD_SHM_LETTERS];
    _Alignas(TD_LINE) _Atomic uint64_t staged;
    _Alignas(TD_LINE) _Atomic uint64_t wanted;
    _Atomic uint64_t fetched;
    /* then TD_SHM_BOX_SLOTS slots */
} td_shm_box;

/* What a rank knows of its two boxes with another. */
typedef struct td_shm_side {
    uint64_t sent;    /* letters written to the other */
    uint64_t low;     /* the other's letters before it have all been matched */
    uint32_t matched; /* bit n % LETTERS: letter n from `low` on has been matched */
    td_work *pulling; /* the receive whose data comes through the slots now */
} td_shm_side;

/* Advance all sends and receives; never waits. */
td_status td_shm_run_pairs(td_group *group);

/* The slot of send and recv. */
td_status td_shm_post_pair(td_group *group, td_work *work);

/* To wait for the next ring of this rank's bell, after td_shm_run_pairs. */
td_awaited td_shm_bell(td_group *group, int rank);

#endif
