/* The list of named tensors. Copying checks everything first, so that a refused dict has changed nothing. */
#include "model/nn/state_dict.h"

#include "base/context.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"

#include <string.h>

td_status td_state_dict_add(td_state_dict *dict, const char *name, td_tensor *tensor) {
    if (dict->count == dict->capacity) {
        size_t capacity = dict->capacity ? 2 * dict->capacity : 16;
        td_state_entry *grown = td_realloc(dict->at, capacity, sizeof *grown);
        if (!grown) return TD_ERR_MEMORY;
        dict->at = grown;
        dict->capacity = capacity;
    }
    char *copy = td_strdup(name);
    if (!copy) return TD_ERR_MEMORY;
    dict->at[dict->count++] = (td_state_entry){.name = copy, .tensor = td_keep(tensor)};
    return TD_OK;
}

td_tensor *td_state_dict_find(const td_state_dict *dict, const char *name) {
    for (size_t i = 0; i < dict->count; i++)
        if (!strcmp(dict->at[i].name, name)) return dict->at[i].tensor;
    return NULL;
}

void td_state_dict_clear(td_state_dict *dict) {
    if (!dict) return;
    for (size_t i = 0; i < dict->count; i++) {
        td_free(dict->at[i].name);
        td_release(&dict->at[i].tensor);
    }
    td_free(dict->at);
    *dict = (td_state_dict){0};
}

static bool same_kind(const td_tensor *a, const td_tensor *b) {
    if (td_tensor_dtype(a) != td_tensor_dtype(b) || td_tensor_ndim(a) != td_tensor_ndim(b)) return false;
    for (int i = 0; i < td_tensor_ndim(a); i++)
        if (td_tensor_size(a, i) != td_tensor_size(b, i)) return false;
    return true;
}

static td_status check_entries(const td_state_dict *into, const td_state_dict *from, const char *what) {
    for (size_t i = 0; i < into->count; i++) {
        const char *name = into->at[i].name;
        const td_tensor *mine = into->at[i].tensor, *theirs = td_state_dict_find(from, name);
        if (!theirs) return td_fail(TD_ERR_ARG, 0, "model/nn", "%s: '%s' is missing", what, name);
        if (!same_kind(mine, theirs)) {
            char has[80], wanted[80];
            return td_fail(TD_ERR_ARG, 0, "model/nn", "%s: '%s' is %s, but the model's is %s", what, name,
                           td_tensor_describe(theirs, has, sizeof has),
                           td_tensor_describe(mine, wanted, sizeof wanted));
        }
    }
    for (size_t i = 0; i < from->count; i++)
        if (!td_state_dict_find(into, from->at[i].name))
            return td_fail(TD_ERR_ARG, 0, "model/nn", "%s: '%s' is not in the model", what, from->at[i].name);
    return TD_OK;
}

td_status td_state_dict_copy(const td_state_dict *into, const td_state_dict *from, const char *what) {
    TD_TRY(check_entries(into, from, what));
    td_scope *scope = td_scope_open(td_context_current());
    td_no_grad_begin();
    for (size_t i = 0; i < into->count; i++)
        td_copy_(into->at[i].tensor, td_state_dict_find(from, into->at[i].name));
    td_no_grad_end();
    return td_scope_close(scope);
}
