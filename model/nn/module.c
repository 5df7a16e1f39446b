/*
 * The tree of modules. A module owns its children and keeps its tensors; each of the three is a short list
 * searched by name, in order of adding, which is also the order of PyTorch's dicts. Walks over the tree build
 * dotted names in one growing prefix.
 */
#include "model/nn/module.h"

#include "base/context.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/tensor/scope.h"
#include "model/tensor/tensor.h"

#include <stdio.h>
#include <string.h>

typedef struct td_child {
    char *name;
    td_module *module;
} td_child;

struct td_module {
    const td_module_class *class_;
    td_child *children;
    size_t child_count;
    td_state_dict parameters, buffers; /* with their names within this module */
    bool training;
    void *fields;
};

/* --- life ------------------------------------------------------------------------------------------- */

td_status td_module_open(const td_module_class *class_, const void *options, td_module **module) {
    if (!td_context_current())
        return td_fail(TD_ERR_STATE, 0, "model/nn", "opening a %s: no context is current", class_->name);
    td_module *opened = td_calloc(1, sizeof *opened);
    if (!opened) return TD_ERR_MEMORY;
    opened->class_ = class_;
    opened->training = true;
    td_status status = TD_OK;
    if (class_->fields && !(opened->fields = td_calloc(1, class_->fields))) status = TD_ERR_MEMORY;
    if (status == TD_OK && class_->build) status = class_->build(opened, options);
    if (status < 0) {
        td_module_close(&opened);
        return status;
    }
    *module = opened;
    return TD_OK;
}

void td_module_close(td_module **module) {
    td_module *closed = *module;
    if (!closed) return;
    for (size_t i = 0; i < closed->child_count; i++) {
        td_module_close(&closed->children[i].module);
        td_free(closed->children[i].name);
    }
    td_free(closed->children);
    td_state_dict_clear(&closed->parameters);
    td_state_dict_clear(&closed->buffers);
    td_free(closed->fields);
    td_free(closed);
    *module = NULL;
}

td_tensor *td_module_forward(td_module *module, td_tensor *x) {
    if (!module) return td_scope_fail(td_fail(TD_ERR_ARG, 0, "model/nn", "forward: there is no such module"));
    td_scope *scope = td_scope_open(td_context_current());
    td_tensor *y = td_scope_return(scope, module->class_->forward(module, x));
    return td_scope_close(scope) == TD_OK ? y : NULL;
}

/* --- building --------------------------------------------------------------------------------------- */

static td_status check_name(const td_module *module, const char *name) {
    const char *kind = module->class_->name;
    if (!*name) return td_fail(TD_ERR_ARG, 0, "model/nn", "%s: a name is empty", kind);
    if (strchr(name, '.')) return td_fail(TD_ERR_ARG, 0, "model/nn", "%s: '%s' has a dot", kind, name);
    if (td_module_child(module, name) || td_state_dict_find(&module->parameters, name) ||
        td_state_dict_find(&module->buffers, name))
        return td_fail(TD_ERR_ARG, 0, "model/nn", "%s: the name '%s' is taken", kind, name);
    return TD_OK;
}

static td_status append_child(td_module *parent, const char *name, td_module *child) {
    TD_TRY(check_name(parent, name));
    char *copy = td_strdup(name);
    if (!copy) return TD_ERR_MEMORY;
    td_child *grown = td_realloc(parent->children, parent->child_count + 1, sizeof *grown);
    if (!grown) {
        td_free(copy);
        return TD_ERR_MEMORY;
    }
    parent->children = grown;
    grown[parent->child_count++] = (td_child){.name = copy, .module = child};
    return TD_OK;
}

td_status td_module_add_child(td_module *parent, const char *name, td_module **child) {
    td_status status = append_child(parent, name, *child);
    if (status < 0) td_module_close(child);
    *child = NULL;
    return status;
}

td_status td_module_add(td_module *parent, const char *name, const td_module_class *class_,
                        const void *options) {
    td_module *child;
    TD_TRY(td_module_open(class_, options, &child));
    return td_module_add_child(parent, name, &child);
}

/* A tensor that is NULL comes from an operation that failed, whose status is handed on. */
static td_status check_tensor(const td_module *module, const char *name, const td_tensor *x) {
    TD_TRY(check_name(module, name));
    if (x) return TD_OK;
    td_status status = td_error_last()->status;
    if (status < 0) return status;
    return td_fail(TD_ERR_ARG, 0, "model/nn", "%s: there is no tensor for '%s'", module->class_->name, name);
}

td_status td_module_add_parameter(td_module *module, const char *name, td_tensor *x) {
    TD_TRY(check_tensor(module, name, x));
    TD_TRY(td_tensor_set_requires_grad(x, true));
    return td_state_dict_add(&module->parameters, name, x);
}

td_status td_module_add_buffer(td_module *module, const char *name, td_tensor *x) {
    TD_TRY(check_tensor(module, name, x));
    if (td_tensor_requires_grad(x))
        return td_fail(TD_ERR_ARG, 0, "model/nn", "%s: the buffer '%s' requires grad", module->class_->name,
                       name);
    return td_state_dict_add(&module->buffers, name, x);
}

/* --- looking ---------------------------------------------------------------------------------------- */

