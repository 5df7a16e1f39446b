/*
 * What the shared update and ZeRO-1 have in common: slices and pieces, whose optimizer it is, the meeting, and
 * the pass over this rank's pieces.
 */
#include "model/parallel/update.h"

#include "base/memory.h"
#include "base/parallel.h"
#include "dist/arena.h"
#include "model/cpu/combine.h"

#include <math.h>
#include <string.h>

static const td_device cpu = {TD_DEVICE_CPU, 0};

/* The header: a sum over ranks, of which each has its own parts. */
enum { SAMPLES, WEIGHTED, UNWEIGHTED, WEIGHTS /* one per rank, then: filled, one per slot */ };

static double *weight_in(td_ddp_update *u, int rank) { return &u->header[WEIGHTS + rank]; }
static double *filled_in(td_ddp_update *u, size_t slot) {
    return &u->header[WEIGHTS + td_group_size(u->ddp->group) + (int64_t)slot];
}

/* --- cutting ---------------------------------------------------------------------------------------- */

static td_status cut_bucket(const td_ddp *ddp, const td_ddp_bucket *bucket, td_update_bucket *b) {
    size_t ranks = (size_t)td_group_size(ddp->group), rank = (size_t)td_group_rank(ddp->group);
    b->dtype = bucket->dtype;
    b->elements = bucket->samples_at;
    b->counts = td_calloc(ranks, sizeof *b->counts);
    b->grads = td_calloc(ranks, sizeof *b->grads);
    if (!b->counts || !b->grads) return TD_ERR_MEMORY;
    size_t units = b->elements / UPDATE_CUT;
    for (size_t r = 0; r < ranks; r++) {
        size_t begin = units * r / ranks * UPDATE_CUT, end = units * (r + 1) / ranks * UPDATE_CUT;
        b->counts[r] = end - begin;
        b->grads[r] = td_arena_at(td_group_arena(ddp->group), bucket->data, (int)r);
        if (r == rank) b->begin = begin, b->end = end;
    }
    return TD_OK;
}

/* Cut the part of each slot that lies in this rank's slice; with `pieces` NULL only count. */
static size_t cut_pieces(const td_ddp_update *u, td_update_piece *pieces) {
    size_t count = 0;
    for (size_t i = 0; i < u->ddp->slot_count; i++) {
        const td_ddp_slot *slot = &u->ddp->slots[i];
        const td_update_bucket *b = &u->buckets[slot->bucket];
        size_t begin = slot->offset > b->begin ? slot->offset : b->begin;
        size_t end = slot->offset + slot->count < b->end ? slot->offset + slot->count : b->end;
        for (; begin < end; begin += UPDATE_PIECE, count++)
            if (pieces)
                pieces[count] = (td_update_piece){i, begin - slot->offset,
                                                  (end - begin < UPDATE_PIECE ? end : begin + UPDATE_PIECE) -
                                                      slot->offset};
    }
    return count;
}

static td_status open_over(td_ddp_update *u) {
    const td_ddp *ddp = u->ddp;
    u->buckets = td_calloc(ddp->bucket_count, sizeof *u->buckets);
    u->items = td_calloc(ddp->slot_count, sizeof *u->items);
    u->header_count = (size_t)WEIGHTS + (size_t)td_group_size(ddp->group) + ddp->slot_count;
    u->header = td_calloc(u->header_count, sizeof *u->header);
    if (!u->buckets || !u->items || !u->header) return TD_ERR_MEMORY;
    for (size_t b = 0; b < ddp->bucket_count; b++) TD_TRY(cut_bucket(ddp, &ddp->buckets[b], &u->buckets[b]));
    u->piece_count = cut_pieces(u, NULL);
    u->pieces = td_calloc(u->piece_count, sizeof *u->pieces);
    if (!u->pieces) return TD_ERR_MEMORY;
    cut_pieces(u, u->pieces);
    for (size_t i = 0; i < ddp->slot_count; i++) {
        u->items[i].norms_at = u->norm_count;
        u->norm_count += (ddp->slots[i].count + CPU_SQUARES_BLOCK - 1) / CPU_SQUARES_BLOCK;
    }
    return update_move_in(u);
}

td_status update_open(td_ddp *ddp) {
    td_ddp_update *u = td_calloc(1, sizeof *u);
    if (!u) return TD_ERR_MEMORY;
    u->ddp = ddp;
    ddp->update = u;
    return open_over(u); /* a failure is cleared up by td_ddp_close */
}

static void detach(td_ddp_update *u) {
    if (!u->optimizer) return;
    update_drop_states(u);
    u->optimizer->stepper = NULL;
    u->optimizer = NULL;
}

