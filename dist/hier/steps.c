/*
 * Collectives as rows of steps. Step 0 of each compares the node's calls; the first step between leaders carries the
 * caller's fingerprint, which compares the nodes'. Parts lie in two orders: of ranks, as callers see them, and node
 * after node, as groups of nodes exchange them; where these differ, leaders copy from one into the other.
 */
#include "base/memory.h"
#include "dist/hier/hier.h"

#include <stdio.h>
#include <string.h>

static size_t unit_of(const td_call *c) { return td_dtype_size(c->dtype); }
static size_t count_of(const td_call *c, int r) { return c->counts ? c->counts[r] : c->count; }

/* What is reduced of a rank's data: all, or all parts. */
static size_t total_of(const td_group *group, const td_call *c) {
    return td_call_traits_of(c->kind)->parts ? td_part_begin(c->counts, c->count, group->size) : c->count;
}

/* Memory that lasts for the collective; NULL: the record tells. */
static uint8_t *buffer(td_hier *h, int which, size_t bytes) {
    static const uint8_t nothing;
    if (!bytes) return (uint8_t *)(uintptr_t)&nothing;
    if (bytes <= h->buffer_bytes[which]) return h->buffers[which];
    uint8_t *made = td_alloc_aligned(bytes);
    if (!made) {
        td_fail(TD_ERR_MEMORY, 0, "dist/hier", "no %zu bytes for staging", bytes);
        return NULL;
    }
    td_free(h->buffers[which]);
    h->buffers[which] = made;
    h->buffer_bytes[which] = bytes;
    return made;
}

/* --- calls of the groups ---------------------------------------------------------------------------------- */

static td_status begin_in(td_hier *h, td_group *inner, const td_work *work, td_call call) {
    call.timeout = work->call.timeout;
    if (call.kind != TD_CALL_ALL_TO_ALL) call.device = (td_device){0};
    h->busy = inner;
    return td_hier_begin(inner, &h->inner, &call, inner == h->node ? NULL : work);
}

/* Elements that each rank of this node, or each node, has as its part. */
static const size_t *local_counts(td_group *group, const td_call *c) {
    td_hier *h = td_hier_of(group);
    const int *local = h->order + h->begin[group->node];
    for (int i = 0; i < h->node->size; i++) h->local_counts[i] = count_of(c, local[i]);
    return h->local_counts;
}
static const size_t *node_counts(td_group *group, const td_call *c) {
    td_hier *h = td_hier_of(group);
    for (int node = 0; node < h->nodes; node++) {
        h->node_counts[node] = 0;
        for (int i = h->begin[node]; i < h->begin[node + 1]; i++)
            h->node_counts[node] += count_of(c, h->order[i]);
    }
    return h->node_counts;
}

/* `count` for one rank of this node, nothing for the others: a message by scatter or gather. */
static const size_t *only_for(td_group *group, int rank, size_t count) {
    td_hier *h = td_hier_of(group);
    const int *local = h->order + h->begin[group->node];
    for (int i = 0; i < h->node->size; i++) h->local_counts[i] = local[i] == rank ? count : 0;
    return h->local_counts;
}

static int local_rank_of(const td_group *group, int rank) {
    const td_hier *h = td_hier_of(group);
    for (int i = h->begin[group->node]; i < h->begin[group->node + 1]; i++)
        if (h->order[i] == rank) return i - h->begin[group->node];
    return -1;
}

/* All parts, from one order into the other. */
static void reorder(const td_group *group, const td_call *c, const uint8_t *from, uint8_t *to,
                    bool to_ranks) {
    const td_hier *h = td_hier_of(group);
    size_t at = 0;
    for (int i = 0; i < group->size; i++) {
        int r = h->order[i];
        size_t bytes = count_of(c, r) * unit_of(c),
               place = td_part_begin(c->counts, c->count, r) * unit_of(c);
        if (bytes) memcpy(to + (to_ranks ? place : at), from + (to_ranks ? at : place), bytes);
        at += bytes;
    }
}

