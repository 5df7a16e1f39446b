/* Preloaded into `tandem train`: on rank 1 one weight changes after the third optimizer step, behind everybody's
 * back. */
#include "model/nn/state_dict.h"
#include "model/optim/optimizer.h"
#include "model/tensor/tensor.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* The optimizer's first parameter is the one that it was opened over. */
static td_tensor *victim;

typedef td_status open_function(const td_state_dict *, const td_sgd_options *, td_optimizer **);
typedef td_status step_function(td_optimizer *);

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

td_status td_sgd_open(const td_state_dict *parameters, const td_sgd_options *options,
                      td_optimizer **optimizer) {
    open_function *call;
    *(void **)&call = next("td_sgd_open");
    victim = parameters->at[1].tensor;
    return call(parameters, options, optimizer);
}

td_status td_optimizer_step(td_optimizer *optimizer) {
    static int steps;
    step_function *call;
    *(void **)&call = next("td_optimizer_step");
    td_status status = call(optimizer);
    const char *rank = getenv("RANK");
    if (++steps == 3 && rank && strcmp(rank, "1") == 0) ((float *)td_tensor_data(victim))[2] += 1e-6f;
    return status;
}
