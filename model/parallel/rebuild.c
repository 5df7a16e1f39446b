/*
 * Slots are first in the reverse order of parameters, a guess at the order in which backward reaches them. The
 * first step shows the true order; then, once, slots are sorted by it and cut into buckets again, so that a
 * bucket is full, and on its way, as early as can be. All ranks take the order of the first rank that had data.
 */
#include "base/memory.h"
#include "model/parallel/internal.h"

#include <string.h>

static const td_device cpu = {TD_DEVICE_CPU, 0};

/* Slots' numbers by arrival; those that did not come stay last, in their order. */
static void sort_by_arrival(const td_ddp *ddp, int64_t *order) {
    size_t at = 0;
    for (size_t arrival = 1; arrival <= ddp->arrivals; arrival++)
        for (size_t i = 0; i < ddp->slot_count; i++)
            if (ddp->slots[i].arrival == arrival) order[at++] = (int64_t)i;
    for (size_t i = 0; i < ddp->slot_count; i++)
        if (!ddp->slots[i].arrival) order[at++] = (int64_t)i;
}

static bool is_sorted(const int64_t *order, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (order[i] != (int64_t)i) return false;
    return true;
}

static bool has_left_out(const td_ddp *ddp) {
    if (!ddp->options.skip_all_reduce_unused_params) return false;
    for (size_t i = 0; i < ddp->slot_count; i++)
        if (ddp->slots[i].skipped) return true;
    return false;
}

/* The slots in a new array; parameters' hooks are told. */
static td_status reorder(td_ddp *ddp, const int64_t *order) {
    td_ddp_slot *slots = td_calloc(ddp->slot_count, sizeof *slots);
    if (!slots) return TD_ERR_MEMORY;
    td_status status = TD_OK;
    for (size_t i = 0; i < ddp->slot_count; i++) {
        td_ddp_slot *from = &ddp->slots[order[i]];
        slots[i] = *from;
        td_tensor_remove_grad_hook(from->param, ddp_on_gradient, from);
        if (status == TD_OK) status = td_tensor_add_grad_hook(from->param, ddp_on_gradient, &slots[i]);
    }
    td_free(ddp->slots);
    ddp->slots = slots;
    return status;
}

static td_status rebuild_as(td_ddp *ddp, int64_t *order) {
    sort_by_arrival(ddp, order);
    TD_TRY(td_group_broadcast(ddp->group, order, ddp->slot_count, TD_DTYPE_I64, ddp->first_active, cpu, NULL,
                              NULL));
    if (is_sorted(order, ddp->slot_count) && !has_left_out(ddp)) return TD_OK;
    TD_TRY(reorder(ddp, order));
    return ddp_remake_buckets(ddp);
}

td_status ddp_rebuild(td_ddp *ddp) {
    bool fixed = ddp->options.static_graph || !ddp->options.find_unused_parameters;
    bool wanted = !ddp->stepped && !ddp->update && fixed && (ddp->bucket_count > 1 || has_left_out(ddp)) &&
                  ddp->bucket_count;
    ddp->stepped = true;
    if (!wanted) return TD_OK;
    int64_t *order = td_calloc(ddp->slot_count, sizeof *order);
    if (!order) return TD_ERR_MEMORY;
    td_status status = rebuild_as(ddp, order);
    td_free(order);
    return status;
}
