/* The less common half of every call: failures, writes, views, and what backward functions need. */
#include "model/ops/dispatch.h"

#include "base/memory.h"
#include "model/autograd/leaf.h"
#include "model/ops/value.h"

#include <stdio.h>
#include <string.h>

/* --- failing ----------------------------------------------------------------------------------------- */

td_status td_call_failed(td_call *call, td_status status) {
    if (call->form == TD_FORM_NEW)
        for (int i = 0; i < call->out_count; i++) td_tensor_unref(call->out[i]);
    td_node_unref(call->node);
    /* Kernels and shape functions do not know in which row they are; the record begins with its name once. */
    td_error record = *td_error_last();
    const char *name = td_op_describe(call->op)->name;
    size_t length = strlen(name);
    bool named =
        !strncmp(record.text, name, length) && (record.text[length] == ':' || record.text[length] == '_');
    if (!named)
        td_fail(status, record.foreign, "model", "%s%s: %s", name,
                call->form == TD_FORM_IN_PLACE && name[length - 1] != '_' ? "_" : "", record.text);
    td_scope_fail(status);
    return status;
}

td_status td_call_refused(td_call *call) {
    if (td_context_of_thread && td_context_of_thread->slots[TD_SLOT_SCOPES]) {
        td_scopes *scopes = td_context_of_thread->slots[TD_SLOT_SCOPES];
        if (scopes->current) return scopes->current->status;
    }
    return td_fail(TD_ERR_STATE, 0, "model", "%s: no scope is open: values need an owner (td_scope_open)",
                   td_op_describe(call->op)->name);
}

td_status td_call_missing(td_call *call, const char *arg) {
    return td_call_failed(call, td_fail(TD_ERR_ARG, 0, "model", "%s: its argument %s is missing",
                                        td_op_describe(call->op)->name, arg));
}

td_status td_call_without_kernel(td_call *call) {
    return td_fail(TD_ERR_UNSUPPORTED, 0, "model", "%s: no kernel takes these arguments",
                   td_op_describe(call->op)->name);
}

/* --- arguments --------------------------------------------------------------------------------------- */

bool td_tensors_given(const td_tensors *tensors) {
    for (size_t i = 0; i < tensors->count; i++)
        if (!tensors->at[i]) return false;
    return tensors->count > 0;
}

bool td_call_needs_any(const td_tensors *tensors) {
    for (size_t i = 0; i < tensors->count; i++)
        if (td_call_needs(tensors->at[i])) return true;
    return false;
}

td_status td_call_save(td_call *call, int saved, td_tensor *x, bool overwritten) {
    /* The same tensor under another argument's name, as in td_mul_(a, a), comes to be this node's result. */
    const bool is_result = x && call->form == TD_FORM_IN_PLACE && x == call->out[0];
    if (!overwritten || !x) return td_saved_put(td_node_saved(call->node) + saved, x, is_result, 0);
    td_tensor *copy = td_clone(x);
    if (!copy) return td_error_last()->status;
    return td_saved_put(td_node_saved(call->node) + saved, copy, false, 0);
}

td_status td_call_link_all(td_call *call, uint32_t first, const td_tensors *tensors) {
    for (size_t i = 0; i < tensors->count; i++)
        TD_TRY(td_node_link(call->node, first + (uint32_t)i, tensors->at[i]));
    return TD_OK;
}

/* --- writes ------------------------------------------------------------------------------------------ */

static td_status check_leaf(const td_tensor *self, bool need) {
    if (self->requires_grad)
        return td_fail(TD_ERR_STATE, 0, "model",
                       "a leaf that requires grad is written in place; do so under no_grad");
    if (!self->base) return TD_OK;
    if (self->base->requires_grad)
        return td_fail(TD_ERR_STATE, 0, "model",
                       "a view of a leaf that requires grad is written in place; do so under no_grad");
    if (self->made_without_grad && need)
        return td_fail(
            TD_ERR_STATE, 0, "model",
            "a view made under no_grad is written with grad mode on; make and write it under the same mode");
    return TD_OK;
}

/* Do two tensors of one storage share some elements, but not as the same tensor. Sparse ones are given the
 * benefit of the doubt, as in PyTorch. */
static bool overlap_in_part(const td_tensor *a, const td_tensor *b) {
    if (a == b || a->storage != b->storage || !a->count || !b->count) return false;
    if (!td_tensor_is_dense(a) || !td_tensor_is_dense(b)) return false;
    bool same = a->offset == b->offset && a->dtype == b->dtype && td_layout_same_sizes(a, b);
    for (int d = 0; same && d < a->ndim; d++) same = a->strides[d] == b->strides[d];
    if (same) return false;
    return td_tensor_bytes(a) < td_tensor_bytes(b) + b->count * (int64_t)td_dtype_size((td_dtype)b->dtype) &&
           td_tensor_bytes(b) < td_tensor_bytes(a) + a->count * (int64_t)td_dtype_size((td_dtype)a->dtype);
}

/* As torch.can_cast: from floating to integer, and from anything to bool, is a loss nobody asked for. */
static bool can_cast(td_dtype from, td_dtype to) {
    if (td_dtype_is_floating(from) && !td_dtype_is_floating(to)) return false;
    return from == TD_DTYPE_BOOL || to != TD_DTYPE_BOOL;
}

