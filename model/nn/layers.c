/*
 * The layers, one after the other: what they keep in their fields, how they are built, what they compute.
 * Building opens a scope for the new parameters and works in the order of PyTorch's constructors, since each
 * draws from the same generator.
 */
#include "model/nn/layers.h"

#include "base/context.h"
#include "model/nn/init.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"

/* --- Linear ----------------------------------------------------------------------------------------- */

typedef struct td_weights {
    td_tensor *weight, *bias; /* *lent* by the module's parameters; bias may be NULL */
} td_weights;

/* Draw the weight, then the bias, and keep both. */
static td_status add_weights(td_module *module, td_ints sizes, int64_t fan_in, bool bias,
                             td_weights *weights) {
    td_scope *scope = td_scope_open(td_context_current());
    weights->weight = init_weight(sizes, fan_in);
    td_status status = td_module_add_parameter(module, "weight", weights->weight);
    if (status == TD_OK && bias) {
        weights->bias = init_bias(sizes.at[0], fan_in);
        status = td_module_add_parameter(module, "bias", weights->bias);
    }
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

static td_status build_linear(td_module *module, const void *options) {
    const td_nn_linear_options *o = options;
    if (o->in_features < 0 || o->out_features < 0)
        return td_fail(TD_ERR_ARG, 0, "model/nn", "Linear: %lld features in, %lld out",
                       (long long)o->in_features, (long long)o->out_features);
    return add_weights(module, TD_INTS(o->out_features, o->in_features), o->in_features, o->bias,
                       td_module_fields(module));
}

static td_tensor *forward_linear(td_module *module, td_tensor *x) {
    td_weights *w = td_module_fields(module);
    return td_linear(x, w->weight, w->bias);
}

const td_module_class td_nn_linear = {
    .name = "Linear", .fields = sizeof(td_weights), .build = build_linear, .forward = forward_linear};

/* --- Conv2d ----------------------------------------------------------------------------------------- */

typedef struct td_conv2d_fields {
    td_weights weights;
    td_nn_conv2d_options options;
} td_conv2d_fields;

static td_status check_conv2d(const td_nn_conv2d_options *o) {
    if (o->groups < 1 || o->in_channels < 1 || o->out_channels < 1 || o->in_channels % o->groups ||
        o->out_channels % o->groups)
        return td_fail(TD_ERR_ARG, 0, "model/nn", "Conv2d: %lld channels in and %lld out, in %lld groups",
                       (long long)o->in_channels, (long long)o->out_channels, (long long)o->groups);
    for (int i = 0; i < 2; i++)
        if (o->kernel_size[i] < 1 || o->stride[i] < 1 || o->dilation[i] < 1 || o->padding[i] < 0)
            return td_fail(TD_ERR_ARG, 0, "model/nn",
                           "Conv2d: kernel size %lld, stride %lld, dilation %lld, padding %lld",
                           (long long)o->kernel_size[i], (long long)o->stride[i], (long long)o->dilation[i],
                           (long long)o->padding[i]);
    return TD_OK;
}

static td_status build_conv2d(td_module *module, const void *options) {
    td_conv2d_fields *fields = td_module_fields(module);
    const td_nn_conv2d_options *o = options;
    TD_TRY(check_conv2d(o));
    fields->options = *o;
    int64_t in = o->in_channels / o->groups, high = o->kernel_size[0], wide = o->kernel_size[1];
    return add_weights(module, TD_INTS(o->out_channels, in, high, wide), in * high * wide, o->bias,
                       &fields->weights);
}

static td_tensor *forward_conv2d(td_module *module, td_tensor *x) {
    const td_conv2d_fields *fields = td_module_fields(module);
    const td_nn_conv2d_options *o = &fields->options;
    return td_conv2d(x, fields->weights.weight, fields->weights.bias, {o->stride[0], o->stride[1]},
                     {o->padding[0], o->padding[1]}, {o->dilation[0], o->dilation[1]}, o->groups);
}

const td_module_class td_nn_conv2d = {
    .name = "Conv2d", .fields = sizeof(td_conv2d_fields), .build = build_conv2d, .forward = forward_conv2d};

/* --- MaxPool2d -------------------------------------------------------------------------------------- */

static td_status build_max_pool2d(td_module *module, const void *options) {
    td_nn_max_pool2d_options *o = td_module_fields(module);
    *o = *(const td_nn_max_pool2d_options *)options;
    for (int i = 0; i < 2; i++) {
        if (!o->stride[i]) o->stride[i] = o->kernel_size[i];
        if (o->kernel_size[i] < 1 || o->stride[i] < 1 || o->dilation[i] < 1 || o->padding[i] < 0)
            return td_fail(TD_ERR_ARG, 0, "model/nn",
                           "MaxPool2d: kernel size %lld, stride %lld, dilation %lld, padding %lld",
                           (long long)o->kernel_size[i], (long long)o->stride[i], (long long)o->dilation[i],
                           (long long)o->padding[i]);
    }
    return TD_OK;
}

static td_tensor *forward_max_pool2d(td_module *module, td_tensor *x) {
    const td_nn_max_pool2d_options *o = td_module_fields(module);
    return td_max_pool2d(x, {o->kernel_size[0], o->kernel_size[1]}, {o->stride[0], o->stride[1]},
                         {o->padding[0], o->padding[1]}, {o->dilation[0], o->dilation[1]});
}

const td_module_class td_nn_max_pool2d = {.name = "MaxPool2d",
                                          .fields = sizeof(td_nn_max_pool2d_options),
                                          .build = build_max_pool2d,
                                          .forward = forward_max_pool2d};

/* --- Dropout ---------------------------------------------------------------------------------------- */

static td_status build_dropout(td_module *module, const void *options) {
    td_nn_dropout_options *o = td_module_fields(module);
    *o = *(const td_nn_dropout_options *)options;
    if (!(o->p >= 0 && o->p <= 1))
        return td_fail(TD_ERR_ARG, 0, "model/nn", "Dropout: a probability of %g; it lies between 0 and 1",
                       o->p);
    return TD_OK;
}

static td_tensor *forward_dropout(td_module *module, td_tensor *x) {
    const td_nn_dropout_options *o = td_module_fields(module);
    return td_dropout(x, o->p, td_module_is_training(module));
}

const td_module_class td_nn_dropout = {.name = "Dropout",
                                       .fields = sizeof(td_nn_dropout_options),
                                       .build = build_dropout,
                                       .forward = forward_dropout};

/* --- layers without parameters ---------------------------------------------------------------------- */

static td_tensor *forward_relu(td_module *module, td_tensor *x) {
    (void)module;
    return td_relu(x);
}

const td_module_class td_nn_relu = {.name = "ReLU", .forward = forward_relu};

static td_status build_log_softmax(td_module *module, const void *options) {
    *(td_nn_log_softmax_options *)td_module_fields(module) = *(const td_nn_log_softmax_options *)options;
    return TD_OK;
}

static td_tensor *forward_log_softmax(td_module *module, td_tensor *x) {
    return td_log_softmax(x, ((td_nn_log_softmax_options *)td_module_fields(module))->dim);
}

const td_module_class td_nn_log_softmax = {.name = "LogSoftmax",
                                           .fields = sizeof(td_nn_log_softmax_options),
                                           .build = build_log_softmax,
                                           .forward = forward_log_softmax};

static td_status build_flatten(td_module *module, const void *options) {
    *(td_nn_flatten_options *)td_module_fields(module) = *(const td_nn_flatten_options *)options;
    return TD_OK;
}

static td_tensor *forward_flatten(td_module *module, td_tensor *x) {
    const td_nn_flatten_options *o = td_module_fields(module);
    return td_flatten(x, o->start_dim, o->end_dim);
}

const td_module_class td_nn_flatten = {.name = "Flatten",
                                       .fields = sizeof(td_nn_flatten_options),
                                       .build = build_flatten,
                                       .forward = forward_flatten};

/* --- Sequential ------------------------------------------------------------------------------------- */

static td_tensor *forward_sequential(td_module *module, td_tensor *x) {
    for (size_t i = 0; i < td_module_child_count(module); i++)
        td_move(&x, td_module_forward(td_module_child_at(module, i), x));
    return x;
}

const td_module_class td_nn_sequential = {.name = "Sequential", .forward = forward_sequential};
