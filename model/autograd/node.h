/*
 * The tape from the inside: a node per recorded operation, edges to the nodes whose results it used. A node's
 * memory is one block of the context's pool: the node, a slot per result, an edge per tensor argument, what
 * backward needs of arguments and results, and the row's own numbers. Nodes are counted references: a tensor
 * holds the node that made it, an edge the one it leads to. Internal to model/.
 */
#ifndef TANDEM_MODEL_AUTOGRAD_NODE_H
#define TANDEM_MODEL_AUTOGRAD_NODE_H

#include "model/autograd/autograd.h"
#include "model/tensor/internal.h"

/* The gradient for the node's result number `index` goes along the edge that ends there. node NULL: the
 * argument needs none. */
typedef struct td_edge {
    td_node *node;
    uint32_t index;
} td_edge;

/* What a node knows of a result it made, and the gradient that has arrived for it so far. */
typedef struct td_result_slot {
    td_tensor *grad;
    uint8_t ndim, dtype;
    int64_t sizes[TD_MAX_DIMS];
} td_result_slot;

/* A tensor kept for backward, with its storage's version when it was. A result is kept as an alias without
 * grad_fn, since that would be this very node. */
typedef struct td_saved {
    td_tensor *tensor;
    uint32_t version;
    bool is_result;
    uint8_t index;
} td_saved;

/* From the gradients of the results (NULL where there is none) those of the arguments, one an edge: tensors
 * of the current scope, lent ones included, or NULL. An edge without node wants none. */
typedef td_status td_node_backward(td_node *node, td_tensor *const *grads, td_tensor **out);

typedef struct td_node_type {
    const char *name; /* the row's */
    td_node_backward *backward;
    /* What the generic functions do not know of: used-up values, and the node's end. NULL: nothing. */
    void (*use_up)(td_node *node);
    void (*drop)(td_node *node);
    uint32_t bytes;
    uint32_t known_bytes;                    /* from here on a new node is zeroed; 0: its maker fills it */
    uint16_t results, edges, saved;          /* counts; edges 0: as many as td_node_new is told */
    uint32_t results_at, edges_at, saved_at; /* offsets in the block */
} td_node_type;

struct td_node {
    td_block block;
    atomic_uint refs;
    uint32_t pass;    /* the backward pass that last saw it */
    uint32_t pending; /* edges into it that the pass has still to serve */
    uint32_t edge_count;
    uint64_t sequence; /* its place on the tape: later is larger; leaves are the largest */
    const td_node_type *type;
    td_edge *edges;
    td_node *next; /* in a list of nodes to be freed */
    bool used_up;  /* backward has freed what was saved */
};

static inline td_result_slot *td_node_results(td_node *node) {
    return (td_result_slot *)((char *)node + node->type->results_at);
}
static inline td_saved *td_node_saved(td_node *node) {
    return (td_saved *)((char *)node + node->type->saved_at);
}

typedef struct td_pass_hook_entry td_pass_hook_entry;

/* In the context's slot TD_SLOT_AUTOGRAD. */
typedef struct td_autograd {
    uint32_t no_grad;  /* depth of td_no_grad_begin */
    uint32_t pass;     /* number of the last backward pass */
    uint64_t sequence; /* of the last node */
    bool running;      /* a pass is under way */
    bool births;       /* gradients of this pass may be computed where they will live */
    td_tensor *birth;  /* where the gradient now computed will live, lent; or NULL: see td_leaf_birthplace */
    uint32_t hook_count;
    td_pass_hook_entry *hooks; /* pass_hook.h: the engine runs them and frees them */
} td_autograd;

static inline td_autograd *td_autograd_of(td_context *context) { return context->slots[TD_SLOT_AUTOGRAD]; }

/* A node without edges or saved values, *yours*; NULL after recording the failure. */
td_node *td_node_new(td_pool *pool, td_autograd *autograd, const td_node_type *type, uint32_t edge_count);
void td_node_retain(td_node *node);
/* NULL is fine. Never recurses, however long the tape. */
void td_node_unref(td_node *node);

/* Free what is saved, after which its backward fails. */
void td_node_use_up(td_node *node);

/* Would an operation on x be recorded, given that grad mode is on. */
bool td_tensor_needs_grad(const td_tensor *x);

/* Lead edge i to what made x, or to the leaf x. */
td_status td_node_link(td_node *node, uint32_t i, td_tensor *x);
/* Make x the node's result `index`: x holds a new reference to the node, or the caller's own. */
void td_node_own(td_node *node, uint32_t index, td_tensor *x);
void td_node_give(td_node *node, uint32_t index, td_tensor *x);

/* Keep x (NULL is fine) for backward; `is_result` if it is the node's own result `index`. */
td_status td_saved_put(td_saved *saved, td_tensor *x, bool is_result, uint32_t index);
/* What was kept, in the current scope or lent: NULL if nothing was. `name` is for the message that it has
 * been modified. */
td_status td_saved_get(td_node *node, int i, const char *name, td_tensor **x);

/* After an in-place operation recorded as `node`: x, and the base it is a view of, come from it from now on.
 */
td_status td_autograd_rebase(td_tensor *x, td_node *node);
/* A view's grad_fn follows writes to its base; brings it up to date. */
td_status td_autograd_refresh(td_tensor *x);

#endif
