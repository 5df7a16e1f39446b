/* Leaves: where backward ends. Contributions are stored, then added; hooks follow the last one of a pass. */
#include "model/autograd/leaf.h"

#include "base/memory.h"
#include "model/ops/ops.h"

#include <string.h>

/* --- life ------------------------------------------------------------------------------------------ */

static void drop_leaf(td_node *node) {
    td_leaf *leaf = (td_leaf *)node;
    td_free(leaf->hooks);
}

/* Backward of a leaf is td_leaf_accumulate; the engine knows. */
const td_node_type td_leaf_type = {
    .name = "leaf",
    .drop = drop_leaf,
    .bytes = sizeof(td_leaf),
    .known_bytes = offsetof(td_leaf, tensor),
    .results = 1,
    .results_at = offsetof(td_leaf, result),
};

td_leaf *td_leaf_of(td_tensor *x) {
    if (x->leaf) return x->leaf;
    if (x->grad_fn) {
        td_fail(TD_ERR_STATE, 0, "model", "a result of %s is no leaf", td_tensor_grad_fn(x));
        return NULL;
    }
    td_context *context = td_context_of_thread;
    if (!context || td_model_open(context) < 0) {
        td_fail(TD_ERR_STATE, 0, "model", "gradients need a current context");
        return NULL;
    }
    td_leaf *leaf =
        (td_leaf *)td_node_new(context->slots[TD_SLOT_ALLOCATOR], td_autograd_of(context), &td_leaf_type, 0);
    if (!leaf) return NULL;
    leaf->node.sequence = UINT64_MAX;
    leaf->result.ndim = x->ndim;
    leaf->result.dtype = x->dtype;
    td_copy_sizes(leaf->result.sizes, x->sizes);
    leaf->tensor = x;
    x->leaf = leaf;
    return leaf;
}

static void drop_tensor(td_tensor **x) {
    td_tensor *dropped = *x;
    *x = NULL;
    td_tensor_unref(dropped);
}

void td_leaf_close(td_leaf *leaf) {
    leaf->tensor = NULL;
    leaf->hook_count = 0;
    leaf->state = TD_GRAD_EMPTY;
    drop_tensor(&leaf->grad);
    drop_tensor(&leaf->home);
    td_node_unref(&leaf->node);
}

/* --- the gradient and its home ------------------------------------------------------------------------ */

td_tensor *td_tensor_grad(const td_tensor *x) {
    return x->leaf && x->leaf->state != TD_GRAD_EMPTY ? x->leaf->grad : NULL;
}

void td_tensor_zero_grad(td_tensor *x) {
    if (!x->leaf) return;
    x->leaf->state = TD_GRAD_EMPTY;
    drop_tensor(&x->leaf->grad);
}

td_grad_state td_leaf_state(const td_tensor *x) { return x->leaf ? x->leaf->state : TD_GRAD_EMPTY; }

void td_leaf_set_state(td_tensor *x, td_grad_state state) {
    td_leaf *leaf = x->leaf;
    if (state == TD_GRAD_EMPTY) {
        td_tensor_zero_grad(x);
        return;
    }
    if (!leaf->grad && leaf->home) leaf->grad = td_tensor_retain(leaf->home);
    leaf->state = leaf->grad ? state : TD_GRAD_EMPTY;
}

/* Copy `grad` to where the leaf's gradient lives: its home, or a tensor laid out as the leaf. No tape. */
static td_status store_copy(td_leaf *leaf, td_tensor *grad) {
    td_no_grad_begin();
    td_tensor *place = leaf->home ? td_copy_(leaf->home, grad) : td_copy_(td_empty_like(leaf->tensor), grad);
    td_no_grad_end();
    if (!place) return td_error_last()->status;
    drop_tensor(&leaf->grad);
    leaf->grad = leaf->home ? td_tensor_retain(leaf->home) : td_keep(place);
    return TD_OK;
}

static td_status check_like(const char *who, const td_tensor *x, const td_tensor *y) {
    char texts[2][128];
    if (x->dtype == y->dtype && td_layout_same_sizes(x, y)) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "%s: %s for a leaf of %s", who,
                   td_tensor_describe(y, texts[0], sizeof texts[0]),
                   td_tensor_describe(x, texts[1], sizeof texts[1]));
}

td_tensor *td_leaf_birthplace(const td_node *node) {
    if (!node || node->type != &td_leaf_type || node->pending != 1) return NULL;
    const td_leaf *leaf = (const td_leaf *)node;
    return leaf->tensor && leaf->state == TD_GRAD_EMPTY && !leaf->result.grad ? leaf->home : NULL;
}

/* Was `grad` born in its home. */
static bool is_at_home(const td_leaf *leaf, const td_tensor *grad) {
    const td_tensor *home = leaf->home;
    if (!home || grad->storage != home->storage || grad->offset != home->offset) return false;
    for (int d = 0; d < grad->ndim; d++)
        if (grad->sizes[d] != 1 && grad->strides[d] != home->strides[d]) return false;
    return true;
}

