/*
 * A group over several machines: shared memory within each, MPI between their first ranks, the leaders. It is made
 * of three groups of other backends, found by name:
 *
 *   node     this machine's ranks, over shm
 *   leaders  the first rank of each machine, over mpi
 *   world    all ranks, over mpi: for opening, news of failures, messages between machines, and all_to_all
 *
 * A collective is a row of steps, each a call of one of these groups (collectives.c). Sums are combined in the order
 * of ranks within a node, then in the order of nodes: always the same one, so the same bits on every rank and in
 * every run, though not those of a group on one machine.
 */
#ifndef TANDEM_DIST_HIER_HIER_H
#define TANDEM_DIST_HIER_HIER_H

#include "dist/internal.h"
#include "dist/reduce.h"
#include "dist/watch.h"

/* What a rank tells its node of a call. */
typedef struct td_hier_print {
    uint64_t number; /* from 1 */
    td_fingerprint print;
} td_hier_print;

/* A send or receive under way, within the node or not. */
typedef struct td_hier_pair {
    struct td_hier_pair *next;
    td_work inner;
    td_work *work;
} td_hier_pair;

enum { TD_HIER_BUFFERS = 3 };

typedef struct td_hier {
    td_group *world, *node, *leaders; /* leaders: NULL if this rank is none, or there is one node */
    int nodes;
    int *node_of;  /* per rank */
    int *order;    /* all ranks, node after node */
    int *begin;    /* where node k begins in `order`; `nodes` + 1 of them */
    bool in_order; /* ranks lie node after node anyway */

    td_work *first, *last; /* collectives; only the first is under way */
    td_work inner;         /* its step in one of the groups: */
    td_group *busy;        /* NULL: none is under way */
    td_hier_pair *pairs, *dropped;
    td_hier_print own, *prints;
    size_t *local_counts, *node_counts; /* of the step */
    uint8_t *buffers[TD_HIER_BUFFERS];
    size_t buffer_bytes[TD_HIER_BUFFERS];
    const td_reduce_table *reduce;
} td_hier;

static inline td_hier *td_hier_of(const td_group *group) { return group->state; }
static inline bool td_hier_leads(const td_group *group) {
    const td_hier *h = td_hier_of(group);
    return h->order[h->begin[group->node]] == group->rank;
}

td_status td_hier_post(td_group *group, td_work *work);
td_status td_hier_post_pair(td_group *group, td_work *work);
td_status td_hier_test(td_group *group);
td_status td_hier_wait(td_group *group, td_work *work);
int td_hier_missing(const td_group *group, const td_work *work, int after);
/* The thread's record is why this group and those it is made of are broken. */
td_status td_hier_fail(td_group *group);
/* Break those it is made of, with the thread's record. */
void td_hier_abort(td_group *group, int culprit);

/* --- one step of a collective (steps.c) ------------------------------------------------------------------- */

/* Begin the next step; *finished when there is none. Where this rank has no part in a step nothing is begun. */
td_status td_hier_step(td_group *group, td_work *work, bool *finished);
/* Post a call of one of the groups. `outer`: the call that it stands for, whose fingerprint it carries; NULL: its
 * own. */
td_status td_hier_begin(td_group *inner, td_work *work, const td_call *call, const td_work *outer);

#endif
