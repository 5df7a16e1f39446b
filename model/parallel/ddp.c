/*
 * The life of a td_ddp and the course of one backward pass. What weighs what: the gradient of a pass over n
 * samples is a mean, so n times it is a sum; local gradients are kept in units of the last pass's n
 * (`scale`), so that passes of equal size need no arithmetic, and are multiplied once, when they are posted.
 */
#include "base/context.h"
#include "base/memory.h"
#include "model/parallel/update.h"
#include "model/tensor/scope.h"
#include "model/tensor/tensor.h"

/* --- one pass --------------------------------------------------------------------------------------- */

static bool is_alone(const td_ddp *ddp) { return td_group_size(ddp->group) == 1; }

double ddp_weight(const td_ddp *ddp) { return ddp->absent ? 0 : ddp->unweighted ? 1 : (double)ddp->scale; }

/* The samples that weighted gradients are a sum over (-1: no weights). */
static int64_t samples_of(const td_ddp *ddp) { return ddp->unweighted ? -1 : ddp->samples; }

/* Post the buckets that are ready, or all; always in order of number, which is the same on every rank. */
static td_status post_buckets(td_ddp *ddp, bool all) {
    while (ddp->posted < ddp->bucket_count && (all || !ddp->buckets[ddp->posted].waiting)) {
        td_ddp_bucket *bucket = &ddp->buckets[ddp->posted++];
        TD_TRY(ddp_post(ddp, bucket, ddp_weight(ddp), samples_of(ddp)));
    }
    return TD_OK;
}

/* Alone, only what several weighted passes have added up needs a division. */
static void average_alone(td_ddp *ddp) {
    if (ddp->unweighted || ddp->samples == ddp->scale || !ddp->samples) return;
    for (size_t i = 0; i < ddp->slot_count; i++) {
        td_tensor *param = ddp->slots[i].param, *grad = td_tensor_grad(param);
        if (!grad) continue;
        size_t count = (size_t)td_tensor_count(grad);
        ddp_multiply(td_tensor_dtype(grad), td_tensor_data(grad), count, (double)ddp->scale);
        ddp_divide(td_tensor_dtype(grad), td_tensor_data(grad), count, (double)ddp->samples);
    }
}

void ddp_forget_weights(td_ddp *ddp) {
    ddp->scale = ddp->samples = 0;
    ddp->unweighted = ddp->announced = false;
}

/* Do passes only add to this rank's gradients? */
static bool adds_up(const td_ddp *ddp) {
    return ddp->no_sync || (ddp->update && ddp->options.sync == TD_SYNC_SHARED);
}

static void reduce_alone(td_ddp *ddp) {
    average_alone(ddp);
    ddp->active = !ddp->absent && (ddp->unweighted || ddp->samples > 0);
    for (size_t i = 0; i < ddp->slot_count; i++) {
        td_ddp_slot *slot = &ddp->slots[i];
        slot->filled = td_tensor_grad(slot->param) != NULL;
        slot->ready = false;
        if (slot->filled) td_leaf_set_state(slot->param, TD_GRAD_REDUCED);
    }
}

td_status ddp_look_at_step(td_ddp *ddp) {
    int ranks = td_group_size(ddp->group);
    if (!ddp->active && !ddp->absent)
        return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: no rank has a sample in this step");
    if (!ddp->active) return TD_OK;
    if (ddp->options.throw_on_early_termination && ddp->active < ranks)
        return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: %d of %d ranks have no more data",
                       ranks - ddp->active, ranks);
    TD_TRY(ddp_check_use(ddp));
    return ddp_rebuild(ddp);
}

