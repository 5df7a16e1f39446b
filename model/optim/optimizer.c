/*
 * What all optimizers share: groups of parameters, slots that come into being at a parameter's first step,
 * and the step itself. A step first makes every slot that is missing, so that a lack of memory leaves all
 * parameters as they were.
 */
#include "base/context.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/ops/ops.h"
#include "model/optim/internal.h"
#include "model/tensor/internal.h"

#include <string.h>

/* --- life ------------------------------------------------------------------------------------------- */

static void close_group(td_optim_group *group) {
    for (size_t i = 0; i < group->count; i++) {
        td_optim_param *param = &group->params[i];
        td_free(param->name);
        td_release(&param->tensor);
        for (int slot = 0; slot < OPTIM_MAX_SLOTS; slot++) td_release(&param->slots[slot]);
    }
    td_free(group->params);
}

void td_optimizer_close(td_optimizer **optimizer) {
    td_optimizer *closed = *optimizer;
    if (!closed) return;
    if (closed->stepper) closed->stepper->closed(closed->stepper_cookie);
    for (size_t i = 0; i < closed->group_count; i++) close_group(&closed->groups[i]);
    td_free(closed->groups);
    td_free(closed);
    *optimizer = NULL;
}

td_status optim_open(const td_optim_rule *rule, const td_state_dict *parameters, const void *options,
                     size_t option_bytes, td_optimizer **optimizer) {
    td_optimizer *opened = td_calloc(1, sizeof *opened);
    if (!opened) return TD_ERR_MEMORY;
    opened->rule = rule;
    td_status status = optim_add_group(opened, parameters, options, option_bytes);
    if (status < 0) {
        td_optimizer_close(&opened);
        return status;
    }
    *optimizer = opened;
    return TD_OK;
}

/* --- groups ----------------------------------------------------------------------------------------- */

static bool is_known(const td_optimizer *optimizer, const td_tensor *x) {
    for (size_t g = 0; g < optimizer->group_count; g++)
        for (size_t i = 0; i < optimizer->groups[g].count; i++)
            if (optimizer->groups[g].params[i].tensor == x) return true;
    return false;
}

static td_status check_parameters(const td_optimizer *optimizer, const td_state_dict *parameters) {
    const char *rule = optimizer->rule->name;
    if (!parameters->count) return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: there are no parameters", rule);
    for (size_t i = 0; i < parameters->count; i++) {
        const char *name = parameters->at[i].name;
        const td_tensor *x = parameters->at[i].tensor;
        td_dtype dtype = td_tensor_dtype(x);
        if (!td_tensor_is_leaf(x))
            return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: '%s' is the result of %s and no leaf", rule,
                           name, td_tensor_grad_fn(x));
        if (dtype != TD_DTYPE_F32 && dtype != TD_DTYPE_F64)
            return td_fail(TD_ERR_ARG, 0, "model/optim",
                           "%s: '%s' is of dtype %s; f32 and f64 can be updated", rule, name,
                           td_dtype_name(dtype));
        if (!td_tensor_is_dense(x))
            return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: '%s' has gaps in memory", rule, name);
        bool repeated = is_known(optimizer, x);
        for (size_t j = 0; j < i; j++) repeated |= parameters->at[j].tensor == x;
        if (repeated) return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: '%s' appears twice", rule, name);
    }
    return TD_OK;
}

static td_status fill_group(td_optim_group *group, const td_state_dict *parameters) {
    group->params = td_calloc(parameters->count, sizeof *group->params);
    if (!group->params) return TD_ERR_MEMORY;
    for (size_t i = 0; i < parameters->count; i++) {
        char *name = td_strdup(parameters->at[i].name);
        if (!name) return TD_ERR_MEMORY;
        group->params[i].name = name;
        group->params[i].tensor = td_keep(parameters->at[i].tensor);
        group->count = i + 1;
    }
    return TD_OK;
}

td_status optim_add_group(td_optimizer *optimizer, const td_state_dict *parameters, const void *options,
                          size_t option_bytes) {
    td_optim_group group = {.options = optimizer->group_count ? optimizer->groups[0].options
                                                              : optimizer->rule->defaults};
    if (options) memcpy(&group.options, options, option_bytes);
    TD_TRY(optimizer->rule->check(&group.options));
    TD_TRY(check_parameters(optimizer, parameters));
    td_optim_group *grown = td_realloc(optimizer->groups, optimizer->group_count + 1, sizeof *grown);
    if (!grown) return TD_ERR_MEMORY;
    optimizer->groups = grown;
    td_status status = fill_group(&group, parameters);
    if (status < 0) {
        close_group(&group);
        return status;
    }
    grown[optimizer->group_count++] = group;
    return TD_OK;
}

/* --- step ------------------------------------------------------------------------------------------- */

bool optim_is_step(const td_optim_rule *rule, int slot) { return !strcmp(rule->slots[slot], "step"); }

static td_tensor *new_slot(const char *name, td_tensor *like) {
    td_tensor *slot = strcmp(name, "step") ? td_zeros_like(like) : td_zeros((td_ints){0});
    return slot ? td_keep(slot) : NULL;
}

