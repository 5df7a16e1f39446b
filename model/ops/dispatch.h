/*
 * What every operation does, in the order in which the generated functions do it: look at the scope, check
 * arguments, work out the results' layout, allocate, run the kernel, record, hand over. The common path is
 * inline and allocates nothing but its results; whatever fails ends in td_call_failed, which names the
 * operation and marks the scope. Internal to model/ops.
 */
#ifndef TANDEM_MODEL_OPS_DISPATCH_H
#define TANDEM_MODEL_OPS_DISPATCH_H

#include "model/autograd/node.h"
#include "model/ops/kernel.h"
#include "model/ops/parts.h"

typedef enum td_form {
    TD_FORM_NEW,      /* results are new tensors */
    TD_FORM_IN_PLACE, /* out[0] is the first argument */
    TD_FORM_OUT       /* out[0] is the caller's */
} td_form;

/* One call's state, on the stack. */
typedef struct td_call {
    td_context *context;
    td_scope *scope;
    td_pool *pool;
    td_autograd *autograd;
    td_node *node;   /* being recorded, or NULL */
    td_tensor **out; /* where results go; filled by td_call_allocate or before */
    int out_count;   /* results so far */
    td_op op;
    td_form form;
    bool records; /* grad mode is on */
    td_status status;
} td_call;

/* A row's whole work on its argument struct; what td_op_call and the typed functions share. */
typedef td_status td_op_run(const void *args, td_form form, td_tensor **out);
extern td_op_run *const td_op_runs[TD_OP_COUNT];

/* Undo, name the operation in the error record, mark the scope; returns `status`. */
td_status td_call_failed(td_call *call, td_status status) __attribute__((cold));
/* No scope is open, or the current one has failed. */
td_status td_call_refused(td_call *call) __attribute__((cold));
td_status td_call_missing(td_call *call, const char *arg) __attribute__((cold));
td_status td_call_without_kernel(td_call *call) __attribute__((cold));

static inline bool td_call_begin(td_call *call, td_op op, td_form form, td_tensor **out) {
    call->op = op;
    call->form = form;
    call->out = out;
    call->out_count = 0;
    call->node = NULL;
    td_context *context = td_context_of_thread;
    td_scopes *scopes = context ? context->slots[TD_SLOT_SCOPES] : NULL;
    td_scope *scope = scopes ? scopes->current : NULL;
    if (__builtin_expect(!scope || scope->status < 0, 0)) {
        call->status = td_call_refused(call);
        return false;
    }
    call->context = context;
    call->scope = scope;
    call->pool = scopes->pool;
    call->autograd = td_autograd_of(context);
    call->records = call->autograd->no_grad == 0;
    return true;
}

/* TD_ERR_ARG for an absent or an over-long list. */
static inline bool td_ints_given(const td_ints *ints) {
    return ints->count >= 0 && ints->count <= TD_MAX_DIMS;
}
static inline bool td_ints_valid(const td_ints *ints) { return ints->count <= TD_MAX_DIMS; }
bool td_tensors_given(const td_tensors *tensors);

__attribute__((always_inline)) static inline bool td_call_needs(const td_tensor *x) {
    return x && (x->requires_grad || x->grad_fn || (x->base && td_tensor_needs_grad(x)));
}
bool td_call_needs_any(const td_tensors *tensors);

/* A result in the place where autograd wants the gradient that is being computed, if it is the first of that
 * layout; else NULL. Should it be a mere intermediate, the gradient is copied over it when it is done. */
td_tensor *td_call_birth(td_call *call, const td_layout *layout);

/* New results for the layouts, in call->out. */
static inline td_status td_call_allocate(td_call *call, const td_layout *layouts, int count) {
    if (__builtin_expect(call->autograd->birth != NULL, 0) && count == 1 &&
        (call->out[0] = td_call_birth(call, layouts))) {
        call->out_count = 1;
        return TD_OK;
    }
    for (int i = 0; i < count; i++) {
        if (!(call->out[i] = td_tensor_new(call->pool, &layouts[i]))) return TD_ERR_MEMORY;
        call->out_count = i + 1;
    }
    return TD_OK;
}

/* In-place and out forms: may the result of `layout` (NULL: as it is) be written to out[0], given the tensor
 * arguments and that some of them need gradients. Puts `self` in out[0] for the in-place form. */
td_status td_call_check_write(td_call *call, const td_layout *layout, td_tensor *self,
                              td_tensor *const *inputs, int input_count, bool need);

/* The result is a view of self. `differentiable` views remember their base. */
td_status td_call_view(td_call *call, td_tensor *self, const td_layout *layout, bool differentiable);

/* Begin the record: call->node, of `type`. */
static inline td_status td_call_node(td_call *call, const td_node_type *type, uint32_t edges) {
    call->node = td_node_new(call->pool, call->autograd, type, edges);
    return call->node ? TD_OK : TD_ERR_MEMORY;
}

/* An argument saved before it is overwritten in place is saved as a copy. */
td_status td_call_save(td_call *call, int saved, td_tensor *x, bool overwritten);
td_status td_call_link_all(td_call *call, uint32_t first, const td_tensors *tensors);

static inline td_status td_call_kernel(td_call *call, const void *args) {
    td_kernel *const *kernel = td_kernels_of(call->context)->chain[call->op];
    for (; *kernel; kernel++) {
        td_status status = (*kernel)(call->context, args, call->out);
        if (status == TD_PENDING) continue;
        if (call->form != TD_FORM_NEW) call->out[0]->storage->version++;
        return status;
    }
    return td_call_without_kernel(call);
}

/* What was written in place comes from call->node from now on. */
td_status td_call_written(td_call *call);

/* Hand new results to the scope; those of `differentiable` (a bit each) come from call->node. */
static inline td_status td_call_end(td_call *call, unsigned differentiable) {
    if (call->form == TD_FORM_NEW) {
        for (int i = 0; i < call->out_count; i++) {
            if (call->node && i && (differentiable >> i & 1))
                td_node_own(call->node, (uint32_t)i, call->out[i]);
            td_scope_own(call->scope, call->out[i]);
        }
        /* The first result is always differentiable, and takes over the call's own reference. */
        if (call->node) td_node_give(call->node, 0, call->out[0]);
        return TD_OK;
    }
    td_status status = td_call_written(call);
    return status < 0 ? td_call_failed(call, status) : TD_OK;
}

/* A composite's parts ran in `scope`, which hands their result up and is closed. */
td_status td_call_composite(td_call *call, td_scope *scope, td_tensor *result);

/* --- for backward functions (gradient.c) --------------------------------------------------------------- */

/* The current scope's status: a NULL gradient is wrong only when that is a failure. */
td_status td_gradient_status(void);
/* x * scale, or x itself for 1. */
td_tensor *gradient_scaled(td_tensor *x, td_scalar scale);
/* The gradient for the node's edge i comes next. */
void gradient_begins(const td_node *node, uint32_t i);
/* Zeros for the node's edge i. */
td_tensor *gradient_zero(const td_node *node, uint32_t i);

/* Lengths of tensors along a dim, as many as there are: given to the node that saves them, freed with it. */
typedef struct td_longs {
    int64_t count;
    int64_t *at;
} td_longs;
td_status td_longs_of(const td_tensors *tensors, int64_t dim, td_longs *lengths);

#endif
