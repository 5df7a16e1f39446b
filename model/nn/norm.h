/*
 * What a batch normalisation layer keeps, and the place where its computation can be taken over: model/parallel
 * puts one there that collects the statistics of all ranks. Internal to model/.
 */
#ifndef TANDEM_MODEL_NN_NORM_H
#define TANDEM_MODEL_NN_NORM_H

#include "model/nn/layers.h"

typedef struct td_norm_layer td_norm_layer;

/* In training: x normalised by statistics of its own choice, and the running ones moved by `momentum`. */
typedef td_tensor *td_norm_forward(td_norm_layer *layer, td_tensor *x, double momentum);

/* The fields of a module of one of the three classes. */
struct td_norm_layer {
    td_nn_batch_norm_options options;
    int least_dims, most_dims;
    td_tensor *weight, *bias, *running_mean, *running_var, *batches; /* *lent* by the module; may be NULL */
    td_norm_forward *forward;                                        /* NULL: td_batch_norm */
    void *cookie;
    double samples; /* what this rank's loss is a mean over, where ranks differ in it; 0: they do not */
};

/* The module's fields if it is a batch normalisation, else NULL. */
td_norm_layer *nn_norm_layer(td_module *module);

#endif