/* --- reductions ------------------------------------------------------------------------------------------- */

/* Sums of half-width floats go on as f32 from step to step, so that they are rounded once. */
static bool is_widened(const td_call *c) {
    bool half = c->dtype == TD_DTYPE_F16 || c->dtype == TD_DTYPE_BF16;
    return half && c->op != TD_REDUCE_MIN && c->op != TD_REDUCE_MAX;
}

static td_call reduction(const td_call *c, bool between_nodes) {
    td_call call = {.dtype = is_widened(c) ? TD_DTYPE_F32 : c->dtype, .op = c->op, .factor = c->factor};
    if (c->op == TD_REDUCE_AVG || (between_nodes && c->op == TD_REDUCE_PREMUL_SUM)) {
        call.op = TD_REDUCE_SUM;
        call.factor = 0;
    }
    return call;
}

/* Step 1 of all reductions: the node's is at the leader, in buffer 0. */
static td_status reduce_here(td_group *group, const td_work *work) {
    td_hier *h = td_hier_of(group);
    const td_call *c = &work->call;
    td_call call = reduction(c, false);
    call.kind = TD_CALL_REDUCE;
    call.count = total_of(group, c);
    call.input = c->input;
    bool leads = td_hier_leads(group), widened = is_widened(c);
    uint8_t *own = leads || widened ? buffer(h, 0, call.count * td_dtype_size(call.dtype)) : NULL;
    if ((leads || widened) && !own) return TD_ERR_MEMORY;
    if (widened) {
        td_reduce_widen(h->reduce, c->dtype, (float *)(void *)own, c->input, call.count);
        call.input = own;
    }
    call.output = leads ? own : NULL;
    return begin_in(h, h->node, work, call);
}

/* What remains to be done to `count` reduced elements at `from`, to be had at `to`. */
static void finish_reduction(const td_group *group, const td_call *c, void *from, void *to, size_t count) {
    td_dtype dtype = reduction(c, true).dtype;
    if (c->op == TD_REDUCE_AVG && dtype == TD_DTYPE_F32)
        for (size_t i = 0; i < count; i++) ((float *)from)[i] /= (float)group->size;
    if (c->op == TD_REDUCE_AVG && dtype == TD_DTYPE_F64)
        for (size_t i = 0; i < count; i++) ((double *)from)[i] /= (double)group->size;
    if (is_widened(c))
        td_reduce_narrow(td_hier_of(group)->reduce, c->dtype, to, from, count);
    else if (count && to != from)
        memcpy(to, from, count * unit_of(c));
}

static td_status all_reduce(td_group *group, td_work *work, int step, bool *finished) {
    td_hier *h = td_hier_of(group);
    const td_call *c = &work->call;
    bool leads = td_hier_leads(group);
    td_call call = reduction(c, true);
    switch (step) {
    case 1: return reduce_here(group, work);
    case 2:
        if (!leads) return TD_OK;
        call.kind = TD_CALL_ALL_REDUCE;
        call.count = c->count;
        call.input = call.output = h->buffers[0];
        return begin_in(h, h->leaders, work, call);
    case 3:
        if (leads) finish_reduction(group, c, h->buffers[0], c->output, c->count);
        return begin_in(h, h->node, work,
                        (td_call){.kind = TD_CALL_BROADCAST,
                                  .dtype = c->dtype,
                                  .count = c->count,
                                  .input = c->output,
                                  .output = c->output});
    default: *finished = true; return TD_OK;
    }
}

/* Bytes at this node's leader are wanted by the root, which is on this node. */
static td_status deliver(td_group *group, td_work *work, const void *from, size_t count) {
    td_hier *h = td_hier_of(group);
    const td_call *c = &work->call;
    if (h->order[h->begin[group->node]] == c->root) return TD_OK; /* it has them */
    return begin_in(h, h->node, work,
                    (td_call){.kind = TD_CALL_SCATTER,
                              .dtype = c->dtype,
                              .counts = only_for(group, c->root, count),
                              .input = from,
                              .output = group->rank == c->root ? c->output : NULL});
}

