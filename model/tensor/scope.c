/*
 * A scope is a list of tensors, threaded through their headers, so that handing up, keeping and dropping cost
 * a few pointers. The first scope of a context fills the context's slots.
 */
#include "model/tensor/scope.h"

#include "base/memory.h"
#include "model/autograd/pass_hook.h"
#include "model/ops/kernel.h"
#include "model/tensor/internal.h"

void td_scope_own(td_scope *scope, td_tensor *x) {
    x->scope = scope;
    x->previous = NULL;
    x->next = scope->first;
    if (scope->first) scope->first->previous = x;
    scope->first = x;
}

void td_scope_disown(td_tensor *x) {
    if (x->next) x->next->previous = x->previous;
    if (x->previous)
        x->previous->next = x->next;
    else
        x->scope->first = x->next;
    x->scope = NULL;
}

static void drop_all(td_scope *scope) {
    while (scope->first) {
        td_tensor *x = scope->first;
        td_scope_disown(x);
        td_tensor_unref(x);
    }
}

static td_scope *innermost(void) {
    td_context *context = td_context_of_thread;
    td_scopes *scopes = context ? context->slots[TD_SLOT_SCOPES] : NULL;
    return scopes ? scopes->current : NULL;
}

/* --- the context's slots ----------------------------------------------------------------------------- */

static void close_pool(void *pool) { td_pool_close(pool); }

static void close_scopes(void *slot) {
    td_scopes *scopes = slot;
    while (scopes->current) {
        td_scope *scope = scopes->current;
        drop_all(scope);
        scopes->current = scope->parent;
        td_free(scope);
    }
    while (scopes->spare) {
        td_scope *scope = scopes->spare;
        scopes->spare = scope->parent;
        td_free(scope);
    }
    td_free(scopes);
}

static td_status fill_slots(td_context *context) {
    if (!context->slots[TD_SLOT_ALLOCATOR]) {
        td_pool *pool = NULL;
        TD_TRY(td_pool_open(context, &pool));
        context->slots[TD_SLOT_ALLOCATOR] = pool;
        context->destroy[TD_SLOT_ALLOCATOR] = close_pool;
    }
    if (!context->slots[TD_SLOT_AUTOGRAD]) {
        if (!(context->slots[TD_SLOT_AUTOGRAD] = td_calloc(1, sizeof(td_autograd)))) return TD_ERR_MEMORY;
        context->destroy[TD_SLOT_AUTOGRAD] = td_autograd_free;
    }
    if (!context->slots[TD_SLOT_KERNELS]) TD_TRY(cpu_kernels_open(context));
    td_scopes *scopes = td_calloc(1, sizeof *scopes);
    if (!scopes) return TD_ERR_MEMORY;
    scopes->pool = context->slots[TD_SLOT_ALLOCATOR];
    context->slots[TD_SLOT_SCOPES] = scopes;
    context->destroy[TD_SLOT_SCOPES] = close_scopes;
    return TD_OK;
}

td_status td_model_open(td_context *context) {
    return context->slots[TD_SLOT_SCOPES] ? TD_OK : fill_slots(context);
}

/* --- public ------------------------------------------------------------------------------------------ */

td_scope *td_scope_open(td_context *context) {
    if (!context || context != td_context_of_thread) {
        td_scope_fail(
            td_fail(TD_ERR_STATE, 0, "model", "scope_open: the context is not this thread's current one"));
        return NULL;
    }
    td_scopes *scopes = context->slots[TD_SLOT_SCOPES];
    if (!scopes) {
        if (td_model_open(context) < 0) return NULL;
        scopes = context->slots[TD_SLOT_SCOPES];
    }
    td_scope *scope = scopes->spare;
    if (scope)
        scopes->spare = scope->parent;
    else if (!(scope = td_alloc(sizeof *scope)))
        return td_scope_fail(TD_ERR_MEMORY), NULL;
    if (!scopes->current) td_error_clear();
    *scope = (td_scope){.parent = scopes->current, .context = context};
    /* Nothing can be done inside a scope that has failed. */
    if (scope->parent) scope->status = scope->parent->status;
    scopes->current = scope;
    return scope;
}

td_status td_scope_close(td_scope *scope) {
    if (!scope) {
        td_status last = td_error_last()->status;
        return last < 0 ? last : TD_ERR_STATE;
    }
    td_scopes *scopes = scope->context->slots[TD_SLOT_SCOPES];
    if (scopes->current != scope)
        return td_fail(TD_ERR_STATE, 0, "model",
                       "scope_close: another scope was opened after it and is still open");
    drop_all(scope);
    td_status status = scope->status;
    scopes->current = scope->parent;
    if (scope->parent && status < 0 && scope->parent->status >= 0) scope->parent->status = status;
    scope->parent = scopes->spare;
    scopes->spare = scope;
    return status;
}

td_status td_scope_status(const td_scope *scope) { return scope ? scope->status : td_error_last()->status; }

td_tensor *td_scope_return(td_scope *scope, td_tensor *x) {
    if (!x || !scope || x->scope != scope) return x;
    if (!scope->parent)
        return td_scope_fail(
            td_fail(TD_ERR_STATE, 0, "model", "scope_return: an outermost scope has no parent; use td_keep"));
    td_scope_disown(x);
    td_scope_own(scope->parent, x);
    return x;
}

td_tensor *td_keep(td_tensor *x) {
    if (!x) return NULL;
    if (x->scope)
        td_scope_disown(x);
    else
        td_tensor_retain(x);
    return x;
}

void td_release(td_tensor **x) {
    td_tensor *dropped = *x;
    *x = NULL;
    if (!dropped) return;
    if (dropped->scope) td_scope_disown(dropped);
    td_tensor_unref(dropped);
}

void td_move(td_tensor **x, td_tensor *y) {
    td_tensor *old = *x;
    *x = y;
    if (!old || old == y || !old->scope || old->scope != innermost()) return;
    td_scope_disown(old);
    td_tensor_unref(old);
}

td_tensor *td_scope_fail(td_status status) {
    td_scope *scope = innermost();
    if (scope && scope->status >= 0) scope->status = status < 0 ? status : TD_ERR_INTERNAL;
    return NULL;
}

td_scope *td_scope_ready(void) {
    td_scope *scope = innermost();
    if (!scope) {
        td_fail(TD_ERR_STATE, 0, "model", "no scope is open: values need an owner (td_scope_open)");
        return NULL;
    }
    return scope->status < 0 ? NULL : scope;
}
