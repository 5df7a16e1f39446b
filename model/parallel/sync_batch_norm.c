/*
 * Forward gathers (count, means, variances) of every rank and combines them in the order of ranks by Chan's
 * formula, so all ranks have the same bits; backward sums the two sums that the input's gradient needs. The
 * gradients of weight and bias stay this rank's own: DDP averages them as it does all others. Counts may
 * differ and be 0 on some ranks.
 */
#include "model/parallel/sync_batch_norm.h"

#include "base/memory.h"
#include "model/nn/norm.h"
#include "model/ops/ops.h"
#include "model/parallel/internal.h"

#include <string.h>

static const td_device cpu = {TD_DEVICE_CPU, 0};

/* --- backward --------------------------------------------------------------------------------------- */

enum { INPUT, WEIGHT, BIAS, EDGES };                   /* the node's edges */
enum { SAVED_INPUT, SAVED_WEIGHT, STATISTICS, SAVED }; /* and what it saves */

typedef struct sync_node {
    td_node node;
    td_result_slot result;
    td_edge edges[EDGES];
    td_saved saved[SAVED];
    td_group *group;
    double count, eps; /* elements of a channel on all ranks */
    double samples;    /* the layer's, at forward */
} sync_node;

/* Both sums over all ranks, in place. Each rank's are of a loss that is its own mean: times its samples they can
 * be added to the others', and the total over its samples is to the scale of its own loss again. */
static td_status add_over_ranks(td_group *group, td_tensor *sums, double samples) {
    td_call call = {.kind = TD_CALL_ALL_REDUCE,
                    .dtype = td_tensor_dtype(sums),
                    .op = TD_REDUCE_SUM,
                    .count = (size_t)td_tensor_count(sums),
                    .input = td_tensor_data(sums),
                    .output = td_tensor_data(sums),
                    .label = "sync_batch_norm backward",
                    .device = cpu};
    const size_t count = call.count;
    if (samples > 0) ddp_multiply(call.dtype, call.output, count, samples);
    TD_TRY(td_group_post(group, &call, NULL));
    if (samples > 0) ddp_divide(call.dtype, call.output, count, samples);
    return TD_OK;
}

static td_status sync_backward(td_node *base, td_tensor *const *grads, td_tensor **out) {
    const sync_node *node = (const sync_node *)base;
    td_tensor *input = NULL, *weight = NULL, *statistics = NULL;
    if (td_grad_enabled())
        return td_fail(TD_ERR_UNSUPPORTED, 0, "model/parallel",
                       "sync_batch_norm: no second derivatives; convert the module back for them");
    TD_TRY(td_saved_get(base, SAVED_INPUT, "input", &input));
    TD_TRY(td_saved_get(base, SAVED_WEIGHT, "weight", &weight));
    TD_TRY(td_saved_get(base, STATISTICS, "statistics", &statistics));
    td_tensor *sums = td_batch_norm_backward_sums(grads[0], input, statistics, .eps = node->eps);
    if (!sums) return td_error_last()->status;
    out[WEIGHT] = td_select(sums, 0, 0);
    out[BIAS] = td_select(sums, 0, 1);
    if (!node->edges[INPUT].node) return TD_OK;
    td_tensor *all = td_clone(sums);
    if (!all) return td_error_last()->status;
    TD_TRY(add_over_ranks(node->group, all, node->samples));
    out[INPUT] = td_batch_norm_backward_input(grads[0], input, weight, statistics, all, .count = node->count,
                                              .eps = node->eps);
    return out[INPUT] ? TD_OK : td_error_last()->status;
}

static const td_node_type sync_node_type = {
    .name = "sync_batch_norm",
    .backward = sync_backward,
    .bytes = sizeof(sync_node),
    .results = 1,
    .results_at = offsetof(sync_node, result),
    .edges = EDGES,
    .edges_at = offsetof(sync_node, edges),
    .saved = SAVED,
    .saved_at = offsetof(sync_node, saved),
};

/* --- forward ---------------------------------------------------------------------------------------- */

/* One rank's part of the exchange: its count, then a mean and a variance for each channel. */
static size_t part_length(int64_t channels) { return 1 + 2 * (size_t)channels; }

static double number_at(const td_tensor *x, int64_t i) {
    return td_tensor_dtype(x) == TD_DTYPE_F32 ? ((const float *)td_tensor_data(x))[i]
                                              : ((const double *)td_tensor_data(x))[i];
}

static void set_number(td_tensor *x, int64_t i, double value) {
    if (td_tensor_dtype(x) == TD_DTYPE_F32)
        ((float *)td_tensor_data(x))[i] = (float)value;
    else
        ((double *)td_tensor_data(x))[i] = value;
}

/* Make `statistics` (2, C), this rank's own, those of all the parts; the count of all. */
static double combine(const double *parts, int ranks, int64_t channels, td_tensor *statistics) {
    const size_t length = part_length(channels);
    double count = 0;
    for (int r = 0; r < ranks; r++) count += parts[(size_t)r * length];
    for (int64_t c = 0; c < channels; c++) {
        double mean = 0, squares = 0, seen = 0;
        for (int r = 0; r < ranks; r++) {
            const double *part = parts + (size_t)r * length, n = part[0];
            if (n == 0) continue;
            const double delta = part[1 + c] - mean;
            squares += n * part[1 + channels + c] + delta * delta * seen * n / (seen + n);
            seen += n;
            mean += delta * n / seen;
        }
        set_number(statistics, c, mean);
        set_number(statistics, channels + c, seen > 0 ? squares / seen : 0);
    }
    return count;
}

