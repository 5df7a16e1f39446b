/*
 * .safetensors files: named tensors as Python's safetensors package writes and reads them. Saving takes a
 * state dict and a path; the file appears whole or not at all. Loading checks the whole header before any
 * byte is used, so a damaged or hostile file is an error with the reason (TD_ERR_FORMAT) and nothing else.
 * Only the thread that has the tensors' context may call.
 */
#ifndef TANDEM_MODEL_CHECKPOINT_SAFETENSORS_H
#define TANDEM_MODEL_CHECKPOINT_SAFETENSORS_H

#include "model/nn/module.h"

TD_BEGIN_DECLS

/* Write the entries of `dict` to `path`, any layout, as row-major little-endian data with the metadata
 * {"format":"pt"}. TD_ERR_ARG for a name that appears twice, TD_ERR_SYSTEM when the file cannot be written.
 */
TD_API td_status td_safetensors_save(const char *path, const td_state_dict *dict);

/* Copy a file's values into the tensors of `into`, strictly: the same names, dtypes and shapes on both sides.
 * The first difference is TD_ERR_ARG, and then nothing has been written. */
TD_API td_status td_safetensors_load(const char *path, const td_state_dict *into);

/* Append all of a file's tensors, new ones, to `dict`, in the order of their data. */
TD_API td_status td_safetensors_read(const char *path, td_state_dict *dict);
/* The same from `bytes` of memory, *lent* for the call; `what` begins messages. */
TD_API td_status td_safetensors_parse(const void *data, size_t bytes, const char *what, td_state_dict *dict);

/* The bytes that td_safetensors_save would write, in memory that is used again from call to call: *data has
 * room for *room bytes (at first NULL and 0) and is replaced when that is too little; *yours* (td_free).
 * *bytes is the file's size. On TD_ERR_MEMORY *data may have become NULL, and *room 0. */
TD_API td_status td_safetensors_dump(const td_state_dict *dict, void **data, size_t *room, size_t *bytes);

/* A module's state to and from a file. */
TD_API td_status td_module_save(const td_module *module, const char *path);
TD_API td_status td_module_load(td_module *module, const char *path);

TD_END_DECLS

#endif