static td_status check_fit(const td_call *call, const td_layout *layout, const td_tensor *out) {
    bool same = layout->ndim == out->ndim && !memcmp(layout->sizes, out->sizes, sizeof(int64_t) * out->ndim);
    char texts[2][96];
    if (!same)
        return td_fail(TD_ERR_ARG, 0, "model", "a result of sizes %s is to be written to %s",
                       td_sizes_text(layout->sizes, layout->ndim, texts[0], sizeof texts[0]),
                       td_sizes_text(out->sizes, out->ndim, texts[1], sizeof texts[1]));
    bool fits = call->form == TD_FORM_OUT ? layout->dtype == (td_dtype)out->dtype
                                          : can_cast(layout->dtype, (td_dtype)out->dtype);
    if (!fits)
        return td_fail(TD_ERR_ARG, 0, "model", "a result of %s is to be written to %s",
                       td_dtype_name(layout->dtype), td_dtype_name((td_dtype)out->dtype));
    return TD_OK;
}

td_status td_call_check_write(td_call *call, const td_layout *layout, td_tensor *self,
                              td_tensor *const *inputs, int input_count, bool need) {
    if (call->form == TD_FORM_IN_PLACE) {
        call->out[0] = self;
        /* `need` is about what will be recorded; a leaf may not be written even when nothing else is. */
        if (call->records && td_call_needs(self)) need = true;
        if (call->records && (need || self->requires_grad)) TD_TRY(check_leaf(self, need));
    } else {
        if (!call->out[0]) return td_fail(TD_ERR_ARG, 0, "model", "the tensor to write to is missing");
        if (call->records && (need || td_call_needs(call->out[0])))
            return td_fail(TD_ERR_STATE, 0, "model",
                           "an out form takes no part in gradients; use it under no_grad");
    }
    if (layout) TD_TRY(check_fit(call, layout, call->out[0]));
    if (td_tensor_overlaps_itself(call->out[0]))
        return td_fail(TD_ERR_STATE, 0, "model",
                       "several elements of the tensor written to are one in memory; clone it first");
    for (int i = 0; i < input_count; i++)
        if (inputs[i] && overlap_in_part(call->out[0], inputs[i]))
            return td_fail(TD_ERR_STATE, 0, "model",
                           "an argument and the tensor written to overlap in part; clone the argument first");
    return TD_OK;
}

td_status td_call_written(td_call *call) {
    td_node *node = call->node;
    if (!node) return TD_OK;
    td_status status = td_autograd_rebase(call->out[0], node);
    if (status >= 0) {
        td_node_unref(node);
        call->node = NULL;
    }
    return status;
}

/* --- births --------------------------------------------------------------------------------------------- */

td_tensor *td_call_birth(td_call *call, const td_layout *layout) {
    const td_tensor *home = call->autograd->birth;
    if (home->ndim != layout->ndim || (td_dtype)home->dtype != layout->dtype) return NULL;
    for (int d = 0; d < layout->ndim; d++)
        if (home->sizes[d] != layout->sizes[d] || home->strides[d] != layout->strides[d]) return NULL;
    td_layout there = *layout;
    there.offset = home->offset;
    td_tensor *x = td_tensor_new_over(call->pool, &there, home->storage);
    if (x) call->autograd->birth = NULL;
    return x;
}

/* --- views and composites ---------------------------------------------------------------------------- */

td_status td_call_view(td_call *call, td_tensor *self, const td_layout *layout, bool differentiable) {
    td_tensor *view = td_tensor_new_over(call->pool, layout, self->storage);
    if (!view) return TD_ERR_MEMORY;
    call->out[0] = view;
    call->out_count = 1;
    view->grad_fn_version = self->storage->version;
    if (differentiable) {
        view->base = td_tensor_retain(self->base ? self->base : self);
        view->made_without_grad = !call->records || self->made_without_grad;
    }
    return TD_OK;
}

/* A part that failed has named itself; what the composite found wrong by itself is still without a name. */
static td_status name_composite(const td_call *call, td_status status) {
    td_error record = *td_error_last();
    size_t word = strspn(record.text, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (word && record.text[word] == ':') return status;
    return td_fail(status, record.foreign, "model", "%s: %s", td_op_describe(call->op)->name, record.text);
}

td_status td_call_composite(td_call *call, td_scope *scope, td_tensor *result) {
    call->out[0] = td_scope_return(scope, result);
    td_status status = td_scope_close(scope);
    if (status < 0) return name_composite(call, status);
    return result ? TD_OK : td_call_failed(call, td_fail(TD_ERR_INTERNAL, 0, "model", "no result"));
}

/* --- for backward functions -------------------------------------------------------------------------- */

td_status td_gradient_status(void) {
    td_scopes *scopes = td_context_of_thread->slots[TD_SLOT_SCOPES];
    return scopes->current ? scopes->current->status : TD_ERR_STATE;
}

td_tensor *gradient_scaled(td_tensor *x, td_scalar scale) {
    return td_scalar_to_real(scale) == 1 ? x : td_mul_scalar(x, scale);
}

void gradient_begins(const td_node *node, uint32_t i) {
    td_autograd *autograd = td_autograd_of(td_context_of_thread);
    autograd->birth = autograd->births ? td_leaf_birthplace(node->edges[i].node) : NULL;
}

td_tensor *gradient_zero(const td_node *node, uint32_t i) {
    td_edge edge = node->edges[i];
    const td_result_slot *slot = td_node_results(edge.node) + edge.index;
    return td_zeros(td_ints_from(slot->sizes, slot->ndim), .dtype = (td_dtype)slot->dtype);
}

td_status td_longs_of(const td_tensors *tensors, int64_t dim, td_longs *lengths) {
    int64_t *at = td_alloc(tensors->count * sizeof *at);
    if (!at) return TD_ERR_MEMORY;
    for (size_t i = 0; i < tensors->count; i++) {
        const td_tensor *x = tensors->at[i];
        /* An empty tensor of one dimension may stand among others of more. */
        at[i] = x->ndim == 1 && x->count == 0 ? 0 : td_tensor_size(x, (int)dim);
    }
    *lengths = (td_longs){(int64_t)tensors->count, at};
    return TD_OK;
}