/* Reduce whatever is not posted yet, wait for all, and begin anew. */
td_status ddp_reduce(td_ddp *ddp) {
    ddp->weighed = !ddp->unweighted;
    if (is_alone(ddp)) reduce_alone(ddp);
    if (ddp->update && ddp->options.sync == TD_SYNC_SHARED) return update_meet(ddp->update);
    TD_TRY(post_buckets(ddp, true));
    if (ddp->update) return update_zero_reduce(ddp);
    for (size_t b = 0; b < ddp->bucket_count; b++) TD_TRY(ddp_finish(ddp, &ddp->buckets[b], ddp->weighed));
    ddp->posted = 0;
    ddp_forget_weights(ddp);
    ddp->buffers_due = true;
    return ddp_look_at_step(ddp);
}

/* Are all gradients empty, `besides`'s (or nobody's) left aside? */
static bool is_empty(const td_ddp *ddp, const td_ddp_slot *besides) {
    for (size_t i = 0; i < ddp->slot_count; i++)
        if (&ddp->slots[i] != besides && td_leaf_state(ddp->slots[i].param) != TD_GRAD_EMPTY) return false;
    return true;
}

static bool has_reduced(const td_ddp *ddp) {
    for (size_t i = 0; i < ddp->slot_count; i++)
        if (td_leaf_state(ddp->slots[i].param) == TD_GRAD_REDUCED) return true;
    return false;
}

/* The first gradient of a pass: settle what the pass weighs. */
static td_status enter_pass(td_ddp *ddp, const td_ddp_slot *slot) {
    ddp->reached = true;
    if (ddp->update && has_reduced(ddp))
        return td_fail(TD_ERR_STATE, 0, "model/parallel",
                       "ddp: zero1 has reduced this step's gradients; make the step, or empty them, before "
                       "another backward pass");
    if (ddp->begun) return TD_OK;
    if (is_empty(ddp, slot)) ddp_forget_weights(ddp); /* gradients were emptied before */
    if (ddp->samples)
        return td_fail(TD_ERR_STATE, 0, "model/parallel",
                       "ddp: a backward pass without td_ddp_begin, after passes with it in the same step");
    ddp->unweighted = true;
    return TD_OK;
}

td_status ddp_on_gradient(td_tensor *leaf, void *cookie) {
    (void)leaf;
    td_ddp_slot *slot = cookie;
    td_ddp *ddp = slot->ddp;
    if (slot->skipped) return ddp_refuse_skipped(slot);
    if (!ddp->reached) TD_TRY(enter_pass(ddp, slot));
    if (adds_up(ddp) || is_alone(ddp)) return TD_OK;
    if (slot->ready)
        return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: the last backward pass failed half-way");
    slot->ready = true;
    if (!ddp->stepped) slot->arrival = ++ddp->arrivals;
    ddp->buckets[slot->bucket].waiting--;
    return post_buckets(ddp, false);
}

static td_status on_pass_end(void *cookie) {
    td_ddp *ddp = cookie;
    if (!ddp->reached && !ddp->begun) return TD_OK; /* a pass over something else */
    ddp->reached = ddp->begun = false;
    ddp_tell_layers(ddp->module, 0);
    return adds_up(ddp) ? TD_OK : ddp_reduce(ddp);
}

td_status td_ddp_reduce(td_ddp *ddp) {
    if (ddp->no_sync) return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: td_ddp_reduce within no_sync");
    if (!ddp->announced) ddp->unweighted = true;
    ddp->reached = ddp->begun = false;
    return adds_up(ddp) ? TD_OK : ddp_reduce(ddp);
}

/* --- weights ---------------------------------------------------------------------------------------- */

/* Local gradients that are in units of `scale` samples, in units of `samples`. */
static void change_scale(td_ddp *ddp, int64_t samples) {
    if (ddp->scale && ddp->scale != samples)
        for (size_t i = 0; i < ddp->slot_count; i++) {
            td_tensor *grad = td_tensor_grad(ddp->slots[i].param);
            if (grad)
                ddp_multiply(td_tensor_dtype(grad), td_tensor_data(grad), (size_t)td_tensor_count(grad),
                             (double)ddp->scale / (double)samples);
        }
    ddp->scale = samples;
}