/* Run `store_copy` in a scope of its own, for callers outside any. */
static td_status store_copy_alone(td_leaf *leaf, td_tensor *grad) {
    td_scope *scope = td_scope_open(td_context_current());
    td_status status = scope ? store_copy(leaf, grad) : TD_OK;
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

td_status td_tensor_set_grad(td_tensor *x, const td_tensor *grad) {
    if (!grad) {
        td_tensor_zero_grad(x);
        return TD_OK;
    }
    TD_TRY(check_like("set_grad", x, grad));
    td_leaf *leaf = td_leaf_of(x);
    if (!leaf) return td_error_last()->status;
    TD_TRY(store_copy_alone(leaf, (td_tensor *)grad)); /* which only reads it */
    leaf->state = TD_GRAD_LOCAL;
    return TD_OK;
}

td_status td_leaf_set_home(td_tensor *x, td_tensor *home) {
    td_leaf *leaf = td_leaf_of(x);
    if (!leaf) return td_error_last()->status;
    if (home) TD_TRY(check_like("set_home", x, home));
    td_tensor *old_home = leaf->home;
    leaf->home = home ? td_tensor_retain(home) : NULL;
    td_status status = leaf->state == TD_GRAD_EMPTY ? TD_OK : store_copy_alone(leaf, leaf->grad);
    td_tensor *dropped = status < 0 ? leaf->home : old_home;
    if (status < 0) leaf->home = old_home;
    td_tensor_unref(dropped);
    return status;
}

/* --- accumulation ------------------------------------------------------------------------------------ */

/* A gradient nobody else holds, laid out as the leaf, need not be copied. */
static bool can_steal(const td_leaf *leaf, const td_tensor *grad) {
    if (leaf->home || grad->base || grad->grad_fn || !grad->scope) return false;
    if (atomic_load(&grad->refs) != 1 || atomic_load(&grad->storage->refs) != 1) return false;
    if (!td_tensor_is_dense(leaf->tensor)) return grad->contiguous;
    for (int d = 0; d < grad->ndim; d++)
        if (grad->sizes[d] != 1 && grad->strides[d] != leaf->tensor->strides[d]) return false;
    return true;
}

static td_status store_first(td_leaf *leaf, td_tensor *grad, bool create_graph) {
    if (create_graph && !leaf->home) {
        /* The gradient keeps its own tape. */
        drop_tensor(&leaf->grad);
        leaf->grad = td_keep(td_clone(grad));
        return leaf->grad ? TD_OK : td_error_last()->status;
    }
    if (is_at_home(leaf, grad)) {
        drop_tensor(&leaf->grad);
        leaf->grad = td_tensor_retain(leaf->home);
        return TD_OK;
    }
    if (!can_steal(leaf, grad)) return store_copy(leaf, grad);
    drop_tensor(&leaf->grad);
    leaf->grad = td_keep(grad);
    return TD_OK;
}

static td_status add_to(td_leaf *leaf, td_tensor *grad, bool create_graph) {
    if (create_graph && !leaf->home) {
        td_tensor *sum = td_keep(td_add(leaf->grad, grad));
        if (!sum) return td_error_last()->status;
        drop_tensor(&leaf->grad);
        leaf->grad = sum;
        return TD_OK;
    }
    td_no_grad_begin();
    td_tensor *sum = td_add_(leaf->grad, grad);
    td_no_grad_end();
    return sum ? TD_OK : td_error_last()->status;
}

td_status td_leaf_accumulate(td_leaf *leaf, td_tensor *grad, bool create_graph) {
    if (!leaf->tensor) return TD_OK;
    if (leaf->state == TD_GRAD_EMPTY)
        TD_TRY(store_first(leaf, grad, create_graph));
    else
        TD_TRY(add_to(leaf, grad, create_graph));
    leaf->state = TD_GRAD_LOCAL;
    for (uint32_t i = 0; i < leaf->hook_count; i++)
        TD_TRY(leaf->hooks[i].call(leaf->tensor, leaf->hooks[i].cookie));
    return TD_OK;
}

/* --- hooks ----------------------------------------------------------------------------------------- */

td_status td_tensor_add_grad_hook(td_tensor *x, td_grad_hook *hook, void *cookie) {
    td_leaf *leaf = td_leaf_of(x);
    if (!leaf) return td_error_last()->status;
    if (leaf->hook_count == leaf->hook_room) {
        uint32_t room = leaf->hook_room ? 2 * leaf->hook_room : 2;
        td_leaf_hook *hooks = td_realloc(leaf->hooks, room, sizeof *hooks);
        if (!hooks) return TD_ERR_MEMORY;
        leaf->hooks = hooks;
        leaf->hook_room = room;
    }
    leaf->hooks[leaf->hook_count++] = (td_leaf_hook){hook, cookie};
    return TD_OK;
}

void td_tensor_remove_grad_hook(td_tensor *x, td_grad_hook *hook, void *cookie) {
    td_leaf *leaf = x->leaf;
    if (!leaf) return;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < leaf->hook_count; i++)
        if (leaf->hooks[i].call != hook || leaf->hooks[i].cookie != cookie)
            leaf->hooks[kept++] = leaf->hooks[i];
    leaf->hook_count = kept;
}