void update_close(td_ddp *ddp) {
    td_ddp_update *u = ddp->update;
    if (!u) return;
    detach(u);
    if (u->buckets) {
        update_drop_states(u);
        update_move_out(u);
        for (size_t b = 0; b < ddp->bucket_count; b++) {
            td_free(u->buckets[b].counts);
            td_free(u->buckets[b].grads);
        }
    }
    td_free(u->buckets);
    td_free(u->items);
    td_free(u->pieces);
    td_free(u->header);
    td_free(u->norms);
    td_free(u);
    ddp->update = NULL;
}

/* --- the optimizer ---------------------------------------------------------------------------------- */

td_optim_param *update_param(const td_ddp_update *u, const td_update_item *item) {
    return &u->optimizer->groups[item->group].params[item->index];
}

static size_t count_params(const td_optimizer *optimizer) {
    size_t count = 0;
    for (size_t g = 0; g < optimizer->group_count; g++) count += optimizer->groups[g].count;
    return count;
}

static td_update_item *find_item(td_ddp_update *u, const td_tensor *param) {
    for (size_t i = 0; i < u->ddp->slot_count; i++)
        if (u->ddp->slots[i].param == param) return &u->items[i];
    return NULL;
}

/* Which slot is which of the optimizer's parameters. */
static td_status match(td_ddp_update *u, td_optimizer *optimizer) {
    for (size_t g = 0; g < optimizer->group_count; g++)
        for (size_t i = 0; i < optimizer->groups[g].count; i++) {
            const td_optim_param *param = &optimizer->groups[g].params[i];
            td_update_item *item = find_item(u, param->tensor);
            if (item)
                item->owned = true, item->group = g, item->index = i;
            else if (td_tensor_requires_grad(param->tensor))
                return td_fail(TD_ERR_ARG, 0, "model/parallel",
                               "ddp: the optimizer's '%s' is no parameter of the module", param->name);
        }
    u->param_count = count_params(optimizer);
    return TD_OK;
}

static td_status step(void *cookie) {
    td_ddp_update *u = cookie;
    if (count_params(u->optimizer) != u->param_count) TD_TRY(match(u, u->optimizer)); /* groups were added */
    return u->ddp->options.sync == TD_SYNC_SHARED ? update_shared_step(u) : update_zero_step(u);
}

static void on_closed(void *cookie) {
    td_ddp_update *u = cookie;
    update_drop_states(u);
    u->optimizer = NULL;
}

static const td_optim_stepper shared_stepper = {.step = step, .closed = on_closed};
static const td_optim_stepper zero_stepper = {.step = step, .closed = on_closed, .sharded = true};

/* Alone, a step is the ordinary one, but uses gradients up as well. */
static td_status step_alone(void *cookie) {
    td_optimizer *optimizer = cookie;
    TD_TRY(optim_step(optimizer));
    td_optimizer_zero_grad(optimizer);
    return TD_OK;
}

static void closed_alone(void *cookie) { (void)cookie; }

static const td_optim_stepper alone_stepper = {.step = step_alone, .closed = closed_alone};

td_status td_ddp_attach(td_ddp *ddp, td_optimizer *optimizer) {
    if (ddp->options.sync == TD_SYNC_REPLICATED) return TD_OK;
    td_ddp_update *u = ddp->update;
    if (optimizer->stepper || (u && u->optimizer))
        return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: an optimizer is attached already");
    if (!u) {
        optimizer->stepper = &alone_stepper;
        optimizer->stepper_cookie = optimizer;
        return TD_OK;
    }
    for (size_t i = 0; i < ddp->slot_count; i++) u->items[i].owned = false;
    TD_TRY(match(u, optimizer));
    u->optimizer = optimizer;
    u->loads = optimizer->loads;
    td_status status = update_settle(u);
    if (status < 0) {
        update_drop_states(u);
        u->optimizer = NULL;
        return status;
    }
    optimizer->stepper = ddp->options.sync == TD_SYNC_SHARED ? &shared_stepper : &zero_stepper;
    optimizer->stepper_cookie = u;
    return TD_OK;
}

/* --- the meeting ------------------------------------------------------------------------------------ */

