/*
 * An optimizer's state as named tensors: "state.<parameter>.<slot>" and "param_groups.<number>.<option>".
 * Loading makes all new slots first and exchanges them at the end, so that a refused dict has changed
 * nothing.
 */
#include "base/context.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/ops/ops.h"
#include "model/optim/internal.h"
#include "model/tensor/scope.h"
#include "model/tensor/tensor.h"

#include <stdio.h>
#include <string.h>

#define NAME_BYTES 600

static void name_slot(const td_optim_rule *rule, const td_optim_param *param, int slot,
                      char name[NAME_BYTES]) {
    snprintf(name, NAME_BYTES, "state.%s.%s", param->name, rule->slots[slot]);
}

static void name_option(size_t group, const td_optim_option *option, char name[NAME_BYTES]) {
    snprintf(name, NAME_BYTES, "param_groups.%zu.%s", group, option->name);
}

/* --- giving ----------------------------------------------------------------------------------------- */

static td_status add_option(const td_optim_group *group, size_t number, const td_optim_option *option,
                            td_state_dict *dict) {
    const char *place = (const char *)&group->options + option->offset;
    double values[2] = {0};
    if (option->doubles)
        memcpy(values, place, (size_t)option->doubles * sizeof *values);
    else
        values[0] = *(const bool *)place;
    td_ints sizes = option->doubles == 2 ? TD_INTS(2) : (td_ints){0};
    char name[NAME_BYTES];
    name_option(number, option, name);
    td_scope *scope = td_scope_open(td_context_current());
    td_tensor *x = td_tensor_from(values, TD_DTYPE_F64, sizes);
    td_status status = x ? td_state_dict_add(dict, name, x) : TD_OK;
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

static td_tensor *own_slot(const td_optim_param *param, int slot, void *cookie) {
    (void)cookie;
    return param->fresh ? NULL : param->slots[slot];
}

td_status td_optimizer_state(const td_optimizer *optimizer, td_state_dict *dict) {
    const td_optim_rule *rule = optimizer->rule;
    if (optimizer->stepper && optimizer->stepper->sharded)
        return td_fail(TD_ERR_STATE, 0, "model/optim",
                       "%s: its state is cut among the ranks; td_ddp_optimizer_state brings it together",
                       rule->name);
    return optim_state(optimizer, own_slot, NULL, dict);
}

td_status optim_state(const td_optimizer *optimizer, td_optim_lookup *look_up, void *cookie,
                      td_state_dict *dict) {
    const td_optim_rule *rule = optimizer->rule;
    for (size_t g = 0; g < optimizer->group_count; g++) {
        const td_optim_group *group = &optimizer->groups[g];
        for (size_t i = 0; i < group->count; i++)
            for (int slot = 0; slot < OPTIM_MAX_SLOTS && rule->slots[slot]; slot++) {
                td_tensor *x = look_up(&group->params[i], slot, cookie);
                if (!x) continue;
                char name[NAME_BYTES];
                name_slot(rule, &group->params[i], slot, name);
                TD_TRY(td_state_dict_add(dict, name, x));
            }
    }
    for (size_t g = 0; g < optimizer->group_count; g++)
        for (const td_optim_option *option = rule->options; option->name; option++)
            TD_TRY(add_option(&optimizer->groups[g], g, option, dict));
    return TD_OK;
}

/* --- taking ----------------------------------------------------------------------------------------- */

/* What loading works out before it changes anything. */
typedef struct td_loading {
    const td_optimizer *optimizer;
    const td_state_dict *dict;
    td_optim_options *options; /* per group */
    td_optim_param *fresh;     /* per parameter, over all groups: name and tensor lent, new slots kept */
    size_t param_count;
    bool *used; /* per entry of the dict: it was wanted */
} td_loading;

/* The entry called `name`, marked as used; NULL if there is none. */
static td_tensor *take(td_loading *loading, const char *name) {
    for (size_t i = 0; i < loading->dict->count; i++)
        if (!strcmp(loading->dict->at[i].name, name)) {
            loading->used[i] = true;
            return loading->dict->at[i].tensor;
        }
    return NULL;
}

static td_status load_option(td_loading *loading, size_t group, const td_optim_option *option) {
    char name[NAME_BYTES];
    name_option(group, option, name);
    const td_tensor *x = take(loading, name);
    size_t count = option->doubles ? (size_t)option->doubles : 1;
    if (!x)
        return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: '%s' is missing", loading->optimizer->rule->name,
                       name);
    if (td_tensor_dtype(x) != TD_DTYPE_F64 || (size_t)td_tensor_count(x) != count) {
        char has[80];
        return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: '%s' is %s, not %zu numbers of f64",
                       loading->optimizer->rule->name, name, td_tensor_describe(x, has, sizeof has), count);
    }
    double values[2];
    TD_TRY(td_tensor_copy_to(x, values, count * sizeof *values));
    char *place = (char *)&loading->options[group] + option->offset;
    if (option->doubles)
        memcpy(place, values, count * sizeof *values);
    else
        *(bool *)place = values[0] != 0;
    return TD_OK;
}