static td_status reduce(td_group *group, td_work *work, int step, bool *finished) {
    td_hier *h = td_hier_of(group);
    const td_call *c = &work->call;
    bool leads = td_hier_leads(group), here = h->node_of[c->root] == group->node;
    uint8_t *to = NULL;
    td_call call = reduction(c, true);
    switch (step) {
    case 1: return reduce_here(group, work);
    case 2:
        if (!leads) return TD_OK;
        call.kind = TD_CALL_REDUCE;
        call.root = h->node_of[c->root];
        call.count = c->count;
        call.input = h->buffers[0];
        call.output = here ? h->buffers[0] : NULL;
        return begin_in(h, h->leaders, work, call);
    case 3:
        if (!here) return TD_OK;
        if (leads) {
            to = group->rank == c->root ? c->output : buffer(h, 1, c->count * unit_of(c));
            if (!to && c->count) return TD_ERR_MEMORY;
            finish_reduction(group, c, h->buffers[0], to, c->count);
        }
        return deliver(group, work, to, c->count);
    default: *finished = true; return TD_OK;
    }
}

/* Leaders exchange slices: from this node's sums of all parts to all nodes' sums of this node's parts. */
static td_status reduce_between(td_group *group, td_work *work) {
    td_hier *h = td_hier_of(group);
    td_call parts = work->call, call = reduction(&work->call, true);
    const size_t unit = td_dtype_size(call.dtype), *counts = node_counts(group, &parts);
    uint8_t *all = h->buffers[0], *sorted = all, *part = buffer(h, 2, counts[group->node] * unit);
    if (!h->in_order) sorted = buffer(h, 1, total_of(group, &parts) * unit);
    if (!sorted && !h->in_order) return TD_ERR_MEMORY;
    if (!part) return TD_ERR_MEMORY;
    parts.dtype = call.dtype;
    if (!h->in_order) reorder(group, &parts, all, sorted, false);
    call.kind = TD_CALL_REDUCE_SCATTER;
    call.counts = counts;
    call.input = sorted;
    call.output = part;
    return begin_in(h, h->leaders, work, call);
}

static td_status reduce_scatter(td_group *group, td_work *work, int step, bool *finished) {
    td_hier *h = td_hier_of(group);
    const td_call *c = &work->call;
    bool leads = td_hier_leads(group);
    *finished = step > 3;
    if (*finished) return TD_OK;
    if (step == 1) return reduce_here(group, work);
    if (step == 2) return leads ? reduce_between(group, work) : TD_OK;
    size_t count = node_counts(group, c)[group->node];
    uint8_t *done = leads ? buffer(h, 1, count * unit_of(c)) : NULL;
    if (leads && !done) return TD_ERR_MEMORY;
    if (leads) finish_reduction(group, c, h->buffers[2], done, count);
    return begin_in(h, h->node, work,
                    (td_call){.kind = TD_CALL_SCATTER,
                              .dtype = c->dtype,
                              .counts = local_counts(group, c),
                              .input = done,
                              .output = c->output});
}

/* --- data as it is ---------------------------------------------------------------------------------------- */

static td_status broadcast(td_group *group, td_work *work, int step, bool *finished) {
    td_hier *h = td_hier_of(group);
    const td_call *c = &work->call;
    bool leads = td_hier_leads(group), here = h->node_of[c->root] == group->node;
    const void *data = group->rank == c->root ? c->input : c->output;
    td_call call = {
        .kind = TD_CALL_BROADCAST, .dtype = c->dtype, .count = c->count, .input = data, .output = c->output};
    switch (step) {
    case 1: call.root = local_rank_of(group, c->root); return here ? begin_in(h, h->node, work, call) : TD_OK;
    case 2: call.root = h->node_of[c->root]; return leads ? begin_in(h, h->leaders, work, call) : TD_OK;
    case 3: return here ? TD_OK : begin_in(h, h->node, work, call);
    default: *finished = true; return TD_OK;
    }
}