void *td_module_fields(td_module *module) { return module->fields; }

const char *td_module_class_name(const td_module *module) { return module->class_->name; }

td_module *td_module_child(const td_module *module, const char *name) {
    for (size_t i = 0; i < module->child_count; i++)
        if (!strcmp(module->children[i].name, name)) return module->children[i].module;
    return NULL;
}

td_module *td_module_child_at(const td_module *module, size_t index) {
    return index < module->child_count ? module->children[index].module : NULL;
}

size_t td_module_child_count(const td_module *module) { return module->child_count; }

td_tensor *td_module_parameter(const td_module *module, const char *name) {
    return td_state_dict_find(&module->parameters, name);
}

td_tensor *td_module_buffer(const td_module *module, const char *name) {
    return td_state_dict_find(&module->buffers, name);
}

/* --- walking ---------------------------------------------------------------------------------------- */

enum { WALK_PARAMETERS = 1, WALK_BUFFERS = 2, WALK_SHARED = 4 }; /* SHARED: a tensor under every name */

#define NAME_BYTES 512

static bool is_listed(const td_state_dict *dict, size_t first, const td_tensor *x) {
    for (size_t i = first; i < dict->count; i++)
        if (dict->at[i].tensor == x) return true;
    return false;
}

/* Append `own`'s entries with the first `length` characters of `prefix` before their names; those that `dict`
 * has from `first` on are left out unless shared ones are wanted. */
static td_status append_entries(const td_state_dict *own, char prefix[NAME_BYTES], size_t length, int wanted,
                                size_t first, td_state_dict *dict) {
    for (size_t i = 0; i < own->count; i++) {
        if (!(wanted & WALK_SHARED) && is_listed(dict, first, own->at[i].tensor)) continue;
        int written = snprintf(prefix + length, NAME_BYTES - length, "%s", own->at[i].name);
        if ((size_t)written >= NAME_BYTES - length)
            return td_fail(TD_ERR_ARG, 0, "model/nn", "the name of '%s' is longer than %d characters",
                           own->at[i].name, NAME_BYTES - 1);
        TD_TRY(td_state_dict_add(dict, prefix, own->at[i].tensor));
    }
    return TD_OK;
}

static td_status walk(const td_module *module, char prefix[NAME_BYTES], size_t length, int wanted,
                      size_t first, td_state_dict *dict) {
    if (wanted & WALK_PARAMETERS)
        TD_TRY(append_entries(&module->parameters, prefix, length, wanted, first, dict));
    if (wanted & WALK_BUFFERS) TD_TRY(append_entries(&module->buffers, prefix, length, wanted, first, dict));
    for (size_t i = 0; i < module->child_count; i++) {
        const td_child *child = &module->children[i];
        int written = snprintf(prefix + length, NAME_BYTES - length, "%s.", child->name);
        if ((size_t)written >= NAME_BYTES - length)
            return td_fail(TD_ERR_ARG, 0, "model/nn", "the name of '%s' is longer than %d characters",
                           child->name, NAME_BYTES - 1);
        TD_TRY(walk(child->module, prefix, length + (size_t)written, wanted, first, dict));
    }
    return TD_OK;
}

static td_status collect(const td_module *module, int wanted, td_state_dict *dict) {
    char prefix[NAME_BYTES];
    return walk(module, prefix, 0, wanted, dict->count, dict);
}

td_status td_module_parameters(const td_module *module, td_state_dict *dict) {
    return collect(module, WALK_PARAMETERS, dict);
}

td_status td_module_buffers(const td_module *module, td_state_dict *dict) {
    return collect(module, WALK_BUFFERS, dict);
}

td_status td_module_state(const td_module *module, td_state_dict *dict) {
    return collect(module, WALK_PARAMETERS | WALK_BUFFERS | WALK_SHARED, dict);
}

td_status td_module_load_state(td_module *module, const td_state_dict *dict) {
    td_state_dict own = {0};
    td_status status = td_module_state(module, &own);
    if (status == TD_OK) status = td_state_dict_copy(&own, dict, module->class_->name);
    td_state_dict_clear(&own);
    return status;
}

td_status td_module_parameter_count(const td_module *module, int64_t *count) {
    td_state_dict parameters = {0};
    td_status status = td_module_parameters(module, &parameters);
    int64_t sum = 0;
    for (size_t i = 0; i < parameters.count; i++) sum += td_tensor_count(parameters.at[i].tensor);
    td_state_dict_clear(&parameters);
    if (status == TD_OK) *count = sum;
    return status;
}

/* --- modes ------------------------------------------------------------------------------------------ */

static void set_training(td_module *module, bool training) {
    module->training = training;
    for (size_t i = 0; i < module->child_count; i++) set_training(module->children[i].module, training);
}

void td_module_train(td_module *module) { set_training(module, true); }

void td_module_eval(td_module *module) { set_training(module, false); }

bool td_module_is_training(const td_module *module) { return module->training; }

void td_module_zero_grad(td_module *module) {
    for (size_t i = 0; i < module->parameters.count; i++)
        td_tensor_zero_grad(module->parameters.at[i].tensor);
    for (size_t i = 0; i < module->child_count; i++) td_module_zero_grad(module->children[i].module);
}