td_status td_ddp_begin(td_ddp *ddp, int64_t samples) {
    if (samples < 0)
        return td_fail(TD_ERR_ARG, 0, "model/parallel", "ddp: %lld samples in a pass", (long long)samples);
    if (ddp->posted)
        return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: the last backward pass failed half-way");
    if (ddp->begun) ddp->samples -= ddp->scale;       /* a pass that was announced and never ran */
    if (is_empty(ddp, NULL)) ddp_forget_weights(ddp); /* gradients were emptied */
    if (ddp->unweighted)
        return td_fail(TD_ERR_STATE, 0, "model/parallel",
                       "ddp: td_ddp_begin after a backward pass without it in the same step");
    if (ddp->no_sync && has_reduced(ddp))
        return td_fail(TD_ERR_STATE, 0, "model/parallel",
                       "ddp: gradients still hold the last step's mean; empty them before adding up passes");
    TD_TRY(ddp_forward_buffers(ddp));
    /* Layers that exchange something in a pass need it on a rank without samples, too. */
    bool passes = ddp_tell_layers(ddp->module, samples) > 0 || samples > 0;
    ddp->begun = passes;
    ddp->reached = false;
    ddp->announced = true;
    if (!passes) return adds_up(ddp) ? TD_OK : ddp_reduce(ddp);
    if (!samples) return TD_OK;
    change_scale(ddp, samples);
    ddp->samples += samples;
    return TD_OK;
}

td_status td_ddp_no_sync_begin(td_ddp *ddp) {
    if (ddp->no_sync) return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: no_sync has begun already");
    ddp->no_sync = true;
    return TD_OK;
}

td_status td_ddp_no_sync_end(td_ddp *ddp) {
    if (!ddp->no_sync) return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: no_sync has not begun");
    ddp->no_sync = false;
    return TD_OK;
}

/* --- life ------------------------------------------------------------------------------------------- */

/* A slot for each parameter that requires grad, the last first. */
static td_status make_slots(td_ddp *ddp, const td_state_dict *parameters) {
    ddp->slots = td_calloc(parameters->count, sizeof *ddp->slots);
    if (!ddp->slots) return TD_ERR_MEMORY;
    for (size_t i = parameters->count; i-- > 0;) {
        td_tensor *param = parameters->at[i].tensor;
        if (!td_tensor_requires_grad(param)) continue;
        td_dtype dtype = td_tensor_dtype(param);
        if (dtype != TD_DTYPE_F32 && dtype != TD_DTYPE_F64)
            return td_fail(TD_ERR_UNSUPPORTED, 0, "model/parallel",
                           "ddp: '%s' is of dtype %s; f32 and f64 can be reduced", parameters->at[i].name,
                           td_dtype_name(dtype));
        td_ddp_slot *slot = &ddp->slots[ddp->slot_count++];
        *slot = (td_ddp_slot){.ddp = ddp, .param = param, .name = parameters->at[i].name};
        td_tensor_zero_grad(param);
        TD_TRY(td_tensor_add_grad_hook(param, ddp_on_gradient, slot));
    }
    if (!ddp->slot_count)
        return td_fail(TD_ERR_ARG, 0, "model/parallel", "ddp: no parameter of the module requires grad");
    return TD_OK;
}