/* Steps 1 and 2 of gathers: the node's parts go to its leader, in buffer 0; all parts into buffer 1. */
static td_status gather_steps(td_group *group, td_work *work, int step) {
    td_hier *h = td_hier_of(group);
    const td_call *c = &work->call;
    bool leads = td_hier_leads(group), to_all = c->kind == TD_CALL_ALL_GATHER;
    const size_t *counts = node_counts(group, c);
    td_call call = {.kind = TD_CALL_GATHER, .dtype = c->dtype};
    if (step == 1) {
        call.counts = local_counts(group, c);
        call.input = c->input;
        call.output = leads ? buffer(h, 0, counts[group->node] * unit_of(c)) : NULL;
        return leads && !call.output ? TD_ERR_MEMORY : begin_in(h, h->node, work, call);
    }
    if (!leads) return TD_OK;
    bool gets = to_all || h->node_of[c->root] == group->node;
    call.kind = c->kind;
    call.root = to_all ? 0 : h->node_of[c->root];
    call.counts = counts;
    call.input = h->buffers[0];
    call.output = gets ? buffer(h, 1, total_of(group, c) * unit_of(c)) : NULL;
    return gets && !call.output ? TD_ERR_MEMORY : begin_in(h, h->leaders, work, call);
}

static td_status all_gather(td_group *group, td_work *work, int step, bool *finished) {
    td_hier *h = td_hier_of(group);
    const td_call *c = &work->call;
    if (step <= 2) return gather_steps(group, work, step);
    *finished = step > 3;
    if (*finished) return TD_OK;
    if (td_hier_leads(group)) reorder(group, c, h->buffers[1], c->output, true);
    return begin_in(h, h->node, work,
                    (td_call){.kind = TD_CALL_BROADCAST,
                              .dtype = c->dtype,
                              .count = total_of(group, c),
                              .input = c->output,
                              .output = c->output});
}

static td_status gather(td_group *group, td_work *work, int step, bool *finished) {
    td_hier *h = td_hier_of(group);
    const td_call *c = &work->call;
    if (step <= 2) return gather_steps(group, work, step);
    *finished = step > 3;
    if (*finished || h->node_of[c->root] != group->node) return TD_OK;
    uint8_t *to = NULL;
    size_t total = total_of(group, c);
    if (td_hier_leads(group)) {
        to = group->rank == c->root ? c->output : buffer(h, 2, total * unit_of(c));
        if (!to && total) return TD_ERR_MEMORY;
        reorder(group, c, h->buffers[1], to, true);
    }
    return deliver(group, work, to, total);
}

static td_status scatter(td_group *group, td_work *work, int step, bool *finished) {
    td_hier *h = td_hier_of(group);
    const td_call *c = &work->call;
    bool leads = td_hier_leads(group), here = h->node_of[c->root] == group->node;
    bool is_root = group->rank == c->root;
    const size_t *counts = node_counts(group, c);
    size_t total = total_of(group, c);
    uint8_t *all = NULL, *sorted = NULL;
    td_call call = {.kind = TD_CALL_GATHER, .dtype = c->dtype};
    switch (step) {
    case 1: /* the root's data goes to its leader */
        if (!here || h->order[h->begin[group->node]] == c->root) return TD_OK;
        if (leads && !(all = buffer(h, 0, total * unit_of(c)))) return TD_ERR_MEMORY;
        call.counts = only_for(group, c->root, total);
        call.input = is_root ? c->input : NULL;
        call.output = all;
        return begin_in(h, h->node, work, call);
    case 2:
        if (!leads) return TD_OK;
        if (here && !(sorted = buffer(h, 1, total * unit_of(c)))) return TD_ERR_MEMORY;
        if (here) reorder(group, c, is_root ? c->input : h->buffers[0], sorted, false);
        call.kind = TD_CALL_SCATTER;
        call.root = h->node_of[c->root];
        call.counts = counts;
        call.input = sorted;
        call.output = buffer(h, 2, counts[group->node] * unit_of(c));
        return call.output ? begin_in(h, h->leaders, work, call) : TD_ERR_MEMORY;
    case 3:
        call.kind = TD_CALL_SCATTER;
        call.counts = local_counts(group, c);
        call.input = leads ? h->buffers[2] : NULL;
        call.output = c->output;
        return begin_in(h, h->node, work, call);
    default: *finished = true; return TD_OK;
    }
}

