/* Nodes: making and freeing them, their edges, and what they save. */
#include "model/autograd/node.h"

#include "base/memory.h"
#include "model/autograd/leaf.h"

#include <string.h>

/* --- life ------------------------------------------------------------------------------------------ */

td_node *td_node_new(td_pool *pool, td_autograd *autograd, const td_node_type *type, uint32_t edge_count) {
    td_node *node = td_pool_take(pool, type->bytes);
    if (!node) return NULL;
    atomic_init(&node->refs, 1);
    node->pass = node->pending = 0;
    node->used_up = false;
    node->type = type;
    node->edge_count = edge_count;
    node->sequence = ++autograd->sequence;
    for (int i = 0; i < type->results; i++) td_node_results(node)[i].grad = NULL;
    for (int i = 0; i < type->saved; i++) td_node_saved(node)[i].tensor = NULL;
    size_t known = type->known_bytes;
    if (known) memset((char *)node + known, 0, type->bytes - known);
    if (type->edges || !edge_count) {
        node->edges = (td_edge *)((char *)node + type->edges_at);
        for (int i = 0; i < type->edges; i++) node->edges[i].node = NULL;
    } else if (!(node->edges = td_calloc(edge_count, sizeof *node->edges))) {
        td_pool_give(node);
        return NULL;
    }
    return node;
}

void td_node_retain(td_node *node) { atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed); }

void td_node_use_up(td_node *node) {
    td_saved *saved = td_node_saved(node);
    for (int i = 0; i < node->type->saved; i++) {
        if (saved[i].tensor) td_tensor_unref(saved[i].tensor);
        saved[i].tensor = NULL;
    }
    if (node->type->use_up) node->type->use_up(node);
    node->used_up = true;
}

/* Edges whose nodes have no other holder are put on the list instead of being freed here: a tape may be a
 * million nodes long and the stack is not. */
static td_node *drop_node(td_node *node, td_node *list) {
    td_node_use_up(node);
    td_result_slot *results = td_node_results(node);
    for (int i = 0; i < node->type->results; i++)
        if (results[i].grad) td_tensor_unref(results[i].grad);
    for (uint32_t i = 0; i < node->edge_count; i++) {
        td_node *next = node->edges[i].node;
        if (!next || !td_drop_reference(&next->refs)) continue;
        next->next = list;
        list = next;
    }
    if (!node->type->edges && node->edge_count) td_free(node->edges);
    if (node->type->drop) node->type->drop(node);
    td_pool_give(node);
    return list;
}

void td_node_unref(td_node *node) {
    if (!node || !td_drop_reference(&node->refs)) return;
    node->next = NULL;
    while (node) node = drop_node(node, node->next);
}

/* --- edges ----------------------------------------------------------------------------------------- */

td_status td_node_link(td_node *node, uint32_t i, td_tensor *x) {
    td_node *maker = NULL;
    if (x->base) TD_TRY(td_autograd_refresh(x));
    if (x->grad_fn) {
        maker = x->grad_fn;
    } else if (x->requires_grad) {
        td_leaf *leaf = td_leaf_of(x);
        if (!leaf) return TD_ERR_MEMORY;
        maker = &leaf->node;
    }
    if (!maker) return TD_OK;
    td_node_retain(maker);
    node->edges[i] = (td_edge){maker, x->result_index};
    return TD_OK;
}

void td_node_give(td_node *node, uint32_t index, td_tensor *x) {
    td_result_slot *slot = td_node_results(node) + index;
    slot->ndim = x->ndim;
    slot->dtype = x->dtype;
    td_copy_sizes(slot->sizes, x->sizes);
    if (x->grad_fn) td_node_unref(x->grad_fn);
    x->grad_fn = node;
    x->result_index = (uint8_t)index;
    x->grad_fn_version = x->storage->version;
}

void td_node_own(td_node *node, uint32_t index, td_tensor *x) {
    td_node_retain(node);
    td_node_give(node, index, x);
}

/* --- saved tensors --------------------------------------------------------------------------------- */

/* Another header over x's elements, which is no view of it to autograd and comes from nowhere. */
static td_tensor *alias_of(const td_tensor *x) {
    td_layout layout;
    td_layout_of(x, &layout);
    td_pool *pool = td_context_of_thread->slots[TD_SLOT_ALLOCATOR];
    return td_tensor_new_over(pool, &layout, x->storage);
}

td_status td_saved_put(td_saved *saved, td_tensor *x, bool is_result, uint32_t index) {
    if (!x) return TD_OK;
    saved->version = x->storage->version;
    saved->is_result = is_result;
    saved->index = (uint8_t)index;
    if (!is_result && !x->base) {
        saved->tensor = td_tensor_retain(x);
        return TD_OK;
    }
    /* A view is saved without its base, whose grad_fn may come to be the very node that saves. */
    if (!is_result) TD_TRY(td_autograd_refresh(x));
    if (!(saved->tensor = alias_of(x))) return TD_ERR_MEMORY;
    if (!is_result && x->grad_fn) {
        td_node_retain(x->grad_fn);
        saved->tensor->grad_fn = x->grad_fn;
        saved->tensor->result_index = x->result_index;
    }
    return TD_OK;
}

static td_status was_modified(const td_node *node, const td_saved *saved, const char *name) {
    char text[128];
    return td_fail(TD_ERR_STATE, 0, "model",
                   "backward of %s: its %s, %s, has been modified by an in-place operation: saved at version "
                   "%u, now at %u",
                   node->type->name, name, td_tensor_describe(saved->tensor, text, sizeof text),
                   saved->version, saved->tensor->storage->version);
}

td_status td_saved_get(td_node *node, int i, const char *name, td_tensor **x) {
    if (node->used_up)
        return td_fail(TD_ERR_STATE, 0, "model",
                       "backward of %s a second time: what it saved has been freed; give the first backward "
                       ".retain_graph = true",
                       node->type->name);
    td_saved *saved = td_node_saved(node) + i;
    if (!saved->tensor) return TD_OK;
    if (saved->tensor->storage->version != saved->version) return was_modified(node, saved, name);
    td_context *context = td_context_of_thread;
    if (!saved->is_result || td_autograd_of(context)->no_grad) {
        *x = saved->tensor;
        return TD_OK;
    }
    /* Second derivatives go through the result, so it must come from this node again. */
    td_tensor *result = alias_of(saved->tensor);
    if (!result) return TD_ERR_MEMORY;
    td_node_retain(node);
    result->grad_fn = node;
    result->result_index = saved->index;
    td_scopes *scopes = context->slots[TD_SLOT_SCOPES];
    td_scope_own(scopes->current, result);
    *x = result;
    return TD_OK;
}