td_status optim_make_slots(const td_optim_rule *rule, const td_optim_options *options,
                           td_optim_param *param) {
    td_scope *scope = td_scope_open(td_context_current());
    td_no_grad_begin();
    bool made = false;
    for (int slot = 0; slot < OPTIM_MAX_SLOTS && rule->slots[slot]; slot++) {
        if (param->slots[slot] || !rule->has_slot(options, slot)) continue;
        param->slots[slot] = new_slot(rule->slots[slot], param->tensor);
        made = true;
    }
    td_no_grad_end();
    if (made) param->fresh = true;
    return td_scope_close(scope);
}

td_tensor *optim_matching_gradient(const td_optim_param *param) {
    td_tensor *grad = td_tensor_grad(param->tensor);
    td_ints wanted = td_tensor_strides(param->tensor), has = td_tensor_strides(grad);
    if (!memcmp(wanted.at, has.at, (size_t)wanted.count * sizeof *wanted.at)) return grad;
    return td_copy_(td_empty_like(param->tensor), grad);
}

double optim_count_step(const td_optim_rule *rule, td_optim_param *param) {
    for (int slot = 0; slot < OPTIM_MAX_SLOTS && rule->slots[slot]; slot++)
        if (optim_is_step(rule, slot)) return *(float *)td_tensor_data(param->slots[slot]) += 1;
    return 0;
}

/* Update one parameter, all of whose slots exist, with `grad`, laid out as the parameter. */
static void update_whole(const td_optim_rule *rule, const td_optim_options *options, td_optim_param *param,
                         const td_tensor *grad) {
    td_optim_span span = {
        .dtype = td_tensor_dtype(grad),
        .count = td_tensor_count(grad),
        .param = td_tensor_data(param->tensor),
        .grad = td_tensor_data(grad),
        .step = optim_count_step(rule, param),
        .first = param->fresh,
    };
    for (int slot = 0; slot < OPTIM_MAX_SLOTS && rule->slots[slot]; slot++)
        if (param->slots[slot] && !optim_is_step(rule, slot))
            span.slots[slot] = td_tensor_data(param->slots[slot]);
    rule->update(options, &span);
    td_tensor_written(param->tensor);
    param->fresh = false;
}

static void update_group(const td_optim_rule *rule, td_optim_group *group) {
    for (size_t i = 0; i < group->count; i++) {
        td_optim_param *param = &group->params[i];
        if (!td_tensor_grad(param->tensor)) continue;
        td_scope *scope = td_scope_open(td_context_current());
        td_tensor *grad = optim_matching_gradient(param);
        if (grad) update_whole(rule, &group->options, param, grad);
        td_scope_close(scope);
    }
}

td_status optim_step(td_optimizer *optimizer) {
    const td_optim_rule *rule = optimizer->rule;
    for (size_t g = 0; g < optimizer->group_count; g++)
        for (size_t i = 0; i < optimizer->groups[g].count; i++) {
            td_optim_param *param = &optimizer->groups[g].params[i];
            if (td_tensor_grad(param->tensor))
                TD_TRY(optim_make_slots(rule, &optimizer->groups[g].options, param));
        }
    td_scope *scope = td_scope_open(td_context_current());
    td_no_grad_begin();
    td_status status = optimizer->max_norm > 0 ? optim_clip(optimizer) : TD_OK;
    if (status < 0)
        td_scope_fail(status); /* nothing is updated */
    else
        for (size_t g = 0; g < optimizer->group_count; g++) update_group(rule, &optimizer->groups[g]);
    td_no_grad_end();
    return td_scope_close(scope);
}

td_status td_optimizer_step(td_optimizer *optimizer) {
    return optimizer->stepper ? optimizer->stepper->step(optimizer->stepper_cookie) : optim_step(optimizer);
}

void td_optimizer_zero_grad(td_optimizer *optimizer) {
    for (size_t g = 0; g < optimizer->group_count; g++)
        for (size_t i = 0; i < optimizer->groups[g].count; i++)
            td_tensor_zero_grad(optimizer->groups[g].params[i].tensor);
}

/* --- looking ---------------------------------------------------------------------------------------- */

const char *td_optimizer_name(const td_optimizer *optimizer) { return optimizer->rule->name; }

size_t td_optimizer_group_count(const td_optimizer *optimizer) { return optimizer->group_count; }

/* The learning rate is the first option of every rule. */
static double *lr_of(const td_optimizer *optimizer, size_t group) {
    return (double *)((char *)&optimizer->groups[group].options + optimizer->rule->options[0].offset);
}

double td_optimizer_lr(const td_optimizer *optimizer, size_t group) {
    return group < optimizer->group_count ? *lr_of(optimizer, group) : 0;
}

td_status td_optimizer_set_lr(td_optimizer *optimizer, size_t group, double lr) {
    if (group >= optimizer->group_count)
        return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: group %zu of %zu", optimizer->rule->name, group,
                       optimizer->group_count);
    if (!(lr >= 0))
        return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: a learning rate of %g; it is 0 or more",
                       optimizer->rule->name, lr);
    *lr_of(optimizer, group) = lr;
    return TD_OK;
}