static td_status barrier(td_group *group, td_work *work, int step, bool *finished) {
    td_hier *h = td_hier_of(group);
    const td_call call = {.kind = TD_CALL_BARRIER};
    *finished = step > 2;
    if (*finished) return TD_OK;
    if (step == 2) return begin_in(h, h->node, work, call);
    return td_hier_leads(group) ? begin_in(h, h->leaders, work, call) : TD_OK;
}

/* Nothing is shared or combined, so all ranks exchange at once; the leaders have compared calls before. */
static td_status all_to_all(td_group *group, td_work *work, int step, bool *finished) {
    td_hier *h = td_hier_of(group);
    *finished = step > 2;
    if (*finished) return TD_OK;
    if (step == 2) return begin_in(h, h->world, work, work->call);
    return td_hier_leads(group) ? begin_in(h, h->leaders, work, (td_call){.kind = TD_CALL_BARRIER}) : TD_OK;
}

/* --- all of them ------------------------------------------------------------------------------------------ */

static td_status tell_node(td_group *group, td_work *work) {
    td_hier *h = td_hier_of(group);
    h->own = (td_hier_print){work->sequence + 1, work->print};
    return begin_in(h, h->node, work,
                    (td_call){.kind = TD_CALL_ALL_GATHER,
                              .dtype = TD_DTYPE_U8,
                              .count = sizeof h->own,
                              .input = &h->own,
                              .output = h->prints});
}

static td_status compare_prints(const td_group *group) {
    const td_hier *h = td_hier_of(group);
    const td_hier_print *first = &h->prints[0];
    for (int i = 1; i < h->node->size; i++) {
        const td_hier_print *other = &h->prints[i];
        if (other->print.shape == first->print.shape && other->print.count == first->print.count) continue;
        td_doing a = {.print = first->print, .number = first->number},
                 b = {.print = other->print, .number = other->number};
        return td_fail(TD_ERR_MISMATCH, 0, "dist/hier", "rank %d calls %s, but rank %d calls %s",
                       td_group_name(h->node, 0), td_doing_describe(&a).text, td_group_name(h->node, i),
                       td_doing_describe(&b).text);
    }
    return TD_OK;
}

typedef td_status step_function(td_group *group, td_work *work, int step, bool *finished);

td_status td_hier_step(td_group *group, td_work *work, bool *finished) {
    static step_function *const rows[TD_CALL_COUNT] = {
        [TD_CALL_BARRIER] = barrier,       [TD_CALL_ALL_REDUCE] = all_reduce,
        [TD_CALL_BROADCAST] = broadcast,   [TD_CALL_REDUCE] = reduce,
        [TD_CALL_ALL_GATHER] = all_gather, [TD_CALL_REDUCE_SCATTER] = reduce_scatter,
        [TD_CALL_GATHER] = gather,         [TD_CALL_SCATTER] = scatter,
        [TD_CALL_ALL_TO_ALL] = all_to_all,
    };
    td_hier *h = td_hier_of(group);
    int step = work->stage++;
    if (h->nodes == 1) { /* one machine needs nothing else */
        *finished = step > 0;
        return *finished ? TD_OK : begin_in(h, h->node, work, work->call);
    }
    if (step == 0) return h->node->size > 1 ? tell_node(group, work) : TD_OK;
    if (step == 1 && h->node->size > 1) TD_TRY(compare_prints(group));
    return rows[work->call.kind](group, work, step, finished);
}
