/* The registry. A new model is a file with its class, its name in models.h and a row here. */
#include "model/zoo/zoo.h"

#include "base/options.h"
#include "model/zoo/models.h"

#include <stdio.h>
#include <string.h>

static const td_zoo_model models[] = {
    {.name = "mlp",
     .summary = "two linear layers, 784-256-10",
     .class_ = &zoo_mlp,
     .input_dims = 3,
     .input = {1, 28, 28},
     .classes = 10},
    {.name = "mlp-large",
     .summary = "three linear layers, 784-1024-1024-10",
     .class_ = &zoo_mlp_large,
     .input_dims = 3,
     .input = {1, 28, 28},
     .classes = 10},
    {.name = "mnist-bn",
     .summary = "two convolutions with batch normalisation, one linear layer",
     .class_ = &zoo_mnist_bn,
     .input_dims = 3,
     .input = {1, 28, 28},
     .classes = 10},
    {.name = "mnist-cnn",
     .summary = "the network of PyTorch's MNIST example: two convolutions, two linear layers, dropout",
     .class_ = &zoo_mnist_cnn,
     .input_dims = 3,
     .input = {1, 28, 28},
     .classes = 10},
};
enum { MODELS = sizeof models / sizeof *models };

const td_zoo_model *td_zoo_models(size_t *count) {
    *count = MODELS;
    return models;
}

td_status td_zoo_find(const char *name, const td_zoo_model **model) {
    const char *known[MODELS + 1] = {NULL};
    char all[256] = "";
    for (size_t i = 0; i < MODELS; i++) {
        if (!strcmp(models[i].name, name)) {
            *model = &models[i];
            return TD_OK;
        }
        known[i] = models[i].name;
        size_t length = strlen(all);
        snprintf(all + length, sizeof all - length, "%s%s", i ? ", " : "", models[i].name);
    }
    const char *nearest = td_nearest_name(name, known);
    if (nearest)
        return td_fail(TD_ERR_ARG, 0, "model/zoo", "there is no model '%s'; did you mean %s?", name, nearest);
    return td_fail(TD_ERR_ARG, 0, "model/zoo", "there is no model '%s'; there are: %s", name, all);
}

td_status td_zoo_open(const char *name, td_module **module) {
    const td_zoo_model *model;
    TD_TRY(td_zoo_find(name, &model));
    return td_module_open(model->class_, NULL, module);
}
