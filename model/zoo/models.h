/* The classes behind the registry, one file each. Internal to model/zoo. */
#ifndef TANDEM_MODEL_ZOO_MODELS_H
#define TANDEM_MODEL_ZOO_MODELS_H

#include "model/nn/module.h"

extern const td_module_class zoo_mlp, zoo_mlp_large, zoo_mnist_bn, zoo_mnist_cnn;

#endif