/* Keep the options; what they lend is copied. */
static td_status take_options(td_ddp *ddp, const td_ddp_options *options) {
    if (options) ddp->options = *options;
    td_ddp_options *o = &ddp->options;
    const double *list = o->bucket_cap_mb_list;
    o->bucket_cap_mb_list = NULL;
    if (o->bucket_cap_mb == 0) o->bucket_cap_mb = TD_DDP_BUCKET_CAP_MB;
    if (!(o->bucket_cap_mb > 0))
        return td_fail(TD_ERR_ARG, 0, "model/parallel", "ddp: bucket_cap_mb is %g", o->bucket_cap_mb);
    if (o->skip_all_reduce_unused_params && !o->static_graph)
        return td_fail(TD_ERR_ARG, 0, "model/parallel",
                       "ddp: skip_all_reduce_unused_params needs static_graph");
    if (!list || !o->bucket_cap_mb_count) {
        o->bucket_cap_mb_count = 0;
        return TD_OK;
    }
    ddp->bucket_caps = td_calloc(o->bucket_cap_mb_count, sizeof *ddp->bucket_caps);
    if (!ddp->bucket_caps) return TD_ERR_MEMORY;
    for (size_t i = 0; i < o->bucket_cap_mb_count; i++) {
        if (!(list[i] > 0))
            return td_fail(TD_ERR_ARG, 0, "model/parallel", "ddp: bucket_cap_mb_list has %g", list[i]);
        ddp->bucket_caps[i] = list[i] * (1 << 20);
    }
    return TD_OK;
}

static td_status open_over(td_ddp *ddp) {
    if (!is_alone(ddp) && ddp->options.init_sync != TD_CHOICE_NO) {
        TD_TRY(ddp_compare(ddp->group, &ddp->parameters, &ddp->buffers));
        TD_TRY(ddp_broadcast(ddp->group, &ddp->parameters));
        TD_TRY(ddp_broadcast(ddp->group, &ddp->buffers));
    }
    TD_TRY(make_slots(ddp, &ddp->parameters));
    if (!is_alone(ddp)) TD_TRY(ddp_make_buckets(ddp));
    if (!is_alone(ddp) && ddp->options.sync != TD_SYNC_REPLICATED) TD_TRY(update_open(ddp));
    TD_TRY(td_pass_hook_add(ddp->context, on_pass_end, ddp));
    ddp->hooked = true;
    return TD_OK;
}

td_status td_ddp_open(td_module *module, td_group *group, const td_ddp_options *options, td_ddp **ddp) {
    td_ddp *opened = td_calloc(1, sizeof *opened);
    if (!opened) return TD_ERR_MEMORY;
    opened->context = td_context_current();
    opened->group = group;
    opened->module = module;
    td_scope *scope = td_scope_open(opened->context);
    td_status status = take_options(opened, options);
    if (status == TD_OK) status = td_ddp_can_sync(module, group, opened->options.sync);
    if (status == TD_OK) status = td_module_parameters(module, &opened->parameters);
    if (status == TD_OK) status = td_module_buffers(module, &opened->buffers);
    if (status == TD_OK) status = open_over(opened);
    td_status closed = td_scope_close(scope);
    if (status == TD_OK) status = closed;
    if (status < 0) {
        td_ddp_close(&opened);
        return status;
    }
    *ddp = opened;
    return TD_OK;
}

void td_ddp_close(td_ddp **ddp) {
    td_ddp *closed = *ddp;
    if (!closed) return;
    if (closed->hooked) td_pass_hook_remove(closed->context, on_pass_end, closed);
    for (size_t i = 0; i < closed->slot_count; i++)
        td_tensor_remove_grad_hook(closed->slots[i].param, ddp_on_gradient, &closed->slots[i]);
    update_close(closed);
    ddp_drop_buckets(closed);
    ddp_hook_close(closed);
    td_free(closed->slots);
    td_free(closed->bucket_caps);
    td_free(closed->packed);
    td_state_dict_clear(&closed->parameters);
    td_state_dict_clear(&closed->buffers);
    td_free(closed);
    *ddp = NULL;
}

size_t td_ddp_bucket_count(const td_ddp *ddp) { return ddp->bucket_count; }

size_t td_ddp_bucket_bytes(const td_ddp *ddp, size_t bucket) {
    if (bucket >= ddp->bucket_count) return 0;
    return ddp->buckets[bucket].elements * td_dtype_size(ddp->buckets[bucket].dtype);
}
