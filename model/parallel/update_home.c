/*
 * Where parameters lie while ranks update them together: in blocks laid out as the buckets, so that a slice
 * of gradients is a slice of parameters. Rank 0's values are the first ones; before this comes the exchange
 * that makes all ranks' equal, and so they stay when they move out again.
 */
#include "base/memory.h"
#include "dist/arena.h"
#include "model/parallel/update.h"
#include "model/tensor/internal.h"

#include <string.h>

/* --- what can move ---------------------------------------------------------------------------------- */

static const char *const names[] = {"replicated", "shared", "zero1"};

const char *td_sync_name(td_sync sync) {
    return (size_t)sync < sizeof names / sizeof *names ? names[sync] : "unknown";
}

td_sync td_ddp_sync(const td_ddp *ddp) { return ddp->options.sync; }

static td_status check_parameter(const td_state_dict *parameters, size_t at, td_sync sync) {
    const td_tensor *x = parameters->at[at].tensor;
    const char *name = parameters->at[at].name;
    size_t bytes = (size_t)td_tensor_count(x) * td_dtype_size(td_tensor_dtype(x));
    if (!td_tensor_is_contiguous(x))
        return td_fail(TD_ERR_UNSUPPORTED, 0, "model/parallel", "%s: '%s' is not row-major",
                       td_sync_name(sync), name);
    bool whole = td_tensor_offset(x) == 0 && td_storage_bytes(td_tensor_storage(x)) == bytes;
    for (size_t i = 0; i < at; i++)
        whole = whole && td_tensor_storage(parameters->at[i].tensor) != td_tensor_storage(x);
    if (!whole)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "model/parallel",
                       "%s: '%s' shares its memory with other tensors", td_sync_name(sync), name);
    return TD_OK;
}

static td_status check_parameters(const td_module *module, td_sync sync) {
    td_state_dict parameters = {0};
    td_status status = td_module_parameters(module, &parameters);
    for (size_t i = 0; i < parameters.count && status == TD_OK; i++)
        if (td_tensor_requires_grad(parameters.at[i].tensor)) status = check_parameter(&parameters, i, sync);
    td_state_dict_clear(&parameters);
    return status;
}

td_status td_ddp_can_sync(const td_module *module, td_group *group, td_sync sync) {
    if ((size_t)sync >= sizeof names / sizeof *names)
        return td_fail(TD_ERR_ARG, 0, "model/parallel", "ddp: there is no sync %d", (int)sync);
    if (sync == TD_SYNC_REPLICATED || td_group_size(group) == 1) return TD_OK;
    if (sync == TD_SYNC_SHARED && td_group_size(group) > TD_UPDATE_RANKS_MAX)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "model/parallel", "shared: %d ranks, but %d can share",
                       td_group_size(group), TD_UPDATE_RANKS_MAX);
    if (sync == TD_SYNC_SHARED && strcmp(td_group_backend(group), "shm"))
        return td_fail(TD_ERR_UNSUPPORTED, 0, "model/parallel",
                       "shared: backend %s does not share memory between all ranks; shm does",
                       td_group_backend(group));
    return check_parameters(module, sync);
}

/* --- moving ----------------------------------------------------------------------------------------- */

static td_status make_block(td_ddp_update *u, td_update_bucket *b) {
    td_arena *arena = td_group_arena(u->ddp->group);
    size_t bytes = b->elements * td_dtype_size(b->dtype);
    TD_TRY(u->ddp->options.sync == TD_SYNC_SHARED ? td_arena_alloc_one(arena, bytes, &b->params)
                                                  : td_arena_alloc(arena, bytes, &b->params));
    return td_storage_wrap(b->params, bytes, NULL, NULL, &b->host);
}

/* Cannot fail: the places fit. Values are copied by whoever has the block to itself, or by rank 0. */
static td_status move_slots(td_ddp_update *u, bool copies) {
    for (size_t i = 0; i < u->ddp->slot_count; i++) {
        const td_ddp_slot *slot = &u->ddp->slots[i];
        td_storage *storage = td_tensor_storage(slot->param), *host = u->buckets[slot->bucket].host;
        TD_TRY(copies ? td_storage_rehome(storage, host, update_offset(slot, 0))
                      : td_storage_adopt(storage, host, update_offset(slot, 0)));
    }
    return TD_OK;
}

td_status update_move_in(td_ddp_update *u) {
    td_ddp *ddp = u->ddp;
    for (size_t b = 0; b < ddp->bucket_count; b++) TD_TRY(make_block(u, &u->buckets[b]));
    if (ddp->options.sync == TD_SYNC_ZERO1) return move_slots(u, true);
    bool first = td_group_rank(ddp->group) == 0;
    if (first) TD_TRY(move_slots(u, true));
    TD_TRY(td_group_barrier(ddp->group, NULL));
    return first ? TD_OK : move_slots(u, false);
}

/* Memory of the parameter's own again; false for want of it. */
static bool move_out(const td_ddp *ddp, td_tensor *param) {
    td_storage *storage = td_tensor_storage(param);
    td_storage *own = td_storage_new(ddp->context->slots[TD_SLOT_ALLOCATOR], storage->bytes);
    if (!own) return false;
    bool moved = td_storage_rehome(storage, own, 0) == TD_OK;
    td_storage_unref(own);
    return moved;
}

void update_move_out(td_ddp_update *u) {
    td_ddp *ddp = u->ddp;
    bool all = true;
    for (size_t i = 0; i < ddp->slot_count; i++) {
        td_tensor *param = ddp->slots[i].param;
        const td_update_bucket *b = &u->buckets[ddp->slots[i].bucket];
        if (b->host && td_tensor_storage(param)->host == b->host) all = move_out(ddp, param) && all;
    }
    for (size_t b = 0; b < ddp->bucket_count; b++) {
        if (u->buckets[b].host) td_storage_release(&u->buckets[b].host);
        /* What could not move stays where it is until the group closes. */
        if (all) td_arena_free(td_group_arena(ddp->group), &u->buckets[b].params);
    }
}