static bool same_sizes(const td_tensor *a, const td_tensor *b) {
    td_ints mine = td_tensor_sizes(a), theirs = td_tensor_sizes(b);
    return td_tensor_dtype(a) == td_tensor_dtype(b) && mine.count == theirs.count &&
           !memcmp(mine.at, theirs.at, (size_t)mine.count * sizeof *mine.at);
}

/* Fill the new slots of one parameter; a parameter has either all of them in the dict or none. */
static td_status load_slots(td_loading *loading, const td_optim_options *options, td_optim_param *fresh) {
    const td_optim_rule *rule = loading->optimizer->rule;
    int wanted = 0, found = 0;
    char name[NAME_BYTES], missing[NAME_BYTES] = "";
    for (int slot = 0; slot < OPTIM_MAX_SLOTS && rule->slots[slot]; slot++) {
        if (!rule->has_slot(options, slot)) continue;
        wanted++;
        name_slot(rule, fresh, slot, name);
        if (td_state_dict_find(loading->dict, name))
            found++;
        else
            memcpy(missing, name, sizeof name);
    }
    if (!found) return TD_OK;
    if (found < wanted)
        return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: '%s' is missing", rule->name, missing);
    TD_TRY(optim_make_slots(rule, options, fresh));
    fresh->fresh = false;
    for (int slot = 0; slot < OPTIM_MAX_SLOTS && rule->slots[slot]; slot++) {
        if (!fresh->slots[slot]) continue;
        name_slot(rule, fresh, slot, name);
        td_tensor *x = take(loading, name);
        if (!same_sizes(x, fresh->slots[slot])) {
            char has[80], is[80];
            return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: '%s' is %s, but %s is wanted", rule->name, name,
                           td_tensor_describe(x, has, sizeof has),
                           td_tensor_describe(fresh->slots[slot], is, sizeof is));
        }
        td_copy_(fresh->slots[slot], x);
    }
    return TD_OK;
}

static td_status load_all(td_loading *loading) {
    const td_optimizer *optimizer = loading->optimizer;
    size_t at = 0;
    for (size_t g = 0; g < optimizer->group_count; g++) {
        const td_optim_group *group = &optimizer->groups[g];
        for (const td_optim_option *option = optimizer->rule->options; option->name; option++)
            TD_TRY(load_option(loading, g, option));
        TD_TRY(optimizer->rule->check(&loading->options[g]));
        for (size_t i = 0; i < group->count; i++, at++) {
            loading->fresh[at] =
                (td_optim_param){.name = group->params[i].name, .tensor = group->params[i].tensor};
            TD_TRY(load_slots(loading, &loading->options[g], &loading->fresh[at]));
        }
    }
    for (size_t i = 0; i < loading->dict->count; i++)
        if (!loading->used[i])
            return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: '%s' belongs to none of its parameters",
                           optimizer->rule->name, loading->dict->at[i].name);
    return TD_OK;
}

static void exchange(td_optimizer *optimizer, td_loading *loading) {
    size_t at = 0;
    optimizer->loads++;
    for (size_t g = 0; g < optimizer->group_count; g++) {
        td_optim_group *group = &optimizer->groups[g];
        group->options = loading->options[g];
        for (size_t i = 0; i < group->count; i++, at++)
            for (int slot = 0; slot < OPTIM_MAX_SLOTS; slot++) {
                td_tensor *old = group->params[i].slots[slot];
                group->params[i].slots[slot] = loading->fresh[at].slots[slot];
                group->params[i].fresh = loading->fresh[at].fresh;
                loading->fresh[at].slots[slot] = old;
            }
    }
}

td_status td_optimizer_load_state(td_optimizer *optimizer, const td_state_dict *dict) {
    td_loading loading = {.optimizer = optimizer, .dict = dict};
    for (size_t g = 0; g < optimizer->group_count; g++) loading.param_count += optimizer->groups[g].count;
    loading.options = td_calloc(optimizer->group_count, sizeof *loading.options);
    loading.fresh = td_calloc(loading.param_count, sizeof *loading.fresh);
    loading.used = td_calloc(dict->count, sizeof *loading.used);
    td_status status = TD_ERR_MEMORY;
    if (loading.options && loading.fresh && loading.used) {
        td_scope *scope = td_scope_open(td_context_current());
        td_no_grad_begin();
        status = load_all(&loading);
        td_no_grad_end();
        td_status closed = td_scope_close(scope);
        if (status == TD_OK) status = closed;
        if (status == TD_OK) exchange(optimizer, &loading);
        for (size_t i = 0; i < loading.param_count; i++)
            for (int slot = 0; slot < OPTIM_MAX_SLOTS; slot++) td_release(&loading.fresh[i].slots[slot]);
    }
    td_free(loading.options);
    td_free(loading.fresh);
    td_free(loading.used);
    return status;
}
