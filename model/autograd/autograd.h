/*
 * Gradients by a tape. While grad mode is on (it is at first), an operation on a tensor that requires grad
 * records a node; td_backward walks the nodes from a result to the leaves and adds into their gradients, as
 * PyTorch's autograd does. Central objects: leaves, which are tensors made without an operation and marked by
 * td_tensor_set_requires_grad. The tape belongs to its tensors and is freed as backward goes. Only the thread
 * that has the context may call; td_backward needs an open scope.
 */
#ifndef TANDEM_MODEL_AUTOGRAD_AUTOGRAD_H
#define TANDEM_MODEL_AUTOGRAD_AUTOGRAD_H

#include "base/status.h"

TD_BEGIN_DECLS

/* --- grad mode -------------------------------------------------------------------------------------- */

/* Between begin and end nothing is recorded. Pairs nest. Without a context they do nothing. */
TD_API void td_no_grad_begin(void);
TD_API void td_no_grad_end(void);
TD_API bool td_grad_enabled(void);

/* --- leaves ----------------------------------------------------------------------------------------- */

/* Marks or unmarks a leaf, as requires_grad_(). Marking takes a floating dtype (TD_ERR_ARG); unmarking a
 * result is TD_ERR_STATE: detach it. */
TD_API td_status td_tensor_set_requires_grad(td_tensor *x, bool requires_grad);
/* True for a marked leaf and for what was computed from one. */
TD_API bool td_tensor_requires_grad(const td_tensor *x);
TD_API bool td_tensor_is_leaf(const td_tensor *x); /* no operation on the tape made it */
/* The operation that made it: "add"; NULL for a leaf. Static. */
TD_API const char *td_tensor_grad_fn(const td_tensor *x);

/* The gradient accumulated in a leaf, *lent* until td_tensor_zero_grad or the leaf's end; NULL while there is
 * none, and always for what is no leaf. */
TD_API td_tensor *td_tensor_grad(const td_tensor *x);
/* Put a copy of `grad` in (NULL: as zero_grad). Sizes and dtype must be the leaf's: TD_ERR_ARG. */
TD_API td_status td_tensor_set_grad(td_tensor *x, const td_tensor *grad);
/* Make it empty, as optimizer.zero_grad() does: it reads as NULL and the next contribution is stored. */
TD_API void td_tensor_zero_grad(td_tensor *x);

/* Called after a backward pass has added its last contribution to a leaf's gradient, before backward
 * returns; a failure ends that backward. `leaf` is *lent* for the call. */
typedef td_status td_grad_hook(td_tensor *leaf, void *cookie);
/* Hooks run in the order added. *Kept* until removed or the leaf's end. TD_ERR_STATE for what is no leaf. */
TD_API td_status td_tensor_add_grad_hook(td_tensor *leaf, td_grad_hook *hook, void *cookie);
TD_API void td_tensor_remove_grad_hook(td_tensor *leaf, td_grad_hook *hook, void *cookie);

/* --- backward --------------------------------------------------------------------------------------- */

/* td_backward(loss), td_backward(y, .grad = g, .retain_graph = true). */
typedef struct td_backward_args {
    td_tensor *output; /* what to differentiate */
    td_tensor *grad;   /* of output's sizes; NULL is 1, and then output must have one element */
    bool retain_graph; /* keep the tape for another pass; true when create_graph is */
    bool create_graph; /* record the gradients' own computation, for second derivatives */
} td_backward_args;

/* Add the gradients of `output` into the leaves it was computed from. A failure marks the scope too. As with
 * operations, NULL in a failed scope returns that scope's status. TD_ERR_STATE: nothing was recorded, the
 * tape has been used up, or a saved value was overwritten in place. */
TD_API td_status td_backward_call(td_backward_args args);

/* td_grad(y, x, &g): the gradient of one output for `count` inputs, leaves or not, without touching any
 * leaf's gradient. */
typedef struct td_grad_args {
    td_tensor *output;
    td_tensor *const *inputs;
    size_t count;
    td_tensor **grads; /* `count` results in the current scope; NULL where output does not depend on it */
    td_tensor *grad;
    bool retain_graph;
    bool create_graph;
} td_grad_args;

TD_API td_status td_grad_call(td_grad_args args);

#define td_backward(...) td_backward_call((td_backward_args){.output = __VA_ARGS__})
#define td_grad(...)     td_grad_call((td_grad_args){.output = __VA_ARGS__})

TD_END_DECLS

#endif
