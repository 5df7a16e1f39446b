/* `mlp`: two layers on MNIST's pixels, fc1 784-256, ReLU, fc2 256-10. `mlp-large`: three, 784-1024-1024-10. */
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "model/zoo/models.h"

static td_status build(td_module *net, const void *options) {
    (void)options;
    TD_TRY(td_add_linear(net, "fc1", 784, 256));
    return td_add_linear(net, "fc2", 256, 10);
}

static td_tensor *forward(td_module *net, td_tensor *x) {
    x = td_flatten(x, 1);
    td_move(&x, td_module_forward(td_module_child(net, "fc1"), x));
    td_move(&x, td_relu(x));
    td_move(&x, td_module_forward(td_module_child(net, "fc2"), x));
    return td_log_softmax(x, 1);
}

const td_module_class zoo_mlp = {.name = "Mlp", .build = build, .forward = forward};

static td_status build_large(td_module *net, const void *options) {
    (void)options;
    TD_TRY(td_add_linear(net, "fc1", 784, 1024));
    TD_TRY(td_add_linear(net, "fc2", 1024, 1024));
    return td_add_linear(net, "fc3", 1024, 10);
}

static td_tensor *forward_large(td_module *net, td_tensor *x) {
    x = td_flatten(x, 1);
    td_move(&x, td_module_forward(td_module_child(net, "fc1"), x));
    td_move(&x, td_relu(x));
    td_move(&x, td_module_forward(td_module_child(net, "fc2"), x));
    td_move(&x, td_relu(x));
    td_move(&x, td_module_forward(td_module_child(net, "fc3"), x));
    return td_log_softmax(x, 1);
}

const td_module_class zoo_mlp_large = {.name = "MlpLarge", .build = build_large, .forward = forward_large};
