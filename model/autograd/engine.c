/*
 * A backward pass. First the nodes that lead from the output to leaves are found and their incoming edges
 * counted; then nodes run, latest first, once all their gradients have arrived. Each runs in a scope of its
 * own, so that its temporaries go at once, and what it saved is freed behind it unless the tape is retained.
 * The order depends on the tape alone, so sums have the same bits every time.
 */
#include "base/memory.h"
#include "model/autograd/leaf.h"
#include "model/autograd/pass_hook.h"
#include "model/ops/value.h"

#include <string.h>

typedef struct node_list {
    td_node **at;
    size_t count, room;
} node_list;

/* An input whose gradient td_grad asked for. */
typedef struct capture {
    td_node *node;
    uint32_t index;
    td_tensor *grad; /* retained */
} capture;

typedef struct pass {
    td_context *context;
    td_autograd *autograd;
    uint32_t number;
    bool retain_graph, create_graph;
    node_list seen;    /* every node of the pass, retained by the tape */
    node_list ready;   /* a heap: the latest on top */
    capture *captures; /* of td_grad, which then leaves leaves alone; or NULL */
    size_t capture_count;
} pass;

static td_status push(node_list *list, td_node *node) {
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        td_node **wider = td_realloc(list->at, room, sizeof *wider);
        if (!wider) return TD_ERR_MEMORY;
        list->at = wider;
        list->room = room;
    }
    list->at[list->count++] = node;
    return TD_OK;
}

/* --- the heap of ready nodes ------------------------------------------------------------------------- */

static td_status push_ready(pass *p, td_node *node) {
    TD_TRY(push(&p->ready, node));
    td_node **at = p->ready.at;
    size_t i = p->ready.count - 1;
    for (; i && at[(i - 1) / 2]->sequence < node->sequence; i = (i - 1) / 2) at[i] = at[(i - 1) / 2];
    at[i] = node;
    return TD_OK;
}

static td_node *pop_ready(pass *p) {
    td_node **at = p->ready.at, *top = at[0], *last = at[--p->ready.count];
    size_t i = 0, count = p->ready.count;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= count) break;
        if (child + 1 < count && at[child + 1]->sequence > at[child]->sequence) child++;
        if (at[child]->sequence <= last->sequence) break;
        at[i] = at[child];
        i = child;
    }
    if (count) at[i] = last;
    return top;
}

/* --- finding what takes part ------------------------------------------------------------------------- */

static td_status see(pass *p, td_node *node) {
    if (node->pass == p->number) return TD_OK;
    node->pass = p->number;
    node->pending = 0;
    return push(&p->seen, node);
}

/* `seen` is also the list of nodes whose edges are still to be looked at. */
static td_status count_edges(pass *p, td_node *root) {
    TD_TRY(see(p, root));
    for (size_t i = 0; i < p->seen.count; i++) {
        td_node *node = p->seen.at[i];
        for (uint32_t e = 0; e < node->edge_count; e++) {
            td_node *next = node->edges[e].node;
            if (!next) continue;
            TD_TRY(see(p, next));
            next->pending++;
        }
    }
    return TD_OK;
}

/* --- gradients on their way -------------------------------------------------------------------------- */

static bool is_empty(const td_result_slot *slot) {
    for (int d = 0; d < slot->ndim; d++)
        if (slot->sizes[d] == 0) return true;
    return false;
}

/* What a broadcast has repeated is summed, and the dtype put right: rows' expressions leave this to us. */
static td_tensor *fit(const td_result_slot *slot, td_tensor *grad) {
    bool same = grad->ndim == slot->ndim;
    for (int d = 0; same && d < slot->ndim; d++) same = grad->sizes[d] == slot->sizes[d];
    if (!same) {
        td_ints sizes = td_ints_from(slot->sizes, slot->ndim);
        grad = is_empty(slot) ? td_zeros(sizes) : td_sum_to_size(grad, sizes);
    }
    if (grad && grad->dtype != slot->dtype) grad = td_to(grad, (td_dtype)slot->dtype);
    return grad;
}

/* Nobody else sees this tensor or its storage, so a sum may be formed in it. */
static bool is_ours(const td_tensor *x) {
    return atomic_load(&x->refs) == 1 && atomic_load(&x->storage->refs) == 1 && !x->grad_fn && !x->base;
}

