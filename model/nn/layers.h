/*
 * The layers: module classes with PyTorch's options, defaults, parameter names and initial values. Each has
 * a constant class table for td_module_open and td_module_add and, for C, a macro that adds one to a parent
 * with its arguments in PyTorch's order, then by name: td_add_conv2d(net, "conv1", 1, 32, {3, 3},
 * .padding = {1, 1}). Layers without parameters are classes too, for use in a td_nn_sequential; in a forward
 * function the plain operation does. Threads: as model/nn/module.h.
 */
#ifndef TANDEM_MODEL_NN_LAYERS_H
#define TANDEM_MODEL_NN_LAYERS_H

#include "model/nn/module.h"

TD_BEGIN_DECLS

/* y = x weight^T + bias; weight (out, in), bias (out). Both begin as uniform within 1/sqrt(in). */
typedef struct td_nn_linear_options {
    int64_t in_features, out_features;
    bool bias;
} td_nn_linear_options;
#define TD_NN_LINEAR_DEFAULTS .bias = true
extern TD_API const td_module_class td_nn_linear;

/* x (N, C, H, W), weight (out, in / groups, kernel), bias (out). Both begin as uniform within 1/sqrt(fan in).
 */
typedef struct td_nn_conv2d_options {
    int64_t in_channels, out_channels;
    int64_t kernel_size[2], stride[2], padding[2], dilation[2];
    int64_t groups;
    bool bias;
} td_nn_conv2d_options;
#define TD_NN_CONV2D_DEFAULTS .stride = {1, 1}, .dilation = {1, 1}, .groups = 1, .bias = true
extern TD_API const td_module_class td_nn_conv2d;

/* Largest value of each window; a stride of 0 is the kernel's size. */
typedef struct td_nn_max_pool2d_options {
    int64_t kernel_size[2], stride[2], padding[2], dilation[2];
} td_nn_max_pool2d_options;
#define TD_NN_MAX_POOL2D_DEFAULTS .dilation = {1, 1}
extern TD_API const td_module_class td_nn_max_pool2d;

/* In training mode each element is zeroed with probability p and the others are scaled by 1/(1-p). */
typedef struct td_nn_dropout_options {
    double p;
} td_nn_dropout_options;
#define TD_NN_DROPOUT_DEFAULTS .p = 0.5
extern TD_API const td_module_class td_nn_dropout;

/* Each of num_features channels of x (N, C), (N, C, L) for 1d, (N, C, H, W) for 2d, (N, C, D, H, W) for 3d with
 * mean 0 and variance 1 over the batch, times weight (ones at first), plus bias (zeros). Buffers running_mean,
 * running_var and num_batches_tracked follow in training and are used in evaluation. */
typedef struct td_nn_batch_norm_options {
    int64_t num_features;
    double eps;
    double
        momentum; /* weight of a new batch; TD_NN_CUMULATIVE: all batches weigh the same (PyTorch's None) */
    bool affine;  /* has weight and bias */
    bool track_running_stats;
} td_nn_batch_norm_options;
typedef td_nn_batch_norm_options td_nn_batch_norm1d_options, td_nn_batch_norm2d_options,
    td_nn_batch_norm3d_options;
#define TD_NN_CUMULATIVE          (-1.0)
#define TD_NN_BATCH_NORM_DEFAULTS .eps = 1e-5, .momentum = 0.1, .affine = true, .track_running_stats = true
extern TD_API const td_module_class td_nn_batch_norm1d, td_nn_batch_norm2d, td_nn_batch_norm3d;

typedef struct td_nn_log_softmax_options {
    int64_t dim;
} td_nn_log_softmax_options;
#define TD_NN_LOG_SOFTMAX_DEFAULTS .dim = -1
extern TD_API const td_module_class td_nn_log_softmax;

/* (N, ...) to (N, product) by default. */
typedef struct td_nn_flatten_options {
    int64_t start_dim, end_dim;
} td_nn_flatten_options;
#define TD_NN_FLATTEN_DEFAULTS .start_dim = 1, .end_dim = -1
extern TD_API const td_module_class td_nn_flatten;

extern TD_API const td_module_class td_nn_relu;       /* no options */
extern TD_API const td_module_class td_nn_sequential; /* no options: its children one after the other */

/* What stands behind the macros: `defaults` may be overridden by what follows, which is what they are for. */
#define TD_ADD_LAYER(parent, name, layer, defaults, ...)                                                     \
    __extension__({                                                                                          \
        _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Woverride-init\"")                 \
            layer##_options td_options = {defaults, __VA_ARGS__};                                            \
        _Pragma("GCC diagnostic pop") td_module_add(parent, name, &layer, &td_options);                      \
    })

#define td_add_linear(parent, name, ...)                                                                     \
    TD_ADD_LAYER(parent, name, td_nn_linear, TD_NN_LINEAR_DEFAULTS, .in_features = __VA_ARGS__)
#define td_add_conv2d(parent, name, ...)                                                                     \
    TD_ADD_LAYER(parent, name, td_nn_conv2d, TD_NN_CONV2D_DEFAULTS, .in_channels = __VA_ARGS__)
#define td_add_max_pool2d(parent, name, ...)                                                                 \
    TD_ADD_LAYER(parent, name, td_nn_max_pool2d, TD_NN_MAX_POOL2D_DEFAULTS, .kernel_size = __VA_ARGS__)
#define td_add_dropout(parent, name, ...)                                                                    \
    TD_ADD_LAYER(parent, name, td_nn_dropout, TD_NN_DROPOUT_DEFAULTS, .p = __VA_ARGS__)
#define td_add_log_softmax(parent, name, ...)                                                                \
    TD_ADD_LAYER(parent, name, td_nn_log_softmax, TD_NN_LOG_SOFTMAX_DEFAULTS, .dim = __VA_ARGS__)
#define td_add_flatten(parent, name, ...)                                                                    \
    TD_ADD_LAYER(parent, name, td_nn_flatten, TD_NN_FLATTEN_DEFAULTS, .start_dim = __VA_ARGS__)
#define td_add_batch_norm1d(parent, name, ...)                                                               \
    TD_ADD_LAYER(parent, name, td_nn_batch_norm1d, TD_NN_BATCH_NORM_DEFAULTS, .num_features = __VA_ARGS__)
#define td_add_batch_norm2d(parent, name, ...)                                                               \
    TD_ADD_LAYER(parent, name, td_nn_batch_norm2d, TD_NN_BATCH_NORM_DEFAULTS, .num_features = __VA_ARGS__)
#define td_add_batch_norm3d(parent, name, ...)                                                               \
    TD_ADD_LAYER(parent, name, td_nn_batch_norm3d, TD_NN_BATCH_NORM_DEFAULTS, .num_features = __VA_ARGS__)
#define td_add_relu(parent, name) td_module_add(parent, name, &td_nn_relu, NULL)

TD_END_DECLS

#endif
