/*
 * SGD, Adam and AdamW: their options, as torch/optim/sgd.py and adam.py have them. The arithmetic is a
 * kernel's (model/cpu/optimizer_kernels.h).
 */
#include "model/cpu/optimizer_kernels.h"
#include "model/optim/internal.h"

static td_status refuse(const char *rule, const char *what, double value, const char *range) {
    return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: %s of %g; it is %s", rule, what, value, range);
}

/* --- SGD -------------------------------------------------------------------------------------------- */

enum { SGD_MOMENTUM_BUFFER };

static td_status check_sgd(const td_optim_options *options) {
    const td_sgd_options *o = &options->sgd;
    if (!(o->lr >= 0)) return refuse("sgd", "a learning rate", o->lr, "0 or more");
    if (!(o->momentum >= 0)) return refuse("sgd", "a momentum", o->momentum, "0 or more");
    if (!(o->weight_decay >= 0)) return refuse("sgd", "a weight decay", o->weight_decay, "0 or more");
    if (o->nesterov && (o->momentum <= 0 || o->dampening != 0))
        return td_fail(TD_ERR_ARG, 0, "model/optim",
                       "sgd: nesterov needs a momentum above 0 and no dampening; they are %g and %g",
                       o->momentum, o->dampening);
    return TD_OK;
}

static bool has_sgd_slot(const td_optim_options *options, int slot) {
    (void)slot;
    return options->sgd.momentum != 0;
}

static void update_sgd(const td_optim_options *options, const td_optim_span *span) {
    const td_sgd_options *o = &options->sgd;
    const cpu_sgd_rule rule = {
        .lr = o->lr,
        .momentum = o->momentum,
        .dampening = o->dampening,
        .weight_decay = o->weight_decay,
        .nesterov = o->nesterov,
        .maximize = o->maximize,
        .first = span->first,
    };
    void *buffer = o->momentum != 0 ? span->slots[SGD_MOMENTUM_BUFFER] : NULL;
    cpu_sgd_update(&rule, span->dtype, span->param, span->grad, buffer, span->count);
}

const td_optim_rule optim_sgd = {
    .name = "sgd",
    .defaults.sgd = {TD_SGD_DEFAULTS},
    .options = {{"lr", offsetof(td_optim_options, sgd.lr), 1},
                {"momentum", offsetof(td_optim_options, sgd.momentum), 1},
                {"dampening", offsetof(td_optim_options, sgd.dampening), 1},
                {"weight_decay", offsetof(td_optim_options, sgd.weight_decay), 1},
                {"nesterov", offsetof(td_optim_options, sgd.nesterov), 0},
                {"maximize", offsetof(td_optim_options, sgd.maximize), 0}},
    .slots = {[SGD_MOMENTUM_BUFFER] = "momentum_buffer"},
    .check = check_sgd,
    .has_slot = has_sgd_slot,
    .update = update_sgd,
};

td_status td_sgd_open(const td_state_dict *parameters, const td_sgd_options *options,
                      td_optimizer **optimizer) {
    return optim_open(&optim_sgd, parameters, options, sizeof *options, optimizer);
}

td_status td_sgd_add_group(td_optimizer *optimizer, const td_state_dict *parameters,
                           const td_sgd_options *options) {
    if (optimizer->rule != &optim_sgd)
        return td_fail(TD_ERR_ARG, 0, "model/optim", "sgd: a group for an optimizer that is %s",
                       optimizer->rule->name);
    return optim_add_group(optimizer, parameters, options, sizeof *options);
}

/* --- Adam and AdamW --------------------------------------------------------------------------------- */

enum { ADAM_STEP, ADAM_EXP_AVG, ADAM_EXP_AVG_SQ, ADAM_MAX_EXP_AVG_SQ };

