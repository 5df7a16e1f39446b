/* BatchNorm1d, 2d and 3d: one layer, told apart by the dimensions it takes. */
#include "model/nn/norm.h"

#include "base/context.h"
#include "model/autograd/autograd.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "model/tensor/tensor.h"

#include <string.h>

/* --- building --------------------------------------------------------------------------------------- */

static td_status add_parameters(td_module *module, td_norm_layer *layer) {
    const td_ints sizes = TD_INTS(layer->options.num_features);
    layer->weight = td_ones(sizes);
    TD_TRY(td_module_add_parameter(module, "weight", layer->weight));
    layer->bias = td_zeros(sizes);
    return td_module_add_parameter(module, "bias", layer->bias);
}

static td_status add_buffers(td_module *module, td_norm_layer *layer) {
    const td_ints sizes = TD_INTS(layer->options.num_features);
    layer->running_mean = td_zeros(sizes);
    TD_TRY(td_module_add_buffer(module, "running_mean", layer->running_mean));
    layer->running_var = td_ones(sizes);
    TD_TRY(td_module_add_buffer(module, "running_var", layer->running_var));
    layer->batches = td_zeros((td_ints){0}, .dtype = TD_DTYPE_I64);
    return td_module_add_buffer(module, "num_batches_tracked", layer->batches);
}

static td_status build(td_module *module, const void *options, int least_dims, int most_dims) {
    td_norm_layer *layer = td_module_fields(module);
    *layer = (td_norm_layer){.options = *(const td_nn_batch_norm_options *)options,
                             .least_dims = least_dims,
                             .most_dims = most_dims};
    const td_nn_batch_norm_options *o = &layer->options;
    if (o->num_features < 0 || !(o->eps >= 0) || !(o->momentum <= 1))
        return td_fail(TD_ERR_ARG, 0, "model/nn", "%s: %lld features, eps %g, momentum %g",
                       td_module_class_name(module), (long long)o->num_features, o->eps, o->momentum);
    td_scope *scope = td_scope_open(td_context_current());
    td_status status = o->affine ? add_parameters(module, layer) : TD_OK;
    if (status == TD_OK && o->track_running_stats) status = add_buffers(module, layer);
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

static td_status build_1d(td_module *module, const void *options) { return build(module, options, 2, 3); }
static td_status build_2d(td_module *module, const void *options) { return build(module, options, 4, 4); }
static td_status build_3d(td_module *module, const void *options) { return build(module, options, 5, 5); }

/* --- computing -------------------------------------------------------------------------------------- */

/* Count the batch; how far the running statistics move: all the way at first where they are plain averages. */
static double next_momentum(td_norm_layer *layer) {
    if (!layer->batches) return 0;
    td_no_grad_begin();
    td_add_scalar_(layer->batches, td_scalar_int(1));
    td_no_grad_end();
    if (layer->options.momentum >= 0) return layer->options.momentum;
    int64_t batches = 1;
    td_tensor_item_i64(layer->batches, &batches); /* a failure has marked the scope */
    return 1 / (double)batches;
}

static td_tensor *forward(td_module *module, td_tensor *x) {
    td_norm_layer *layer = td_module_fields(module);
    if (x && (td_tensor_ndim(x) < layer->least_dims || td_tensor_ndim(x) > layer->most_dims)) {
        char text[128];
        return td_scope_fail(td_fail(TD_ERR_ARG, 0, "model/nn", "%s: the input is %s",
                                     td_module_class_name(module), td_tensor_describe(x, text, sizeof text)));
    }
    bool training = td_module_is_training(module);
    double momentum = training ? next_momentum(layer) : 0;
    if (training && layer->forward) return layer->forward(layer, x, momentum);
    return td_batch_norm(x, layer->weight, layer->bias, layer->running_mean, layer->running_var,
                         .training = training || !layer->running_mean, .momentum = momentum,
                         .eps = layer->options.eps);
}

const td_module_class td_nn_batch_norm1d = {
    .name = "BatchNorm1d", .fields = sizeof(td_norm_layer), .build = build_1d, .forward = forward};
const td_module_class td_nn_batch_norm2d = {
    .name = "BatchNorm2d", .fields = sizeof(td_norm_layer), .build = build_2d, .forward = forward};
const td_module_class td_nn_batch_norm3d = {
    .name = "BatchNorm3d", .fields = sizeof(td_norm_layer), .build = build_3d, .forward = forward};

td_norm_layer *nn_norm_layer(td_module *module) {
    const char *name = td_module_class_name(module);
    bool is_one =
        name == td_nn_batch_norm1d.name || name == td_nn_batch_norm2d.name || name == td_nn_batch_norm3d.name;
    return is_one ? td_module_fields(module) : NULL;
}
