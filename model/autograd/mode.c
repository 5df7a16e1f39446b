/* Grad mode, and what a tensor says about its part in the tape. */
#include "model/autograd/leaf.h"

static td_autograd *current_autograd(void) {
    td_context *context = td_context_of_thread;
    if (!context || td_model_open(context) < 0) return NULL;
    return td_autograd_of(context);
}

void td_no_grad_begin(void) {
    td_autograd *autograd = current_autograd();
    if (autograd) autograd->no_grad++;
}

void td_no_grad_end(void) {
    td_autograd *autograd = current_autograd();
    if (autograd && autograd->no_grad) autograd->no_grad--;
}

bool td_grad_enabled(void) {
    td_autograd *autograd = current_autograd();
    return autograd && !autograd->no_grad;
}

/* A view takes part when its base has come to since: a write to the base or to another view of it. */
bool td_tensor_needs_grad(const td_tensor *x) {
    if (x->requires_grad || x->grad_fn) return true;
    return x->base && !x->made_without_grad && x->grad_fn_version != x->storage->version &&
           (x->base->requires_grad || x->base->grad_fn);
}

bool td_tensor_requires_grad(const td_tensor *x) { return td_tensor_needs_grad(x); }
bool td_tensor_is_leaf(const td_tensor *x) { return x->requires_grad || !td_tensor_needs_grad(x); }

const char *td_tensor_grad_fn(const td_tensor *x) {
    if (!x->grad_fn) return td_tensor_is_leaf(x) ? NULL : "as_strided";
    return x->grad_fn->type->name;
}

td_status td_tensor_set_requires_grad(td_tensor *x, bool requires_grad) {
    if (!td_tensor_is_leaf(x)) {
        if (requires_grad) return TD_OK;
        return td_fail(TD_ERR_STATE, 0, "model",
                       "set_requires_grad: a result of %s cannot stop requiring grad; detach it",
                       td_tensor_grad_fn(x));
    }
    if (requires_grad && !td_dtype_is_floating((td_dtype)x->dtype))
        return td_fail(TD_ERR_ARG, 0, "model",
                       "set_requires_grad: only floating tensors have gradients, not %s",
                       td_dtype_name((td_dtype)x->dtype));
    if (requires_grad && !td_leaf_of(x)) return TD_ERR_MEMORY;
    x->requires_grad = requires_grad;
    return TD_OK;
}
