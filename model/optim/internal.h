/*
 * Optimizers from the inside. A rule is a constant table: what its options are called and where they lie,
 * what slots a parameter has, and how one parameter is updated. Everything else is written once, over that
 * table. Internal to model/optim.
 */
#ifndef TANDEM_MODEL_OPTIM_INTERNAL_H
#define TANDEM_MODEL_OPTIM_INTERNAL_H

#include "base/dtype.h"
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

/* Some elements of a parameter, in the order of memory, and what belongs to them. */
typedef struct td_optim_span {
    td_dtype dtype;
    int64_t count;
    void *param;
    const void *grad;
    void *slots[OPTIM_MAX_SLOTS]; /* NULL: the parameter lacks it, or it is "step" */
    double step; /* the parameter's steps, this one included; 0 where the rule does not count */
    bool first;  /* nothing has been written to the slots yet */
} td_optim_span;

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
    /* Update these elements; each by itself, so a parameter may be cut anywhere. */
    void (*update)(const td_optim_options *options, const td_optim_span *span);
} td_optim_rule;

/* Whoever makes an optimizer's steps in its place: the ranks of a job together. */
typedef struct td_optim_stepper {
    td_status (*step)(void *cookie);
    void (*closed)(void *cookie); /* the optimizer is going */
    bool sharded;                 /* slots other than "step" are not in the parameters' own places */
} td_optim_stepper;

struct td_optimizer {
    const td_optim_rule *rule;
    td_optim_group *groups;
    size_t group_count;
    const td_optim_stepper *stepper; /* NULL: this rank alone */
    void *stepper_cookie;
    double max_norm; /* 0: gradients are not clipped */
    double norm;     /* of the last step that clipped */
    uint64_t loads;  /* how often td_optimizer_load_state has replaced the slots */
};

extern const td_optim_rule optim_sgd, optim_adam, optim_adamw;

/* Open and grow, whatever the rule; `options` NULL: the rule's defaults, or the first group's. */
td_status optim_open(const td_optim_rule *rule, const td_state_dict *parameters, const void *options,
                     size_t option_bytes, td_optimizer **optimizer);
td_status optim_add_group(td_optimizer *optimizer, const td_state_dict *parameters, const void *options,
                          size_t option_bytes);

/* Make the slots that the parameter lacks, filled with zeros. */
td_status optim_make_slots(const td_optim_rule *rule, const td_optim_options *options, td_optim_param *param);

/* Is slot number `slot` of the rule the number of steps? */
bool optim_is_step(const td_optim_rule *rule, int slot);
/* Count a parameter's step: what its spans have as `step`. */
double optim_count_step(const td_optim_rule *rule, td_optim_param *param);

/* td_optimizer_state, from tensors that are looked up; NULL: the parameter has no such slot. */
typedef td_tensor *td_optim_lookup(const td_optim_param *param, int slot, void *cookie);
td_status optim_state(const td_optimizer *optimizer, td_optim_lookup *look_up, void *cookie,
                      td_state_dict *dict);

/* What gradients of this norm are multiplied by. */
double optim_clip_factor(const td_optimizer *optimizer, double norm);
/* clip.c: find the norm of all gradients, and scale them. */
td_status optim_clip(td_optimizer *optimizer);

/* The gradient, laid out as the parameter is: itself, or a copy in the current scope. */
td_tensor *optim_matching_gradient(const td_optim_param *param);

/* The step of this rank alone, whatever the stepper. */
td_status optim_step(td_optimizer *optimizer);

#endif