/* Add `grad`, in the current scope or lent, to the slot. */
static td_status deliver(pass *p, td_node *node, uint32_t index, td_tensor *grad) {
    td_result_slot *slot = td_node_results(node) + index;
    p->autograd->birth = p->autograd->births ? td_leaf_birthplace(node) : NULL;
    grad = fit(slot, grad);
    p->autograd->birth = NULL;
    if (!grad) return td_error_last()->status;
    if (!slot->grad) {
        slot->grad = td_tensor_retain(grad);
        return TD_OK;
    }
    td_tensor *sum =
        is_ours(slot->grad) && !p->create_graph ? td_add_(slot->grad, grad) : td_add(slot->grad, grad);
    if (!sum) return td_error_last()->status;
    if (sum == slot->grad) return TD_OK;
    td_tensor_retain(sum);
    td_tensor_unref(slot->grad);
    slot->grad = sum;
    return TD_OK;
}

static td_status pass_on(pass *p, td_node *node, td_tensor *const *grads) {
    for (uint32_t e = 0; e < node->edge_count; e++) {
        td_node *next = node->edges[e].node;
        if (!next) continue;
        if (grads[e]) TD_TRY(deliver(p, next, node->edges[e].index, grads[e]));
        if (--next->pending == 0) TD_TRY(push_ready(p, next));
    }
    return TD_OK;
}

/* --- running a node ---------------------------------------------------------------------------------- */

#define FEW_EDGES 8

/* The node's gradients, owned by the current scope from now on, are taken out of its slots. */
static bool take_grads(td_scope *scope, td_node *node, td_tensor **grads) {
    td_result_slot *slots = td_node_results(node);
    bool any = false;
    for (int i = 0; i < node->type->results; i++) {
        td_tensor *grad = slots[i].grad;
        slots[i].grad = NULL;
        grads[i] = grad;
        if (!grad) continue;
        any = true;
        /* A gradient may be lent to several slots at once; only one scope can own the header. */
        if (!grad->scope && atomic_load(&grad->refs) == 1)
            td_scope_own(scope, grad);
        else
            grads[i] = td_alias(grad), td_tensor_unref(grad);
    }
    return any;
}

static td_status run_backward(pass *p, td_scope *scope, td_node *node) {
    td_tensor *grads[TD_OP_MAX_RESULTS] = {NULL}, *few[FEW_EDGES] = {NULL}, **out = few;
    if (node->edge_count > FEW_EDGES && !(out = td_calloc(node->edge_count, sizeof *out)))
        return TD_ERR_MEMORY;
    bool any = take_grads(scope, node, grads);
    td_status status = td_scope_status(scope);
    if (any && status >= 0) status = node->type->backward(node, grads, out);
    p->autograd->birth = NULL;
    if (status >= 0) status = pass_on(p, node, out);
    if (status >= 0 && !p->retain_graph) td_node_use_up(node);
    if (out != few) td_free(out);
    return status;
}

static td_status run_leaf(pass *p, td_scope *scope, td_node *node) {
    td_tensor *grads[1];
    if (p->captures || !take_grads(scope, node, grads)) return TD_OK;
    if (!grads[0]) return TD_ERR_MEMORY;
    return td_leaf_accumulate((td_leaf *)node, grads[0], p->create_graph);
}

static void capture_grads(pass *p, td_node *node) {
    for (size_t i = 0; i < p->capture_count; i++) {
        capture *c = &p->captures[i];
        td_tensor *grad = c->node == node ? td_node_results(node)[c->index].grad : NULL;
        if (grad) c->grad = td_tensor_retain(grad);
    }
}

static td_status run_node(pass *p, td_node *node) {
    if (p->captures) capture_grads(p, node);
    td_scope *scope = td_scope_open(p->context);
    td_status status = !scope                        ? td_error_last()->status
                       : node->type == &td_leaf_type ? run_leaf(p, scope, node)
                                                     : run_backward(p, scope, node);
    if (status < 0) td_scope_fail(status);
    return td_scope_close(scope);
}

static td_status run_all(pass *p, td_node *root) {
    TD_TRY(push_ready(p, root));
    while (p->ready.count) TD_TRY(run_node(p, pop_ready(p)));
    return TD_OK;
}

/* --- a pass as a whole ------------------------------------------------------------------------------- */

/* The gradient to begin with, in the current scope. */
static td_tensor *first_grad(const td_tensor *output, td_tensor *grad) {
    char text[128];
    if (grad) {
        if (td_layout_same_sizes(output, grad)) return grad;
        return td_scope_fail(td_fail(TD_ERR_ARG, 0, "model",
                                     "backward: the gradient's sizes are not those of the output, %s",
                                     td_tensor_describe(output, text, sizeof text)));
    }
    if (output->count != 1)
        return td_scope_fail(td_fail(TD_ERR_ARG, 0, "model",
                                     "backward: %s has more than one element, so it needs .grad",
                                     td_tensor_describe(output, text, sizeof text)));
    return td_ones_like((td_tensor *)output);
}

