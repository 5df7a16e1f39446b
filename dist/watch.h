/*
 * Waiting where ranks share no memory, so there is nothing to sleep on: the backend is asked again and again, more
 * and more rarely, and between two questions there is a look at the processes of this machine's ranks and at the
 * clock. For backends over messages; ranks tell each other who they are by a td_who when they open a group.
 */
#ifndef TANDEM_DIST_WATCH_H
#define TANDEM_DIST_WATCH_H

#include "dist/peer.h"

/* What a rank tells the others of itself; sent as bytes. */
typedef struct td_who {
    uint64_t machine; /* equal where ranks see each other's processes and may share memory */
    uint64_t pid_space, started;
    int32_t pid, local_rank, local_world_size, unused;
} td_who;

TD_API td_who td_who_self(const td_job *job);

/* Which of the nodes of these ranks, counted in the order of their first ranks, is rank r's? */
TD_API int td_who_node(const td_who *whos, int r);

typedef struct td_watch {
    void *memory; /* of the seats */
    td_room_seat *seats;
    td_peer *peers;
    int rank, size;
    int dead;  /* found so at the last look, -1: none; what it sent before may still be on its way */
    bool told; /* the launcher knows that a rank is lost */
} td_watch;

/* whos[r] is rank r's, *lent* for the call. *Yours*; a watch of zeros is fine to close. */
TD_API td_status td_watch_open(td_watch *watch, const td_who *whos, int rank, int size);
TD_API void td_watch_close(td_watch *watch);
/* A rank has closed the group, so its end is no loss. */
TD_API void td_watch_note_left(td_watch *watch, int rank);

/* How a backend is asked. */
typedef struct td_asked {
    td_status (*test)(td_group *group); /* advance; a failure has broken the group */
    /* The first rank after `after` (-1: of all) for which this work waits; -1: none is known. */
    int (*missing)(const td_group *group, const td_work *work, int after);
    td_doing (*doing)(const td_group *group, const td_work *work);
} td_asked;

/* Return when the work is finished, as it ended, or when something is wrong. Is the group then not broken yet, it
 * is for the caller to break it by the thread's record; *culprit: whose fault it is, or -1. */
TD_API td_status td_watch_wait(td_watch *watch, td_group *group, td_work *work, const td_asked *ask,
                               int *culprit);

/* The launcher is told once that a rank is lost. */
TD_API void td_watch_tell_lost(td_watch *watch, td_group *group, int culprit, td_status status,
                               const td_doing *doing);

#endif
