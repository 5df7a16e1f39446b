/*
 * Writes through views, as PyTorch's CopySlices does them. A write to a view that is on the tape becomes the
 * base's newest history: a node whose backward takes the gradient of the whole base, puts the written part
 * through the operation's own backward, and passes on the rest as it is. The base's views notice by the
 * storage's version that they are older, and take their grad_fn anew from the base when it is asked for.
 */
#include "model/autograd/leaf.h"
#include "model/ops/dispatch.h"
#include "model/ops/value.h"

#include <string.h>

typedef struct slices_node {
    td_node node; /* edges: the base's history, then those of `write` but its first */
    td_result_slot results[1];
    td_node *write; /* the operation on the view, retained */
    td_layout base; /* as it lay in its storage */
    td_layout view;
} slices_node;

static td_ints sizes_of(const td_layout *layout) { return td_ints_from(layout->sizes, layout->ndim); }
static td_ints strides_of(const td_layout *layout) { return td_ints_from(layout->strides, layout->ndim); }

/* A copy of the base's gradient laid out as the base was, and the view's part of it. */
static td_status lay_out(const slices_node *slices, td_tensor *grad, td_tensor **whole, td_tensor **part) {
    const td_layout *base = &slices->base, *view = &slices->view;
    int64_t extent = 1;
    for (int d = 0; d < base->ndim; d++) extent += (base->sizes[d] - 1) * base->strides[d];
    td_tensor *buffer = td_zeros(TD_INTS(extent > 0 ? extent : 0), .dtype = (td_dtype)grad->dtype);
    td_copy_(td_as_strided(buffer, sizes_of(base), strides_of(base), 0), grad);
    *whole = td_as_strided(buffer, sizes_of(base), strides_of(base), 0);
    *part = td_as_strided(buffer, sizes_of(view), strides_of(view), view->offset - base->offset);
    return td_gradient_status();
}

static td_status slices_backward(td_node *node, td_tensor *const *grads, td_tensor **out) {
    slices_node *slices = (slices_node *)node;
    td_tensor *whole = NULL, *part = NULL, *results[TD_OP_MAX_ARGS] = {NULL};
    TD_TRY(lay_out(slices, grads[0], &whole, &part));
    td_tensor *part_grad = td_clone(part);
    if (!part_grad) return td_gradient_status();
    TD_TRY(slices->write->type->backward(slices->write, &part_grad, results));
    if (results[0])
        td_copy_(part, results[0]);
    else
        td_zero_(part);
    /* `whole` was made before that write, so it is asked for again where there is a tape. */
    out[0] = td_alias(whole);
    for (uint32_t i = 1; i < node->edge_count; i++) out[i] = results[i];
    return td_gradient_status();
}

static void slices_use_up(td_node *node) {
    slices_node *slices = (slices_node *)node;
    if (slices->write) td_node_use_up(slices->write);
}

static void slices_drop(td_node *node) { td_node_unref(((slices_node *)node)->write); }

static const td_node_type slices_type = {
    .name = "copy_slices",
    .backward = slices_backward,
    .use_up = slices_use_up,
    .drop = slices_drop,
    .bytes = sizeof(slices_node),
    .known_bytes = offsetof(slices_node, write),
    .results = 1,
    .results_at = offsetof(slices_node, results),
};

static td_status rebase_base(td_tensor *base, const td_tensor *view, td_node *write) {
    td_context *context = td_context_of_thread;
    td_node *node = td_node_new(context->slots[TD_SLOT_ALLOCATOR], td_autograd_of(context), &slices_type,
                                write->edge_count);
    if (!node) return TD_ERR_MEMORY;
    slices_node *slices = (slices_node *)node;
    td_status status = td_node_link(node, 0, base);
    if (status < 0) {
        td_node_unref(node);
        return status;
    }
    for (uint32_t i = 1; i < write->edge_count; i++) {
        node->edges[i] = write->edges[i];
        if (node->edges[i].node) td_node_retain(node->edges[i].node);
    }
    td_node_retain(write);
    slices->write = write;
    td_layout_of(base, &slices->base);
    td_layout_of(view, &slices->view);
    td_node_own(node, 0, base);
    td_node_unref(node);
    return TD_OK;
}

td_status td_autograd_rebase(td_tensor *x, td_node *node) {
    td_node_own(node, 0, x); /* also notes the sizes that the node's gradient will have */
    if (!x->base) return TD_OK;
    TD_TRY(rebase_base(x->base, x, node));
    x->grad_fn_version = x->storage->version - 1; /* let it be taken anew from the base */
    return td_autograd_refresh(x);
}

td_status td_autograd_refresh(td_tensor *x) {
    td_tensor *base = x->base;
    if (!base || x->made_without_grad || x->grad_fn_version == x->storage->version) return TD_OK;
    if (!base->grad_fn && !base->requires_grad) {
        x->grad_fn_version = x->storage->version;
        return TD_OK;
    }
    td_tensor *fresh = td_as_strided(base, td_tensor_sizes(x), td_tensor_strides(x), x->offset);
    if (!fresh) return td_error_last()->status;
    if (fresh->grad_fn) td_node_own(fresh->grad_fn, 0, x);
    x->grad_fn_version = x->storage->version;
    td_release(&fresh);
    return TD_OK;
}