/* What this rank tells, and zeros for what it has not, so that others need not know. */
static void fill_header(td_ddp_update *u) {
    td_ddp *ddp = u->ddp;
    memset(u->header, 0, u->header_count * sizeof *u->header);
    double weight = ddp_weight(ddp);
    u->header[SAMPLES] = (double)ddp->samples;
    u->header[WEIGHTED] = ddp->announced && !ddp->absent;
    u->header[UNWEIGHTED] = ddp->unweighted && !ddp->absent;
    *weight_in(u, td_group_rank(ddp->group)) = weight;
    for (size_t i = 0; i < ddp->slot_count; i++) {
        const td_ddp_slot *slot = &ddp->slots[i];
        bool filled = weight != 0 && td_leaf_state(slot->param) != TD_GRAD_EMPTY;
        *filled_in(u, i) = filled;
        if (ddp->options.sync == TD_SYNC_SHARED && !filled)
            memset((char *)ddp->buckets[slot->bucket].data + update_offset(slot, 0), 0,
                   slot->count * td_dtype_size(ddp->buckets[slot->bucket].dtype));
    }
}

/* The same on every rank, as the header is. */
static td_status read_header(td_ddp_update *u) {
    td_ddp *ddp = u->ddp;
    int ranks = td_group_size(ddp->group);
    ddp->active = 0;
    for (int r = ranks - 1; r >= 0; r--)
        if (*weight_in(u, r) != 0) ddp->active++, ddp->first_active = r;
    for (size_t i = 0; i < ddp->slot_count; i++) {
        ddp->slots[i].filled = (int)*filled_in(u, i);
        ddp->slots[i].ready = false;
    }
    ddp->weighed = u->header[WEIGHTED] > 0;
    ddp->buffers_due = true;
    u->divisor = ddp->weighed ? u->header[SAMPLES] : ranks;
    bool fewer = ddp->options.divide_by_initial_world_size == TD_CHOICE_NO && !ddp->weighed;
    u->correction = fewer && ddp->active ? (double)ranks / ddp->active : 1;
    if (ddp->weighed && u->header[UNWEIGHTED] > 0)
        return td_fail(TD_ERR_MISMATCH, 0, "model/parallel",
                       "ddp: %d ranks have announced their passes by td_ddp_begin, and %d have not",
                       (int)u->header[WEIGHTED], (int)u->header[UNWEIGHTED]);
    /* A step in which nobody has had a pass at all changes nothing, as any other optimizer's. */
    bool tried = ddp->weighed || u->header[UNWEIGHTED] > 0 || ddp->absent;
    return tried ? ddp_look_at_step(ddp) : TD_OK;
}

static void drop_gradients(const td_ddp *ddp) {
    for (size_t i = 0; i < ddp->slot_count; i++) td_tensor_zero_grad(ddp->slots[i].param);
}

td_status update_meet(td_ddp_update *u) {
    fill_header(u);
    td_call call = {.kind = TD_CALL_ALL_REDUCE,
                    .dtype = TD_DTYPE_F64,
                    .op = TD_REDUCE_SUM,
                    .count = u->header_count,
                    .input = u->header,
                    .output = u->header,
                    .label = "ddp meeting",
                    .device = cpu};
    TD_TRY(td_group_post(u->ddp->group, &call, NULL));
    ddp_forget_weights(u->ddp);
    td_status status = read_header(u);
    u->met = status >= 0 && u->ddp->active > 0;
    if (status < 0) drop_gradients(u->ddp); /* they are no use without their weights */
    return status;
}

/* --- the pass --------------------------------------------------------------------------------------- */

/* This piece of the rank's own bucket. */
static void *own_gradient(const td_ddp_update *u, const td_update_piece *piece) {
    const td_ddp_slot *slot = &u->ddp->slots[piece->slot];
    return (char *)u->ddp->buckets[slot->bucket].data + update_offset(slot, piece->begin);
}

/* The mean gradient, or that clipped, into `place`. */
static void reduce_piece(td_ddp_update *u, const td_update_piece *piece, void *place) {
    const td_ddp_slot *slot = &u->ddp->slots[piece->slot];
    const td_update_bucket *b = &u->buckets[slot->bucket];
    size_t count = piece->end - piece->begin;
    const void *own = own_gradient(u, piece);
    if (u->reduced) {
        cpu_combine(b->dtype, place, &own, &u->scale, 1, 1, count);
        return;
    }
    if (u->ddp->options.sync == TD_SYNC_ZERO1) { /* the sum, or already the mean */
        cpu_combine(b->dtype, place, &own, &(double){1}, 1, u->ddp->weighed ? u->divisor : 1, count);
    } else {
        const void *from[TD_UPDATE_RANKS_MAX];
        int ranks = td_group_size(u->ddp->group);
        for (int r = 0; r < ranks; r++)
            from[r] = (const char *)b->grads[r] + update_offset(slot, piece->begin);
        cpu_combine(b->dtype, place, from, weight_in(u, 0), ranks, u->divisor, count);
    }
    if (u->correction != 1) {
        const void *mean = place;
        cpu_combine(b->dtype, place, &mean, &u->correction, 1, 1, count);
    }
}

