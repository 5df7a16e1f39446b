/* With momentum 1 the running statistics of a layer become the batch's, so td_batch_norm itself hands them out. */
#include "model/parallel/group_norms.h"

#include "base/memory.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"

#include <string.h>

static td_status unsupported(const char *what) {
    return td_fail(TD_ERR_UNSUPPORTED, 0, "model/parallel", "sample groups: %s", what);
}

static td_tensor *forward(td_norm_layer *layer, td_tensor *x, double momentum) {
    (void)momentum;
    group_norm *norm = layer->cookie;
    if (norm->ran) return td_scope_fail(unsupported("a batch normalisation that runs twice in a pass"));
    norm->ran = true;
    return td_batch_norm(x, layer->weight, layer->bias, norm->mean, norm->variance, .training = true,
                         .momentum = 1, .eps = layer->options.eps);
}

/* --- life ------------------------------------------------------------------------------------------- */

static bool keeps_statistics(const td_norm_layer *layer) { return layer && layer->running_mean; }

static size_t count_layers(td_module *module) {
    size_t count = keeps_statistics(nn_norm_layer(module));
    for (size_t i = 0; i < td_module_child_count(module); i++)
        count += count_layers(td_module_child_at(module, i));
    return count;
}

static td_status take_over(group_norms *norms, td_norm_layer *layer) {
    if (layer->forward) return unsupported("a batch normalisation that is synchronised over ranks already");
    if (td_tensor_dtype(layer->running_mean) != TD_DTYPE_F32)
        return unsupported("running statistics that are not f32");
    group_norm *norm = &norms->norms[norms->count++];
    *norm = (group_norm){
        .layer = layer, .channels = (size_t)td_tensor_count(layer->running_mean), .at = norms->row};
    norms->row += 1 + 2 * norm->channels;
    td_ints sizes = td_tensor_sizes(layer->running_mean);
    td_tensor *mean = td_zeros(sizes), *variance = td_zeros(sizes);
    if (!mean || !variance) return td_error_last()->status;
    norm->mean = td_keep(mean);
    norm->variance = td_keep(variance);
    layer->forward = forward;
    layer->cookie = norm;
    return TD_OK;
}

static td_status take_over_all(group_norms *norms, td_module *module) {
    td_norm_layer *layer = nn_norm_layer(module);
    if (keeps_statistics(layer)) TD_TRY(take_over(norms, layer));
    for (size_t i = 0; i < td_module_child_count(module); i++)
        TD_TRY(take_over_all(norms, td_module_child_at(module, i)));
    return TD_OK;
}

td_status group_norms_open(td_module *module, int groups, group_norms *norms) {
    size_t count = count_layers(module);
    *norms = (group_norms){.groups = groups};
    if (!count) return TD_OK;
    norms->norms = td_calloc(count, sizeof *norms->norms);
    norms->batches = td_calloc(count, sizeof *norms->batches);
    td_status status = norms->norms && norms->batches ? take_over_all(norms, module) : TD_ERR_MEMORY;
    if (status == TD_OK && !(norms->rows = td_calloc((size_t)groups * norms->row, sizeof(float))))
        status = TD_ERR_MEMORY;
    if (status < 0) group_norms_close(norms);
    return status;
}

void group_norms_close(group_norms *norms) {
    for (size_t i = 0; i < norms->count; i++) {
        group_norm *norm = &norms->norms[i];
        if (norm->layer->cookie == norm) norm->layer->forward = NULL, norm->layer->cookie = NULL;
        td_release(&norm->mean);
        td_release(&norm->variance);
    }
    td_free(norms->rows);
    td_free(norms->batches);
    td_free(norms->norms);
    *norms = (group_norms){0};
}

bool group_norms_has(const group_norms *norms, const td_tensor *buffer) {
    for (size_t i = 0; i < norms->count; i++) {
        const td_norm_layer *layer = norms->norms[i].layer;
        if (buffer == layer->running_mean || buffer == layer->running_var) return true;
    }
    return false;
}

/* --- a step ----------------------------------------------------------------------------------------- */

td_status group_norms_begin(group_norms *norms, bool first) {
    for (size_t i = 0; i < norms->count; i++) {
        norms->norms[i].ran = false;
        if (first) TD_TRY(td_tensor_item_i64(norms->norms[i].layer->batches, &norms->batches[i]));
    }
    return TD_OK;
}

void group_norms_end(group_norms *norms, int group) {
    for (size_t i = 0; i < norms->count; i++) {
        const group_norm *norm = &norms->norms[i];
        float *out = norms->rows + (size_t)group * norms->row + norm->at;
        *out++ = norm->ran;
        memcpy(out, td_tensor_data(norm->mean), norm->channels * sizeof(float));
        memcpy(out + norm->channels, td_tensor_data(norm->variance), norm->channels * sizeof(float));
    }
}

/* running = (1 - momentum) * running + momentum * batch, in the two roundings of the ordinary layer. */
static void move(td_tensor *running, const float *batch, size_t count, double momentum) {
    float *data = td_tensor_data(running), keep = (float)(1 - momentum), take = (float)momentum;
    for (size_t i = 0; i < count; i++) {
        data[i] *= keep;
        data[i] += take * batch[i];
    }
}

static td_status move_layer(const group_norms *norms, size_t i) {
    const group_norm *norm = &norms->norms[i];
    const td_norm_layer *layer = norm->layer;
    int64_t batches = norms->batches[i];
    for (int g = 0; g < norms->groups; g++) {
        const float *row = norms->rows + (size_t)g * norms->row + norm->at;
        if (*row++ == 0) continue;
        batches++;
        double momentum = layer->options.momentum >= 0 ? layer->options.momentum : 1 / (double)batches;
        move(layer->running_mean, row, norm->channels, momentum);
        move(layer->running_var, row + norm->channels, norm->channels, momentum);
    }
    td_tensor_written(layer->running_mean);
    td_tensor_written(layer->running_var);
    td_no_grad_begin();
    td_status status = td_tensor_copy_from(layer->batches, &batches, sizeof batches);
    td_no_grad_end();
    return status;
}

td_status group_norms_apply(group_norms *norms, td_group *group, const size_t *counts) {
    if (!norms->count) return TD_OK;
    size_t before = 0;
    for (int r = 0; r < td_group_rank(group); r++) before += counts[r];
    td_call call = {.kind = TD_CALL_ALL_GATHER,
                    .dtype = TD_DTYPE_F32,
                    .input = norms->rows + before,
                    .output = norms->rows,
                    .counts = counts,
                    .label = "sample groups: statistics"};
    TD_TRY(td_group_post(group, &call, NULL));
    for (size_t i = 0; i < norms->count; i++) TD_TRY(move_layer(norms, i));
    return TD_OK;
}