static td_status check_adam(const td_optim_options *options) {
    const td_adam_options *o = &options->adam;
    if (!(o->lr >= 0)) return refuse("adam", "a learning rate", o->lr, "0 or more");
    if (!(o->eps >= 0)) return refuse("adam", "an eps", o->eps, "0 or more");
    for (int i = 0; i < 2; i++)
        if (!(o->betas[i] >= 0 && o->betas[i] < 1))
            return refuse("adam", "a beta", o->betas[i], "0 or more and below 1");
    if (!(o->weight_decay >= 0)) return refuse("adam", "a weight decay", o->weight_decay, "0 or more");
    return TD_OK;
}

static bool has_adam_slot(const td_optim_options *options, int slot) {
    return slot != ADAM_MAX_EXP_AVG_SQ || options->adam.amsgrad;
}

static void update_with(const td_optim_options *options, const td_optim_span *span, bool decoupled) {
    const td_adam_options *o = &options->adam;
    const cpu_adam_rule rule = {
        .lr = o->lr,
        .beta1 = o->betas[0],
        .beta2 = o->betas[1],
        .eps = o->eps,
        .weight_decay = o->weight_decay,
        .decoupled = decoupled,
        .maximize = o->maximize,
        .step = span->step,
    };
    void *largest = o->amsgrad ? span->slots[ADAM_MAX_EXP_AVG_SQ] : NULL;
    cpu_adam_update(&rule, span->dtype, span->param, span->grad, span->slots[ADAM_EXP_AVG],
                    span->slots[ADAM_EXP_AVG_SQ], largest, span->count);
}

static void update_adam(const td_optim_options *options, const td_optim_span *span) {
    update_with(options, span, false);
}

static void update_adamw(const td_optim_options *options, const td_optim_span *span) {
    update_with(options, span, true);
}

/* What the two share. */
#define ADAM_TABLES                                                                                          \
    .options = {{"lr", offsetof(td_optim_options, adam.lr), 1},                                              \
                {"betas", offsetof(td_optim_options, adam.betas), 2},                                        \
                {"eps", offsetof(td_optim_options, adam.eps), 1},                                            \
                {"weight_decay", offsetof(td_optim_options, adam.weight_decay), 1},                          \
                {"amsgrad", offsetof(td_optim_options, adam.amsgrad), 0},                                    \
                {"maximize", offsetof(td_optim_options, adam.maximize), 0}},                                 \
    .slots = {[ADAM_STEP] = "step",                                                                          \
              [ADAM_EXP_AVG] = "exp_avg",                                                                    \
              [ADAM_EXP_AVG_SQ] = "exp_avg_sq",                                                              \
              [ADAM_MAX_EXP_AVG_SQ] = "max_exp_avg_sq"},                                                     \
    .check = check_adam, .has_slot = has_adam_slot

const td_optim_rule optim_adam = {
    .name = "adam", .defaults.adam = {TD_ADAM_DEFAULTS}, ADAM_TABLES, .update = update_adam};

const td_optim_rule optim_adamw = {
    .name = "adamw", .defaults.adam = {TD_ADAMW_DEFAULTS}, ADAM_TABLES, .update = update_adamw};

td_status td_adam_open(const td_state_dict *parameters, const td_adam_options *options,
                       td_optimizer **optimizer) {
    return optim_open(&optim_adam, parameters, options, sizeof *options, optimizer);
}

td_status td_adamw_open(const td_state_dict *parameters, const td_adam_options *options,
                        td_optimizer **optimizer) {
    return optim_open(&optim_adamw, parameters, options, sizeof *options, optimizer);
}

td_status td_adam_add_group(td_optimizer *optimizer, const td_state_dict *parameters,
                            const td_adam_options *options) {
    if (optimizer->rule != &optim_adam && optimizer->rule != &optim_adamw)
        return td_fail(TD_ERR_ARG, 0, "model/optim", "adam: a group for an optimizer that is %s",
                       optimizer->rule->name);
    return optim_add_group(optimizer, parameters, options, sizeof *options);
}
