/*
 * The models that come with Tandem, by name. Central object: the registry, a constant table of td_zoo_model,
 * whose rows tell what a model takes and gives, so that a program needs no special case for any of them.
 * Plain constants; any thread may call but td_zoo_open, which follows model/nn/module.h.
 */
#ifndef TANDEM_MODEL_ZOO_ZOO_H
#define TANDEM_MODEL_ZOO_ZOO_H

#include "model/nn/module.h"

TD_BEGIN_DECLS

typedef struct td_zoo_model {
    const char *name;              /* "mnist-cnn" */
    const char *summary;           /* one line */
    const td_module_class *class_; /* takes no options */
    int input_dims;                /* sizes of one sample, without the batch dimension */
    int64_t input[4];
    int64_t classes; /* the result is (N, classes), log-probabilities: td_nll_loss is the loss */
} td_zoo_model;

/* The whole table, *lent* for ever. */
TD_API const td_zoo_model *td_zoo_models(size_t *count);

/* The row called `name`, *lent* for ever. TD_ERR_ARG with the nearest name, or all names. */
TD_API td_status td_zoo_find(const char *name, const td_zoo_model **model);

/* Build one with fresh weights from the context's default generator. *Yours*: td_module_close. */
TD_API td_status td_zoo_open(const char *name, td_module **module);

TD_END_DECLS

#endif
