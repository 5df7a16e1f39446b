/*
 * Parameters that a pass did not reach. Which ranks have a gradient travels with the gradients, so all ranks
 * know it after each reduction and fail together, naming them; nothing waits for a gradient that never comes.
 */
#include "model/parallel/internal.h"

#include <stdio.h>
#include <string.h>

#define NAMES_SHOWN 8

/* Append "'a.weight', 'a.bias' and 3 more" of the slots that some active rank had no gradient for (no rank, with
 * static_graph). */
static size_t list_unused(const td_ddp *ddp, char *text, size_t bytes, int *ranks) {
    size_t found = 0;
    for (size_t i = ddp->slot_count; i-- > 0;) { /* slots begin as parameters in reverse */
        const td_ddp_slot *slot = &ddp->slots[i];
        int enough = ddp->options.static_graph ? 1 : ddp->active;
        if (slot->skipped || slot->filled >= enough) continue;
        size_t length = strlen(text);
        if (found < NAMES_SHOWN)
            snprintf(text + length, bytes - length, "%s'%s'", found ? ", " : "", slot->name);
        if (ddp->active - slot->filled > *ranks) *ranks = ddp->active - slot->filled;
        found++;
    }
    size_t length = strlen(text);
    if (found > NAMES_SHOWN) snprintf(text + length, bytes - length, " and %zu more", found - NAMES_SHOWN);
    return found;
}

/* What the first step did not use will not be waited for. */
static void note_skipped(td_ddp *ddp) {
    for (size_t i = 0; i < ddp->slot_count; i++) {
        td_ddp_slot *slot = &ddp->slots[i];
        slot->skipped = slot->filled == 0;
        if (slot->skipped && ddp->bucket_count) ddp->buckets[slot->bucket].waiting--;
    }
}

td_status ddp_check_use(td_ddp *ddp) {
    if (ddp->options.find_unused_parameters) return TD_OK;
    if (ddp->options.static_graph && !ddp->stepped) note_skipped(ddp);
    char names[700] = "";
    int ranks = 0;
    if (!list_unused(ddp, names, sizeof names, &ranks)) return TD_OK;
    if (ddp->options.static_graph)
        return td_fail(
            TD_ERR_STATE, 0, "model/parallel",
            "ddp: this step did not use %s, which the first one did; static_graph promises otherwise", names);
    return td_fail(TD_ERR_STATE, 0, "model/parallel",
                   "ddp: on %d of %d ranks the backward pass did not reach %s; if that is meant, give "
                   "find_unused_parameters, or static_graph if it is the same in every step",
                   ranks, ddp->active, names);
}

td_status ddp_refuse_skipped(const td_ddp_slot *slot) {
    return td_fail(TD_ERR_STATE, 0, "model/parallel",
                   "ddp: this step uses '%s', which the first one did not; static_graph promises otherwise",
                   slot->name);
}
