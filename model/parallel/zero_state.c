/* How state that ZeRO-1 has cut comes together again, on rank 0: bucket by bucket, as copies. */
#include "base/memory.h"
#include "model/ops/ops.h"
#include "model/parallel/update.h"
#include "model/tensor/scope.h"

static const td_device cpu = {TD_DEVICE_CPU, 0};

/* Whole tensors, OPTIM_MAX_SLOTS for each slot of the ddp. */
typedef struct td_gathering {
    td_ddp_update *update;
    char *whole; /* room for a bucket; NULL on other ranks than 0 */
    td_tensor **tensors;
} td_gathering;

/* Take one slot of the rule of a bucket's parameters out of `whole`. */
static td_status take_out(td_gathering *g, size_t bucket, int k) {
    td_ddp_update *u = g->update;
    const td_ddp_bucket *b = &u->ddp->buckets[bucket];
    for (size_t i = b->first; i < b->end; i++) {
        if (!u->items[i].owned || !u->items[i].started) continue;
        const td_optim_options *options = &u->optimizer->groups[u->items[i].group].options;
        if (!u->optimizer->rule->has_slot(options, k)) continue;
        td_tensor *x = td_tensor_from(g->whole + update_offset(&u->ddp->slots[i], 0), b->dtype,
                                      td_tensor_sizes(u->ddp->slots[i].param));
        if (!x) return td_error_last()->status;
        g->tensors[i * OPTIM_MAX_SLOTS + (size_t)k] = td_keep(x);
    }
    return TD_OK;
}

static td_status gather_slot(td_gathering *g, size_t bucket, int k) {
    const td_update_bucket *b = &g->update->buckets[bucket];
    td_call call = {.kind = TD_CALL_GATHER,
                    .dtype = b->dtype,
                    .input = b->states[k],
                    .output = g->whole,
                    .counts = b->counts,
                    .label = "ddp state",
                    .device = cpu};
    return td_group_post(g->update->ddp->group, &call, NULL);
}

/* Rank 0's want of memory on the way keeps no other rank waiting. */
static td_status gather(td_gathering *g) {
    td_status status = TD_OK;
    for (size_t b = 0; b < g->update->ddp->bucket_count; b++)
        for (int k = 0; k < OPTIM_MAX_SLOTS; k++) {
            if (!g->update->buckets[b].states[k]) continue;
            TD_TRY(gather_slot(g, b, k));
            if (g->whole && status >= 0) status = take_out(g, b, k);
        }
    return status;
}

static td_tensor *look_up(const td_optim_param *param, int k, void *cookie) {
    const td_gathering *g = cookie;
    const td_ddp_update *u = g->update;
    for (size_t i = 0; i < u->ddp->slot_count; i++)
        if (u->ddp->slots[i].param == param->tensor) {
            if (!u->items[i].started) return NULL;
            if (optim_is_step(u->optimizer->rule, k)) return param->slots[k];
            return g->tensors[i * OPTIM_MAX_SLOTS + (size_t)k];
        }
    return NULL;
}

static size_t largest_bucket(const td_ddp_update *u) {
    size_t most = 0;
    for (size_t b = 0; b < u->ddp->bucket_count; b++) {
        size_t bytes = u->buckets[b].elements * td_dtype_size(u->buckets[b].dtype);
        if (bytes > most) most = bytes;
    }
    return most;
}

/* Fail on all ranks if the preparations of any have failed. */
static td_status agree(td_group *group, td_status own) {
    int32_t worst = own;
    td_error mine = *td_error_last();
    TD_TRY(td_group_all_reduce(group, &worst, 1, TD_DTYPE_I32, TD_REDUCE_MIN, cpu, NULL, NULL));
    if (own < 0) {
        td_error_restore(&mine);
        return own;
    }
    return worst == TD_OK ? TD_OK
                          : td_fail((td_status)worst, 0, "model/parallel",
                                    "ddp: another rank cannot take part in gathering the optimizer's state");
}

static td_status prepare(td_gathering *g) {
    TD_TRY(update_settle(g->update));
    if (td_group_rank(g->update->ddp->group) != 0) return TD_OK;
    g->whole = td_alloc_aligned(largest_bucket(g->update));
    g->tensors = td_calloc(g->update->ddp->slot_count * OPTIM_MAX_SLOTS, sizeof *g->tensors);
    return g->whole && g->tensors ? TD_OK : TD_ERR_MEMORY;
}

static td_status gather_state(td_ddp_update *u, td_state_dict *dict) {
    td_gathering g = {.update = u};
    td_scope *scope = td_scope_open(u->ddp->context);
    td_status status = agree(u->ddp->group, prepare(&g));
    if (status >= 0) status = gather(&g);
    if (status >= 0 && g.whole) status = optim_state(u->optimizer, look_up, &g, dict);
    for (size_t i = 0; g.tensors && i < u->ddp->slot_count * OPTIM_MAX_SLOTS; i++) td_release(&g.tensors[i]);
    td_free(g.tensors);
    td_free(g.whole);
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

td_status td_ddp_optimizer_state(td_ddp *ddp, const td_optimizer *optimizer, td_state_dict *dict) {
    td_ddp_update *u = ddp->update;
    if (u && u->optimizer == optimizer && ddp->options.sync == TD_SYNC_ZERO1) return gather_state(u, dict);
    return td_group_rank(ddp->group) == 0 ? td_optimizer_state(optimizer, dict) : TD_OK;
}
