/*
 * ZeRO-1 (Rajbhandari et al., 2020): buckets are reduced and scattered while backward runs, each rank updates
 * its slice, and the slices of parameters are gathered.
 */
#include "model/parallel/update.h"

static const td_device cpu = {TD_DEVICE_CPU, 0};

static char *own_slice(const td_update_bucket *b, void *block) {
    return (char *)block + b->begin * td_dtype_size(b->dtype);
}

/* --- reducing --------------------------------------------------------------------------------------- */

/* Of an all-reduce: the same sums, each rank's slice to itself. */
void update_scatter_call(const td_ddp *ddp, const td_ddp_bucket *bucket, td_call *call) {
    const td_update_bucket *b = &ddp->update->buckets[bucket - ddp->buckets];
    call->kind = TD_CALL_REDUCE_SCATTER;
    call->counts = b->counts;
    call->output = own_slice(b, bucket->data);
}

td_status update_zero_reduce(td_ddp *ddp) {
    td_ddp_update *u = ddp->update;
    td_status status = update_meet(u); /* comes after all buckets: when it is done, they are */
    for (size_t i = 0; i < ddp->bucket_count; i++) {
        td_ddp_bucket *bucket = &ddp->buckets[i];
        td_status waited = td_work_wait(bucket->work);
        td_work_release(&bucket->work);
        if (status >= 0) status = waited;
        bucket->waiting = ddp_count_awaited(ddp, bucket);
        for (size_t s = bucket->first; s < bucket->end; s++)
            td_leaf_set_state(ddp->slots[s].param, ddp->slots[s].filled ? TD_GRAD_REDUCED : TD_GRAD_EMPTY);
    }
    ddp->posted = 0;
    return status;
}

/* --- the step --------------------------------------------------------------------------------------- */

static td_status gather_parameters(td_ddp_update *u) {
    td_status status = TD_OK;
    size_t posted = 0;
    for (; posted < u->ddp->bucket_count && status >= 0; posted++) {
        td_update_bucket *b = &u->buckets[posted];
        td_call call = {.kind = TD_CALL_ALL_GATHER,
                        .dtype = b->dtype,
                        .input = own_slice(b, b->params),
                        .output = b->params,
                        .counts = b->counts,
                        .label = u->ddp->buckets[posted].label,
                        .device = cpu};
        status = td_group_post(u->ddp->group, &call, &u->ddp->buckets[posted].work);
    }
    for (size_t i = 0; i < posted; i++) {
        td_ddp_bucket *bucket = &u->ddp->buckets[i];
        if (!bucket->work) continue;
        td_status waited = td_work_wait(bucket->work);
        td_work_release(&bucket->work);
        if (status >= 0) status = waited;
    }
    return status;
}

/* Gradients that did not come from a backward pass, or none since the last step. */
static bool is_empty(const td_ddp *ddp) {
    for (size_t i = 0; i < ddp->slot_count; i++)
        if (td_leaf_state(ddp->slots[i].param) != TD_GRAD_EMPTY) return false;
    return true;
}

td_status update_zero_step(void *cookie) {
    td_ddp_update *u = cookie;
    TD_TRY(update_settle(u));
    if (u->optimizer->max_norm > 0 && !u->norms) TD_TRY(update_make_norms(u));
    if (!u->met || is_empty(u->ddp)) { /* the last pass was not reduced, or its gradients were emptied */
        if (!is_empty(u->ddp))
            return td_fail(
                TD_ERR_STATE, 0, "model/parallel",
                "ddp: the last backward pass ran within no_sync, so there is nothing to update by");
        return TD_OK;
    }
    TD_TRY(update_run(u));
    TD_TRY(gather_parameters(u));
    update_end(u);
    return TD_OK;
}
