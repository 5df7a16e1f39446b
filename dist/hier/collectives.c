/*
 * How works get on: the first collective by one step after another, sends and receives by the group they were
 * given to. A failure anywhere breaks all three groups, and so reaches every rank of every node.
 */
#include "base/memory.h"
#include "dist/hier/hier.h"

td_status td_hier_begin(td_group *inner, td_work *work, const td_call *call, const td_work *outer) {
    *work = (td_work){.group = inner, .call = *call};
    TD_TRY(td_call_examine(inner, call, work));
    work->status = TD_PENDING;
    work->sequence = td_call_traits_of(call->kind)->pairs ? inner->paired++ : inner->posted++;
    if (outer) { /* so a difference between nodes is told in terms of the caller's calls */
        work->print = outer->print;
        work->sequence = outer->sequence;
    }
    return inner->backend->post[call->kind](inner, work);
}

/* --- failing --------------------------------------------------------------------------------------------- */

void td_hier_abort(td_group *group, int culprit) {
    td_hier *h = td_hier_of(group);
    td_group *const inner[] = {h->world, h->leaders, h->node};
    const td_error cause = *td_error_last();
    (void)culprit; /* the text names it */
    for (int i = 0; i < 3; i++) {
        if (!inner[i] || inner[i]->broken.status != TD_OK) continue;
        td_error_restore(&cause);
        inner[i]->backend->abort(inner[i], -1);
        td_group_break(inner[i]);
    }
    td_error_restore(&cause);
}

td_status td_hier_fail(td_group *group) {
    td_hier *h = td_hier_of(group);
    td_status status = td_group_break(group);
    td_hier_abort(group, -1);
    h->busy = NULL;
    while (h->first) {
        td_work *work = h->first;
        h->first = work->next;
        work->next = NULL;
        td_work_finish(work, status);
    }
    h->last = NULL;
    while (h->pairs) { /* their inner works stay until the inner groups are closed */
        td_hier_pair *pair = h->pairs;
        h->pairs = pair->next;
        pair->next = h->dropped;
        h->dropped = pair;
        td_work_finish(pair->work, status);
    }
    return status;
}

/* --- progress -------------------------------------------------------------------------------------------- */

static td_status advance_collectives(td_group *group) {
    td_hier *h = td_hier_of(group);
    while (h->first) {
        td_work *work = h->first;
        bool finished = false;
        if (h->busy) {
            if (h->inner.status == TD_PENDING) return TD_OK;
            if (h->inner.status < 0) return td_group_break(h->busy);
            h->busy = NULL;
        }
        TD_TRY(td_hier_step(group, work, &finished));
        if (!finished) continue;
        h->first = work->next;
        if (!h->first) h->last = NULL;
        work->next = NULL;
        td_work_finish(work, TD_OK);
    }
    return TD_OK;
}

static td_status advance_pairs(td_group *group) {
    td_hier *h = td_hier_of(group);
    for (td_hier_pair **at = &h->pairs; *at;) {
        td_hier_pair *pair = *at;
        if (pair->inner.status < 0) return td_group_break(pair->inner.group);
        if (pair->inner.status == TD_PENDING) {
            at = &pair->next;
            continue;
        }
        *at = pair->next;
        td_work_finish(pair->work, TD_OK);
        td_free(pair);
    }
    return TD_OK;
}

td_status td_hier_test(td_group *group) {
    td_hier *h = td_hier_of(group);
    if (group->broken.status != TD_OK) return td_hier_fail(group);
    td_status status = h->world->backend->test(h->world);
    if (status >= 0 && h->leaders) status = h->leaders->backend->test(h->leaders);
    if (status >= 0) status = h->node->backend->test(h->node);
    if (status >= 0) status = advance_collectives(group);
    if (status >= 0) status = advance_pairs(group);
    return status < 0 ? td_hier_fail(group) : TD_OK;
}

td_status td_hier_post(td_group *group, td_work *work) {
    td_hier *h = td_hier_of(group);
    work->next = NULL;
    work->stage = 0;
    if (h->last)
        h->last->next = work;
    else
        h->first = work;
    h->last = work;
    return td_hier_test(group);
}

/* Within the node or between nodes. */
td_status td_hier_post_pair(td_group *group, td_work *work) {
    td_hier *h = td_hier_of(group);
    td_hier_pair *pair = td_calloc(1, sizeof *pair), **at = &h->pairs;
    if (!pair) return td_hier_fail(group);
    td_call call = work->call;
    td_group *inner = h->world;
    if (h->node_of[call.root] == group->node) {
        inner = h->node;
        const int *local = h->order + h->begin[group->node];
        for (int i = 0; i < inner->size; i++)
            if (local[i] == work->call.root) call.root = i;
    }
    pair->work = work;
    while (*at) at = &(*at)->next;
    *at = pair;
    return td_hier_begin(inner, &pair->inner, &call, NULL) < 0 ? td_hier_fail(group) : td_hier_test(group);
}

/* --- waiting --------------------------------------------------------------------------------------------- */

/* The rank of this group that is rank r of one of those it is made of. */
static int outer_rank(const td_group *group, const td_group *inner, int r) {
    const td_hier *h = td_hier_of(group);
    if (inner == h->node) return h->order[h->begin[group->node] + r];
    return inner == h->leaders ? h->order[h->begin[r]] : r;
}

int td_hier_missing(const td_group *group, const td_work *work, int after) {
    const td_hier *h = td_hier_of(group);
    if (td_call_traits_of(work->call.kind)->pairs) return work->call.root > after ? work->call.root : -1;
    if (!h->busy || !h->busy->backend->missing) return -1;
    int least = -1;
    for (int r = h->busy->backend->missing(h->busy, &h->inner, -1); r >= 0;
         r = h->busy->backend->missing(h->busy, &h->inner, r)) {
        int rank = outer_rank(group, h->busy, r);
        if (rank > after && (least < 0 || rank < least)) least = rank;
    }
    return least;
}

static td_doing waits_in(const td_group *group, const td_work *work) {
    const td_hier *h = td_hier_of(group);
    if (!td_call_traits_of(work->call.kind)->pairs && h->first) work = h->first;
    return (td_doing){.print = work->print, .number = work->sequence + 1};
}

td_status td_hier_wait(td_group *group, td_work *work) {
    static const td_asked ask = {td_hier_test, td_hier_missing, waits_in};
    int culprit;
    td_doing doing = waits_in(group, work);
    td_status status = td_watch_wait(group->watch, group, work, &ask, &culprit);
    if (status >= 0 || group->broken.status != TD_OK) return status;
    td_watch_tell_lost(group->watch, group, culprit, status, &doing);
    return td_hier_fail(group);
}