/* This rank's statistics become everybody's; *count too. */
static td_status gather(td_group *group, td_tensor *statistics, int64_t channels, double *count) {
    const int ranks = td_group_size(group);
    const size_t length = part_length(channels);
    double *parts = td_calloc((size_t)ranks * length, sizeof *parts);
    if (!parts) return TD_ERR_MEMORY;
    double *mine = parts + (size_t)td_group_rank(group) * length;
    mine[0] = *count;
    for (int64_t i = 0; i < 2 * channels; i++) mine[1 + i] = number_at(statistics, i);
    td_call call = {.kind = TD_CALL_ALL_GATHER,
                    .dtype = TD_DTYPE_F64,
                    .count = length,
                    .input = mine,
                    .output = parts,
                    .label = "sync_batch_norm",
                    .device = cpu};
    td_status status = td_group_post(group, &call, NULL);
    if (status == TD_OK) *count = combine(parts, ranks, channels, statistics);
    td_free(parts);
    return status;
}

static void move_running(td_tensor *running, td_tensor *batch, double momentum, double factor) {
    td_mul_scalar_(running, td_scalar_real(1 - momentum));
    td_add_(running, batch, .alpha = td_scalar_real(momentum * factor));
}

/* As if y had been computed by one operation of x, weight and bias. */
static td_status record(td_norm_layer *layer, td_tensor *x, td_tensor *statistics, double count,
                        td_tensor *y) {
    td_context *context = td_context_current();
    td_tensor *of_edge[EDGES] = {[INPUT] = x, [WEIGHT] = layer->weight, [BIAS] = layer->bias};
    bool needed = false;
    for (int i = 0; i < EDGES; i++) needed |= of_edge[i] && td_tensor_needs_grad(of_edge[i]);
    if (!td_grad_enabled() || !needed) return TD_OK;
    td_node *base =
        td_node_new(context->slots[TD_SLOT_ALLOCATOR], td_autograd_of(context), &sync_node_type, EDGES);
    if (!base) return TD_ERR_MEMORY;
    sync_node *node = (sync_node *)base;
    node->group = layer->cookie;
    node->count = count;
    node->eps = layer->options.eps;
    node->samples = layer->samples;
    td_status status = TD_OK;
    for (int i = 0; status == TD_OK && i < EDGES; i++)
        if (of_edge[i]) status = td_node_link(base, (uint32_t)i, of_edge[i]);
    if (status == TD_OK) status = td_saved_put(&node->saved[SAVED_INPUT], x, false, 0);
    if (status == TD_OK) status = td_saved_put(&node->saved[SAVED_WEIGHT], layer->weight, false, 0);
    if (status == TD_OK) status = td_saved_put(&node->saved[STATISTICS], statistics, false, 0);
    if (status == TD_OK)
        td_node_give(base, 0, y);
    else
        td_node_unref(base);
    return status;
}

static td_tensor *compute(td_norm_layer *layer, td_tensor *x, double momentum, td_tensor **statistics,
                          double *count) {
    const int64_t channels = td_tensor_size(x, 1);
    *statistics = td_batch_norm_statistics(x);
    if (!*statistics) return NULL;
    *count = channels ? (double)(td_tensor_count(x) / channels) : 0;
    td_status status = gather(layer->cookie, *statistics, channels, count);
    if (status == TD_OK && *count == 1)
        status = td_fail(TD_ERR_ARG, 0, "model/parallel",
                         "sync_batch_norm: training needs more than one value of each channel on all ranks");
    if (status < 0) return td_scope_fail(status);
    td_tensor *mean = td_select(*statistics, 0, 0), *variance = td_select(*statistics, 0, 1);
    if (layer->running_mean && *count > 1) {
        move_running(layer->running_mean, mean, momentum, 1);
        move_running(layer->running_var, variance, momentum, *count / (*count - 1));
    }
    return td_batch_norm_forward(x, layer->weight, layer->bias, mean, variance, .training = false,
                                 .eps = layer->options.eps)
        .output;
}

static td_tensor *forward(td_norm_layer *layer, td_tensor *x, double momentum) {
    td_tensor *statistics = NULL;
    double count = 0;
    if (!x) return NULL;
    td_no_grad_begin();
    td_tensor *y = compute(layer, x, momentum, &statistics, &count);
    td_no_grad_end();
    if (!y) return NULL;
    td_status status = record(layer, x, statistics, count, y);
    return status < 0 ? td_scope_fail(status) : y;
}

size_t ddp_tell_layers(td_module *module, int64_t samples) {
    td_norm_layer *layer = nn_norm_layer(module);
    size_t count = layer && layer->forward;
    if (count) layer->samples = (double)samples;
    for (size_t i = 0; i < td_module_child_count(module); i++)
        count += ddp_tell_layers(td_module_child_at(module, i), samples);
    return count;
}

/* --- converting ------------------------------------------------------------------------------------- */

void td_sync_batch_norm_convert(td_module *module, td_group *group) {
    td_norm_layer *layer = nn_norm_layer(module);
    if (layer) {
        bool alone = !group || td_group_size(group) == 1;
        layer->forward = alone ? NULL : forward;
        layer->cookie = alone ? NULL : group;
        layer->samples = 0;
    }
    for (size_t i = 0; i < td_module_child_count(module); i++)
        td_sync_batch_norm_convert(td_module_child_at(module, i), group);
}
