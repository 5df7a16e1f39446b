/*
 * Named tensors in order: a module's parameters, a model's state, an optimizer's slots, the contents of a
 * checkpoint. Central object: td_state_dict, a plain struct of the caller that begins as zeros, is filled,
 * read through its fields, and ends with td_state_dict_clear. Names are PyTorch's dotted ones
 * ("conv1.weight"). The tensors are shared, not copied: writing to one writes to the model. One thread at a
 * time, the one that has the tensors' context.
 */
#ifndef TANDEM_MODEL_NN_STATE_DICT_H
#define TANDEM_MODEL_NN_STATE_DICT_H

#include "base/status.h"

TD_BEGIN_DECLS

typedef struct td_state_entry {
    char *name;
    td_tensor *tensor;
} td_state_entry;

typedef struct td_state_dict {
    size_t count;
    td_state_entry *at;
    size_t capacity;
} td_state_dict;

/* Append an entry: the name is copied, the tensor *kept*. Names are not checked for repetition. */
TD_API td_status td_state_dict_add(td_state_dict *dict, const char *name, td_tensor *tensor);

/* The tensor called `name`, *lent*; NULL if there is none. */
TD_API td_tensor *td_state_dict_find(const td_state_dict *dict, const char *name);

/* Copy the values of `from` into the tensors of `into`, matched by name. Strict, as load_state_dict: the same
 * names, sizes and dtypes on both sides, checked before anything is written; TD_ERR_ARG names the first
 * difference. `what` begins the message ("mlp", "model.safetensors"). */
TD_API td_status td_state_dict_copy(const td_state_dict *into, const td_state_dict *from, const char *what);

/* Let go of all entries; the dict is empty again and may be filled anew. NULL is fine. */
TD_API void td_state_dict_clear(td_state_dict *dict);

TD_END_DECLS

#endif
