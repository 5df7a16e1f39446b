/*
 * Where the optimizer's state lies. Shared: a block of the arena for every bucket and slot of the rule, laid
 * out as the bucket, and each parameter's slot is a tensor over its place, the same on all ranks. ZeRO-1: each
 * rank has the elements of its slice, and the parameters' own places stay empty. Numbers of steps are each
 * rank's own, as every rank counts them alike. State that was loaded lies elsewhere until the next step
 * settles it: each rank takes its slice.
 */
#include "base/memory.h"
#include "dist/arena.h"
#include "model/ops/ops.h"
#include "model/parallel/update.h"
#include "model/tensor/internal.h"

#include <string.h>

static const td_optim_rule *rule_of(const td_ddp_update *u) { return u->optimizer->rule; }

/* Does any parameter of the bucket have slot `k`? */
static bool bucket_needs(const td_ddp_update *u, size_t bucket, int k) {
    const td_ddp_bucket *b = &u->ddp->buckets[bucket];
    for (size_t i = b->first; i < b->end; i++)
        if (u->items[i].owned && rule_of(u)->has_slot(&u->optimizer->groups[u->items[i].group].options, k))
            return true;
    return false;
}

static td_status make_state(td_ddp_update *u, td_update_bucket *b, int k) {
    size_t size = td_dtype_size(b->dtype);
    if (u->ddp->options.sync == TD_SYNC_SHARED) {
        if (!b->states[k])
            TD_TRY(td_arena_alloc_one(td_group_arena(u->ddp->group), b->elements * size, &b->states[k]));
        return b->state_hosts[k]
                   ? TD_OK
                   : td_storage_wrap(b->states[k], b->elements * size, NULL, NULL, &b->state_hosts[k]);
    }
    size_t bytes = (b->end - b->begin) * size;
    if (b->states[k]) return TD_OK;
    b->states[k] = td_alloc_aligned(bytes);
    if (!b->states[k]) return TD_ERR_MEMORY;
    memset(b->states[k], 0, bytes);
    return TD_OK;
}

static td_status make_states(td_ddp_update *u) {
    for (size_t b = 0; b < u->ddp->bucket_count; b++)
        for (int k = 0; k < OPTIM_MAX_SLOTS && rule_of(u)->slots[k]; k++)
            if (!optim_is_step(rule_of(u), k) && bucket_needs(u, b, k))
                TD_TRY(make_state(u, &u->buckets[b], k));
    return TD_OK;
}

/* The part of a slot that this rank has, in elements of the slot. */
static void own_part(const td_ddp_update *u, size_t at, size_t *begin, size_t *end) {
    const td_ddp_slot *slot = &u->ddp->slots[at];
    const td_update_bucket *b = &u->buckets[slot->bucket];
    size_t first = slot->offset > b->begin ? slot->offset : b->begin;
    size_t last = slot->offset + slot->count < b->end ? slot->offset + slot->count : b->end;
    *begin = first - slot->offset;
    *end = last > first ? last - slot->offset : *begin;
}

static char *state_at(const td_ddp_update *u, size_t at, size_t begin, int k) {
    const td_ddp_slot *slot = &u->ddp->slots[at];
    const td_update_bucket *b = &u->buckets[slot->bucket];
    if (!b->states[k]) return NULL;
    size_t skipped = u->ddp->options.sync == TD_SYNC_SHARED ? 0 : b->begin * td_dtype_size(b->dtype);
    return (char *)b->states[k] + update_offset(slot, begin) - skipped;
}

void *update_state_at(const td_ddp_update *u, const td_update_piece *piece, int k) {
    return state_at(u, piece->slot, piece->begin, k);
}