static void update_piece(td_ddp_update *u, const td_update_piece *piece, const void *grad) {
    const td_update_item *item = &u->items[piece->slot];
    const td_optim_param *param = update_param(u, item);
    const td_optim_rule *rule = u->optimizer->rule;
    const td_ddp_slot *slot = &u->ddp->slots[piece->slot];
    const td_update_bucket *b = &u->buckets[slot->bucket];
    td_optim_span span = {
        .dtype = b->dtype,
        .count = (int64_t)(piece->end - piece->begin),
        .param = (char *)b->params + update_offset(slot, piece->begin),
        .grad = grad,
        .step = item->step,
        .first = u->ddp->options.sync == TD_SYNC_SHARED ? param->fresh : !item->started,
    };
    for (int k = 0; k < OPTIM_MAX_SLOTS && rule->slots[k]; k++) span.slots[k] = update_state_at(u, piece, k);
    rule->update(&u->optimizer->groups[item->group].options, &span);
}

static void run_pieces(size_t begin, size_t end, int thread, void *cookie) {
    _Alignas(64) char scratch[UPDATE_PIECE * sizeof(double)];
    td_ddp_update *u = cookie;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        const td_update_piece *piece = &u->pieces[i];
        const td_update_item *item = &u->items[piece->slot];
        if (!item->owned || !u->ddp->slots[piece->slot].filled) continue;
        void *place = u->to_norms ? own_gradient(u, piece) : scratch;
        reduce_piece(u, piece, place);
        if (u->to_norms)
            cpu_sum_squares(u->buckets[u->ddp->slots[piece->slot].bucket].dtype, place,
                            piece->end - piece->begin,
                            &u->norms[item->norms_at + piece->begin / CPU_SQUARES_BLOCK]);
        else
            update_piece(u, piece, place);
    }
}

/* --- clipping --------------------------------------------------------------------------------------- */

static td_update_item *item_of(td_ddp_update *u, size_t group, size_t index) {
    return find_item(u, u->optimizer->groups[group].params[index].tensor);
}

/* In the order of the optimizer's parameters, as it does alone. */
static double add_norms(td_ddp_update *u) {
    double total = 0;
    for (size_t g = 0; g < u->optimizer->group_count; g++)
        for (size_t i = 0; i < u->optimizer->groups[g].count; i++) {
            const td_update_item *item = item_of(u, g, i);
            if (!item || !u->ddp->slots[item - u->items].filled) continue;
            size_t blocks =
                (u->ddp->slots[item - u->items].count + CPU_SQUARES_BLOCK - 1) / CPU_SQUARES_BLOCK;
            for (size_t b = 0; b < blocks; b++) total += u->norms[item->norms_at + b];
        }
    return total;
}

/* First all slices are reduced in place, and every rank learns all blocks' sums. */
static td_status clip(td_ddp_update *u) {
    memset(u->norms, 0, u->norm_count * sizeof *u->norms);
    u->to_norms = true;
    td_parallel_for(u->piece_count, 1, run_pieces, u);
    u->to_norms = false;
    TD_TRY(td_group_all_reduce(u->ddp->group, u->norms, u->norm_count, TD_DTYPE_F64, TD_REDUCE_SUM, cpu, NULL,
                               NULL));
    u->optimizer->norm = sqrt(add_norms(u));
    u->scale = optim_clip_factor(u->optimizer, u->optimizer->norm);
    u->reduced = true;
    return TD_OK;
}

td_status update_make_norms(td_ddp_update *u) {
    u->norms = td_calloc(u->norm_count, sizeof *u->norms);
    return u->norms ? TD_OK : TD_ERR_MEMORY;
}

td_status update_run(td_ddp_update *u) {
    u->reduced = false;
    if (!u->ddp->active) return TD_OK;
    if (u->optimizer->max_norm > 0) TD_TRY(clip(u));
    for (size_t i = 0; i < u->ddp->slot_count; i++)
        if (u->items[i].owned && u->ddp->slots[i].filled)
            u->items[i].step = optim_count_step(u->optimizer->rule, update_param(u, &u->items[i]));
    td_parallel_for(u->piece_count, 1, run_pieces, u);
    return TD_OK;
}

void update_end(td_ddp_update *u) {
    td_ddp *ddp = u->ddp;
    for (size_t i = 0; i < ddp->slot_count; i++) {
        td_update_item *item = &u->items[i];
        td_tensor_zero_grad(ddp->slots[i].param);
        if (!item->owned || !ddp->slots[i].filled) continue;
        td_tensor_written(ddp->slots[i].param);
        update_param(u, item)->fresh = false;
        item->started = true;
    }
    u->met = false;
}