/* The node that made x, or its leaf; *node NULL when nothing was recorded. */
static td_status find_maker(td_autograd *autograd, td_tensor *x, td_node **node) {
    uint32_t depth = autograd->no_grad;
    autograd->no_grad = 0; /* a view's history is brought up to date even under no_grad */
    td_status status = td_autograd_refresh(x);
    autograd->no_grad = depth;
    if (status < 0) return status;
    *node = x->grad_fn ? x->grad_fn : x->requires_grad ? &td_leaf_of(x)->node : NULL;
    return TD_OK;
}

static void clear_pass(pass *p) {
    for (size_t i = 0; i < p->seen.count; i++) {
        td_result_slot *slots = td_node_results(p->seen.at[i]);
        for (int r = 0; r < p->seen.at[i]->type->results; r++) {
            td_tensor_unref(slots[r].grad);
            slots[r].grad = NULL;
        }
    }
    td_free(p->seen.at);
    td_free(p->ready.at);
}

static td_status run_pass(pass *p, td_tensor *output, td_tensor *grad) {
    td_node *root = NULL;
    TD_TRY(find_maker(p->autograd, output, &root));
    if (!root)
        return td_fail(
            TD_ERR_STATE, 0, "model",
            "backward: the output was not computed from a tensor that requires grad while grad mode was on");
    const uint32_t depth = p->autograd->no_grad;
    p->autograd->no_grad = !p->create_graph;
    p->autograd->births = !p->create_graph && !p->captures;
    p->autograd->running = true;
    td_node_retain(root);
    td_tensor *first = first_grad(output, grad);
    td_status status = first ? count_edges(p, root) : td_error_last()->status;
    if (status >= 0) status = deliver(p, root, output->grad_fn ? output->result_index : 0, first);
    if (status >= 0) status = run_all(p, root);
    clear_pass(p);
    td_node_unref(root);
    p->autograd->no_grad = depth;
    p->autograd->births = p->autograd->running = false;
    return status;
}

static td_status begin_pass(const char *who, const td_tensor *output, bool retain, bool create, pass *p) {
    td_scope *scope = td_scope_ready();
    if (!scope) return td_error_last()->status < 0 ? td_error_last()->status : TD_ERR_STATE;
    if (!output) return td_fail(TD_ERR_ARG, 0, "model", "%s: no output", who);
    td_autograd *autograd = td_autograd_of(scope->context);
    /* Both passes would count down the same leaves. */
    if (autograd->running)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "model", "%s: a hook cannot begin a pass inside another", who);
    *p = (pass){.context = scope->context,
                .autograd = autograd,
                .number = ++autograd->pass,
                .retain_graph = retain || create,
                .create_graph = create};
    return TD_OK;
}

td_status td_backward_call(td_backward_args args) {
    pass p;
    td_status status = begin_pass("backward", args.output, args.retain_graph, args.create_graph, &p);
    if (status >= 0) status = run_pass(&p, args.output, args.grad);
    if (status >= 0) status = td_pass_hooks_run(p.autograd);
    if (status < 0) td_scope_fail(status);
    return status;
}

/* --- td_grad ------------------------------------------------------------------------------------------ */

static td_status find_captures(pass *p, const td_grad_args *args) {
    for (size_t i = 0; i < args->count; i++) {
        td_tensor *x = args->inputs[i];
        if (!x) return td_fail(TD_ERR_ARG, 0, "model", "grad: input %zu is missing", i);
        TD_TRY(find_maker(p->autograd, x, &p->captures[i].node));
        p->captures[i].index = x->grad_fn ? x->result_index : 0;
    }
    return TD_OK;
}

/* Captured gradients become values of the current scope. */
static td_status hand_over(pass *p, td_tensor **grads, td_status status) {
    for (size_t i = 0; i < p->capture_count; i++) {
        td_tensor *grad = p->captures[i].grad;
        td_tensor *alias = grad && status >= 0 ? td_alias(grad) : NULL;
        if (grad && status >= 0 && !alias) status = td_error_last()->status;
        if (status >= 0) grads[i] = alias;
        td_tensor_unref(grad);
    }
    return status;
}

td_status td_grad_call(td_grad_args args) {
    pass p;
    td_status status = begin_pass("grad", args.output, args.retain_graph, args.create_graph, &p);
    if (status >= 0 && !(p.captures = td_calloc(args.count, sizeof *p.captures))) status = TD_ERR_MEMORY;
    if (status >= 0) {
        p.capture_count = args.count;
        status = find_captures(&p, &args);
        if (status >= 0) status = run_pass(&p, args.output, args.grad);
        status = hand_over(&p, args.grads, status);
        td_free(p.captures);
    }
    if (status < 0) td_scope_fail(status);
    return status;
}