/* This rank's elements become those of `from`, or zeros. */
static void take_part(td_ddp_update *u, size_t at, int k, const td_tensor *from) {
    size_t begin, end, size = td_dtype_size(u->buckets[u->ddp->slots[at].bucket].dtype);
    own_part(u, at, &begin, &end);
    if (begin == end) return;
    if (from)
        memcpy(state_at(u, at, begin, k), (const char *)td_tensor_data(from) + begin * size,
               (end - begin) * size);
    else
        memset(state_at(u, at, begin, k), 0, (end - begin) * size);
}

/* A tensor over the slot's place in the shared block. */
static td_tensor *wrap_state(const td_ddp_update *u, size_t at, int k) {
    const td_ddp_slot *slot = &u->ddp->slots[at];
    const td_update_bucket *b = &u->buckets[slot->bucket];
    td_tensor *x = td_tensor_wrap(b->state_hosts[k], (int64_t)slot->offset, b->dtype,
                                  td_tensor_sizes(slot->param), NULL);
    return x ? td_keep(x) : NULL;
}

static td_status settle_slot(td_ddp_update *u, size_t at, int k, bool loaded) {
    td_update_item *item = &u->items[at];
    td_optim_param *param = update_param(u, item);
    td_tensor **place = &param->slots[k];
    if (optim_is_step(rule_of(u), k)) {
        if (!*place && !(*place = td_keep(td_zeros((td_ints){0})))) return td_error_last()->status;
        return TD_OK;
    }
    if (u->ddp->options.sync == TD_SYNC_ZERO1) {
        if (*place || loaded) take_part(u, at, k, *place);
        if (*place) item->started = !param->fresh;
        td_release(place);
        return TD_OK;
    }
    if (*place && td_tensor_data(*place) == state_at(u, at, 0, k)) return TD_OK;
    td_tensor *home = wrap_state(u, at, k);
    if (!home) return td_error_last()->status;
    take_part(u, at, k, *place);
    if (!*place) param->fresh = true;
    td_release(place);
    *place = home;
    return TD_OK;
}

static td_status settle_all(td_ddp_update *u, bool loaded) {
    for (size_t i = 0; i < u->ddp->slot_count; i++) {
        if (!u->items[i].owned) continue;
        if (loaded) u->items[i].started = false;
        const td_optim_options *options = &u->optimizer->groups[u->items[i].group].options;
        for (int k = 0; k < OPTIM_MAX_SLOTS && rule_of(u)->slots[k]; k++)
            if (rule_of(u)->has_slot(options, k)) TD_TRY(settle_slot(u, i, k, loaded));
    }
    return TD_OK;
}

td_status update_settle(td_ddp_update *u) {
    td_scope *scope = td_scope_open(u->ddp->context);
    td_no_grad_begin();
    bool loaded = u->loads != u->optimizer->loads;
    td_status status = make_states(u);
    if (status == TD_OK) status = settle_all(u, loaded);
    td_no_grad_end();
    td_status closed = td_scope_close(scope);
    if (status == TD_OK) status = closed;
    if (status == TD_OK) u->loads = u->optimizer->loads;
    return status;
}

void update_drop_states(td_ddp_update *u) {
    for (size_t i = 0; u->optimizer && i < u->ddp->slot_count; i++) {
        if (!u->items[i].owned) continue;
        td_optim_param *param = update_param(u, &u->items[i]);
        for (int k = 0; k < OPTIM_MAX_SLOTS; k++) td_release(&param->slots[k]);
        param->fresh = false;
        u->items[i].started = false;
    }
    for (size_t b = 0; b < u->ddp->bucket_count; b++)
        for (int k = 0; k < OPTIM_MAX_SLOTS; k++) {
            td_update_bucket *at = &u->buckets[b];
            if (at->state_hosts[k]) td_storage_release(&at->state_hosts[k]);
            if (u->ddp->options.sync == TD_SYNC_SHARED) {
                td_arena_free(td_group_arena(u->ddp->group), &at->states[k]);
            } else {
                td_free(at->states[k]);
                at->states[k] = NULL;
            }
        }
}
