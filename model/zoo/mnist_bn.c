/* `mnist-bn`: two convolutions, each with batch normalisation, ReLU and pooling, and one linear layer. */
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "model/zoo/models.h"

static td_status build(td_module *net, const void *options) {
    (void)options;
    TD_TRY(td_add_conv2d(net, "conv1", 1, 16, {3, 3}));
    TD_TRY(td_add_batch_norm2d(net, "bn1", 16));
    TD_TRY(td_add_conv2d(net, "conv2", 16, 32, {3, 3}));
    TD_TRY(td_add_batch_norm2d(net, "bn2", 32));
    return td_add_linear(net, "fc", 800, 10);
}

static td_tensor *convolve(td_module *net, td_tensor *x, const char *conv, const char *norm) {
    x = td_module_forward(td_module_child(net, conv), x);
    td_move(&x, td_module_forward(td_module_child(net, norm), x));
    td_relu_(x);
    td_move(&x, td_max_pool2d(x, {2, 2}));
    return x;
}

static td_tensor *forward(td_module *net, td_tensor *x) {
    x = convolve(net, x, "conv1", "bn1");
    td_move(&x, convolve(net, x, "conv2", "bn2"));
    td_move(&x, td_flatten(x, 1));
    td_move(&x, td_module_forward(td_module_child(net, "fc"), x));
    return td_log_softmax(x, 1);
}

const td_module_class zoo_mnist_bn = {.name = "MnistBn", .build = build, .forward = forward};
