/*
 * Optimizers from the inside. A rule is a constant table: what its options are called and where they lie,
 * what slots a parameter has, and how one parameter is updated. Everything else is written once, over that
 * table. Internal to model/optim.
 */
#ifndef TANDEM_MODEL_OPTIM_INTERNAL_H
#define TANDEM_MODEL_OPTIM_INTERNAL_H

#include "model/optim/optimizer.h"

#define OPTIM_MAX_SLOTS   4
#define OPTIM_MAX_OPTIONS 8

typedef union td_optim_options {
    td_sgd_options sgd;
    td_adam_options adam;
} td_optim_options;

typedef struct td_optim_param {
    char *name;
    td_tensor *tensor; /* kept */
    td_tensor
        *slots[OPTIM_MAX_SLOTS]; /* kept; all NULL until the first step, those that are not used for ever */
    bool fresh;                  /* its slots exist, but no step has been made */
} td_optim_param;

typedef struct td_optim_group {
    td_optim_options options;
    td_optim_param *params;
    size_t count;
} td_optim_group;

typedef struct td_optim_option {
    const char *name; /* as in PyTorch's param_groups */
    size_t offset;    /* in td_optim_options */
    int doubles;      /* how many; 0: a bool */
} td_optim_option;

typedef struct td_optim_rule {
    const char *name;
    td_optim_options defaults;
    td_optim_option options[OPTIM_MAX_OPTIONS]; /* ends with a NULL name; the first is "lr" */
    const char *slots[OPTIM_MAX_SLOTS]; /* PyTorch's names; "step" is one f32 number, others are as the
                                           parameter */
    td_status (*check)(const td_optim_options *options);
    /* Does a parameter of such a group have slot number `slot`? */
    bool (*has_slot)(const td_optim_options *options, int slot);
    /* Update one parameter, all of whose slots exist, with `grad`, laid out as the parameter. */
    void (*update)(const td_optim_options *options, td_optim_param *param, const td_tensor *grad);
} td_optim_rule;

struct td_optimizer {
    const td_optim_rule *rule;
    td_optim_group *groups;
    size_t group_count;
};

extern const td_optim_rule optim_sgd, optim_adam, optim_adamw;

/* Open and grow, whatever the rule; `options` NULL: the rule's defaults, or the first group's. */
td_status optim_open(const td_optim_rule *rule, const td_state_dict *parameters, const void *options,
                     size_t option_bytes, td_optimizer **optimizer);
td_status optim_add_group(td_optimizer *optimizer, const td_state_dict *parameters, const void *options,
                          size_t option_bytes);

/* Make the slots that the parameter lacks, filled with zeros. */
td_status optim_make_slots(const td_optim_rule *rule, const td_optim_options *options, td_optim_param *param);

#endif
