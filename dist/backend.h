/*
 * A backend is a table of functions that moves data between the ranks of a group. There is one folder per
 * backend and one ordered array of them in dist/backend.c; td_group_open takes the first that can serve. A
 * new backend is a folder and a row. A plug-in's row names it, and the plug-in's table takes the row's place.
 *
 * Statuses: a slot returns TD_OK, or a failure with the record written. A failure of `can` means only "not
 * me"; any other failure of a slot that involves other ranks breaks the group.
 */
#ifndef TANDEM_DIST_BACKEND_H
#define TANDEM_DIST_BACKEND_H

#include "dist/group.h"

typedef struct td_block td_block;

typedef struct td_backend {
    const char *name;
    const char *plugin;                /* the rest is in the table of this plug-in; NULL: it is here */
    td_device_kind device;             /* where it takes data */
    uint32_t reduces[TD_REDUCE_COUNT]; /* bit d: dtype d can be reduced so; meaningless pairs do no harm */

    /* Could this backend serve such a group? Must answer the same on all ranks, from the job alone; must not
     * wait or talk to anyone. The record says why not. */
    td_status (*can)(const td_job *job, const td_group_options *options);

    /* Set group->state up together with the other ranks; may wait for them up to group->stall_timeout. On
     * failure nothing is left behind. */
    td_status (*open)(td_group *group);

    /* Collective over `parent`: set group->state up for a part of its ranks, of which `group` already tells
     * rank, size and members; every rank of the parent calls it, those that belong to no part with NULL. Which
     * ranks belong together says `colour`, ordered as in the new group by `key`. On failure nothing is left
     * behind. NULL: the backend has no sub-groups. */
    td_status (*split)(td_group *parent, int colour, int key, td_group *group);

    /* Announce that this rank leaves and free group->state. Completes posted works first unless the group is
     * broken. Must not fail. */
    void (*close)(td_group *group);

    /* One per kind of call; NULL: this backend lacks it. Begins the work and must not wait for other ranks; the
     * work may be done at once. Collectives complete in the order of posting, sends and receives of a pair of
     * ranks with one tag likewise, each by td_work_finish. */
    td_status (*post[TD_CALL_COUNT])(td_group *group, td_work *work);

    /* A shorter way for a collective that the caller waits for: post it and wait. TD_PENDING: this one has to go
     * the usual way, and nothing is done. It calls td_record_begin and td_record_posted itself, when that keeps
     * nobody waiting. NULL: there is none. */
    td_status (*run)(td_group *group, td_work *work);

    /* Advance all posted works as far as possible without waiting for other ranks. */
    td_status (*test)(td_group *group);

    /* Return when this posted work is finished; waits at most until something is wrong with the group, or for
     * work->call.timeout where that is not 0. Must advance all posted works meanwhile. */
    td_status (*wait)(td_group *group, td_work *work);

    /* The first of the group's ranks after `after` (-1: of all) for which this posted work waits; -1: none is
     * known. NULL: it never is. */
    int (*missing)(const td_group *group, const td_work *work, int after);

    /* Make `queue` wait for the work. NULL: queues are trivial here, so dist waits on the host. */
    td_status (*order)(td_group *group, td_work *work, td_queue queue);

    /* Make every rank's calls fail with the calling thread's record; `culprit` is a rank or -1. NULL: the
     * group has nobody else. */
    void (*abort)(td_group *group, int culprit);

    /* Collective: fill in where a block is whose `bytes`, `stride` and `parts` are set and are equal on all
     * ranks. Zeroed. A shortage is TD_ERR_MEMORY on all ranks and does not break the group. */
    td_status (*alloc)(td_group *group, td_block *block);

    /* Collective: give its memory back. Must not fail. */
    void (*free)(td_group *group, td_block *block);
} td_backend;

/* In order of preference, NULL at the end. */
extern const td_backend *const td_backends[];

/* The backend of that name, its plug-in loaded, *lent* for ever. TD_ERR_UNSUPPORTED when that cannot be had. */
td_status td_backend_find(const char *name, const td_backend **found);

extern const td_backend td_backend_self;
extern const td_backend td_backend_shm;
extern const td_backend td_backend_hier;

#endif
