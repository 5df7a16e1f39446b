/* `mnist-cnn`: the network of PyTorch's basic MNIST example, with its names. */
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "model/zoo/models.h"

static td_status build(td_module *net, const void *options) {
    (void)options;
    TD_TRY(td_add_conv2d(net, "conv1", 1, 32, {3, 3}));
    TD_TRY(td_add_conv2d(net, "conv2", 32, 64, {3, 3}));
    TD_TRY(td_add_dropout(net, "dropout1", 0.25));
    TD_TRY(td_add_dropout(net, "dropout2", 0.5));
    TD_TRY(td_add_linear(net, "fc1", 9216, 128));
    return td_add_linear(net, "fc2", 128, 10);
}

/* ReLU overwrites: nothing needs a convolution's or a linear layer's own result again. */
static td_tensor *forward(td_module *net, td_tensor *x) {
    x = td_module_forward(td_module_child(net, "conv1"), x);
    td_relu_(x);
    td_move(&x, td_module_forward(td_module_child(net, "conv2"), x));
    td_relu_(x);
    td_move(&x, td_max_pool2d(x, {2, 2}));
    td_move(&x, td_module_forward(td_module_child(net, "dropout1"), x));
    td_move(&x, td_flatten(x, 1));
    td_move(&x, td_module_forward(td_module_child(net, "fc1"), x));
    td_relu_(x);
    td_move(&x, td_module_forward(td_module_child(net, "dropout2"), x));
    td_move(&x, td_module_forward(td_module_child(net, "fc2"), x));
    return td_log_softmax(x, 1);
}

const td_module_class zoo_mnist_cnn = {.name = "MnistCnn", .build = build, .forward = forward};
