/*
 * Scopes own the values that operations make, so that formulas can be nested without freeing by hand. Central
 * object: td_scope. Its life: td_scope_open, operations, td_scope_close, which drops every value that was
 * neither handed up (td_scope_return) nor kept (td_keep). Scopes nest; a module's forward opens its own.
 * Only the thread that has the context may call, and scopes close in the reverse order of opening.
 *
 * Failure marks the scope: the first operation that fails writes the error record and returns NULL, every
 * further one in that scope returns NULL at once, and td_scope_close returns the status and marks the parent
 * in turn. So formulas need one check, at the close. Opening an outermost scope clears the error record.
 *
 *     td_scope *s = td_scope_open(context);
 *     td_tensor *loss = td_cross_entropy(td_linear(td_relu(td_linear(x, w1, b1)), w2, b2), y);
 *     td_backward(loss);
 *     td_status status = td_scope_close(s);
 */
#ifndef TANDEM_MODEL_TENSOR_SCOPE_H
#define TANDEM_MODEL_TENSOR_SCOPE_H

#include "base/status.h"

TD_BEGIN_DECLS

/* Open a scope inside the current one. `context` must be the thread's current context. On failure (no
 * context, no memory) NULL, and operations in it fail; td_scope_close of that NULL returns the status. */
TD_API td_scope *td_scope_open(td_context *context);

/* Close the innermost scope, which must be `scope`: drop its values, return its status. */
TD_API td_status td_scope_close(td_scope *scope);

/* TD_OK, or what marked the scope: for loops that want to stop early. */
TD_API td_status td_scope_status(const td_scope *scope);

/* Hand x up: `scope`'s parent owns it from now on. Returns x, NULL for NULL. A value that `scope` does not
 * own (an argument passed through, a parameter) stays with its owner. */
TD_API td_tensor *td_scope_return(td_scope *scope, td_tensor *x);

/* Take x out of its scope: *yours*, until td_release. Keeping a kept tensor adds a reference. */
TD_API td_tensor *td_keep(td_tensor *x);

/* Drop x and set it to NULL: a kept reference, or a scope's value before the scope's close. NULL is fine. */
TD_API void td_release(td_tensor **x);

/* *x = y, and the old *x is dropped at once if it belongs to the current scope: what only the tape needs then
 * belongs to the tape. An old value of an outer scope or a kept one is left alone. */
TD_API void td_move(td_tensor **x, td_tensor *y);

/* Mark the current scope with a status that td_fail has just returned, for functions built from operations
 * that find something wrong themselves: `return td_scope_fail(td_fail(TD_ERR_ARG, 0, ...));` Always NULL. */
TD_API td_tensor *td_scope_fail(td_status status);

TD_END_DECLS

#endif
