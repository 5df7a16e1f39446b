/*
 * Waiting for other ranks: the only place in dist that polls memory. A wait is for one of a few counters in
 * shared memory, each moved by one known rank, to reach a value. It spins, then yields, then sleeps in the kernel; it has
 * a deadline; it notices a rank that died, left or is late; and it ends when any rank declares the group
 * broken.
 *
 * A td_room is the shared part, zeroed at first; a td_waiter is one rank's private side of it.
 */
#ifndef TANDEM_DIST_WAIT_H
#define TANDEM_DIST_WAIT_H

#include "dist/fingerprint.h"

#include <sched.h>
#include <stdatomic.h>

#define TD_AWAITS_ANY UINT32_MAX

enum { TD_LINE = 128 }; /* bytes apart that keep two ranks' writes from disturbing each other */

/* What a rank tells about itself. */
typedef struct td_room_seat {
    _Alignas(TD_LINE) _Atomic uint32_t awaits;            /* rank + 1 that it sleeps for, TD_AWAITS_ANY, or 0:
                                                             it is awake; a futex */
    _Atomic uint32_t blames;                              /* rank + 1 that it waits for first, else 0 */
    _Atomic uint32_t left;                                /* it has closed the group */
    _Atomic uint64_t last_number, last_shape, last_count; /* its newest call; the number counts from 1 */
    _Alignas(64) _Atomic uint64_t entered;                /* 1: what follows is valid */
    int32_t pid;
    uint64_t started;   /* of the process, in the kernel's ticks: a pid may be used again */
    uint64_t pid_space; /* pids mean something only within one */
    cpu_set_t cpus;
} td_room_seat;

typedef struct td_room {
    _Alignas(TD_LINE) _Atomic uint32_t broken; /* 0, 1: being written, 2: what follows is valid */
    _Atomic uint32_t sleepers;                 /* ranks that may be asleep */
    _Atomic uint32_t no_membarrier;            /* a rank cannot use it, so publishers pay for a fence */
    _Alignas(TD_LINE) int32_t status;
    int32_t culprit; /* the rank whose fault it is, or -1 */
    char text[480];
    td_room_seat seats[];
} td_room;

static inline size_t td_room_bytes(int ranks) {
    return sizeof(td_room) + (size_t)ranks * sizeof(td_room_seat);
}

typedef struct td_peer td_peer;

/* What a rank is doing while it waits; made into text only when somebody is told. */
typedef struct td_doing {
    td_fingerprint print;
    uint64_t number; /* of the call in its group, from 1; 0: opening the group */
    double timeout;  /* seconds that the wait may last; 0: as long as all */
} td_doing;

/* What a wait is for; the first one's rank is the one that is named if nothing comes. */
typedef struct td_awaited {
    int rank;
    const _Atomic uint64_t *counter;
    uint64_t value;
} td_awaited;

typedef struct td_waiter {
    td_room *room;
    td_job *job; /* lent: whom to tell about lost and stuck ranks */
    td_peer *peers;
    int rank, size;
    const int *names;          /* the job's ranks, for messages; NULL: the same */
    int64_t spin_ns, yield_ns; /* how long before the next, more patient way of waiting */
    double stall_timeout, stall_report;
    bool told; /* the launcher knows that a rank is lost */
} td_waiter;

/* The private side, *yours* until td_waiter_close. All that may fail is done here, before others count on this rank. */
td_status td_waiter_open(td_waiter *waiter, const td_group *group);
/* Take this rank's seat in the group's room. */
void td_waiter_enter(td_waiter *waiter, td_room *room);
/* When all have entered: see how many cores there are, for waiting and for computing (the return value). */
int td_waiter_settle(td_waiter *waiter);
/* Announce that this rank leaves, if it has entered, and free the private side. A waiter of zeros is fine. */
void td_waiter_close(td_waiter *waiter);

/* Note what this rank calls now, for others' messages. */
static inline void td_waiter_note(td_waiter *waiter, uint64_t number, td_fingerprint print) {
    td_room_seat *seat = &waiter->room->seats[waiter->rank];
    atomic_store_explicit(&seat->last_number, number, memory_order_relaxed);
    atomic_store_explicit(&seat->last_shape, print.shape, memory_order_relaxed);
    atomic_store_explicit(&seat->last_count, print.count, memory_order_relaxed);
}

/* Wait until one of `count` counters has reached its value. `doing` describes this rank's call. On failure the
 * group is broken on all ranks, and the record tells the first cause. */
td_status td_wait(td_waiter *waiter, const td_awaited *awaited, int count, const td_doing *doing);

/* Move a counter of this rank, after all that it promises, and wake who sleeps for this rank. */
void td_wake(td_waiter *waiter);
static inline void td_publish(td_waiter *waiter, _Atomic uint64_t *counter, uint64_t value) {
    td_room *room = waiter->room;
    if (__builtin_expect(atomic_load_explicit(&room->no_membarrier, memory_order_relaxed) != 0, 0))
        atomic_exchange(counter, value);
    else
        atomic_store_explicit(counter, value, memory_order_release);
    /* A sleeper raises its hand, makes all ranks pass a barrier, and looks again: so this load cannot miss
     * it. */
    atomic_signal_fence(memory_order_seq_cst);
    if (__builtin_expect(atomic_load_explicit(&room->sleepers, memory_order_relaxed) != 0, 0))
        td_wake(waiter);
}

/* Move a counter that several ranks move. */
static inline void td_ring(td_waiter *waiter, _Atomic uint64_t *bell) {
    atomic_fetch_add(bell, 1);
    if (atomic_load_explicit(&waiter->room->sleepers, memory_order_relaxed) != 0) td_wake(waiter);
}

/* Is the group broken? */
static inline bool td_room_is_broken(const td_room *room) {
    return atomic_load_explicit(&room->broken, memory_order_relaxed) != 0;
}

/* Declare the group broken with the calling thread's record as the cause, unless another rank was first.
 * Either way the first cause is then this thread's record; its status is returned. `culprit` -1: nobody in
 * particular. */
td_status td_room_break(td_waiter *waiter, int culprit, const td_doing *doing);

/* After td_room_is_broken: the same for a rank that only learns of it. */
td_status td_room_report(td_waiter *waiter, const td_doing *doing);

typedef struct td_doing_text {
    char text[160];
} td_doing_text;
/* "all_reduce(sum) of 8 f32 (call 12)"; by value, for one expression. */
TD_API td_doing_text td_doing_describe(const td_doing *doing);

#endif
