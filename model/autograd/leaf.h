/*
 * The end of the tape: a leaf's gradient, and where it lives. A gradient slot is empty, local (this rank's
 * own sum) or reduced (the mean over the group's ranks); DDP gives it a home, a view of a bucket, and then
 * every contribution lands there: the first one stores, later ones add. Internal to model/.
 */
#ifndef TANDEM_MODEL_AUTOGRAD_LEAF_H
#define TANDEM_MODEL_AUTOGRAD_LEAF_H

#include "model/autograd/node.h"

typedef enum td_grad_state { TD_GRAD_EMPTY, TD_GRAD_LOCAL, TD_GRAD_REDUCED } td_grad_state;

typedef struct td_leaf_hook {
    td_grad_hook *call;
    void *cookie;
} td_leaf_hook;

/* Ends the edges of operations on its tensor, and outlives it while they do. */
struct td_leaf {
    td_node node; /* first: edges lead to it */
    td_result_slot result;
    td_tensor *tensor; /* NULL once it is gone */
    td_tensor *grad;   /* read only while the state is not empty */
    td_tensor *home;   /* where DDP wants the gradient; then grad == home or NULL */
    td_grad_state state;
    uint32_t hook_count, hook_room;
    td_leaf_hook *hooks;
};

/* The leaf record of x, made at first use. NULL after recording the failure, and for what is no leaf. */
td_leaf *td_leaf_of(td_tensor *x);

/* Let x's gradient live in `home` (kept), of x's sizes and dtype; a gradient there is moves in. NULL takes
 * the home away and leaves the gradient where it is, as a tensor of its own. */
td_status td_leaf_set_home(td_tensor *x, td_tensor *home);

td_grad_state td_leaf_state(const td_tensor *x);
/* A home's owner may say that the slot is filled (by a reduction) or empty. */
void td_leaf_set_state(td_tensor *x, td_grad_state state);

/* The home of the gradient for `node`, if that is a leaf whose only contribution in this pass is about to be
 * computed and nothing is there yet: an operation may then write its result there, which saves the copy. */
td_tensor *td_leaf_birthplace(const td_node *node);

/* The pass's whole contribution to the leaf, in the current scope; then its hooks. */
td_status td_leaf_accumulate(td_leaf *leaf, td_tensor *grad, bool create_graph);

/* The tensor is going. */
void td_leaf_close(td_leaf *leaf);

extern const td_node_type td_leaf_type;

#endif
