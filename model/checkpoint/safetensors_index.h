/*
 * The header of a .safetensors file, read and checked: which tensor lies where. Internal to model/checkpoint.
 *
 *     8 bytes   length of the JSON text, little-endian
 *     JSON      {"__metadata__": {text: text}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0,
 * 24]}} data      the tensors without gaps; offsets count from here
 */
#ifndef TANDEM_MODEL_CHECKPOINT_SAFETENSORS_INDEX_H
#define TANDEM_MODEL_CHECKPOINT_SAFETENSORS_INDEX_H

#include "model/tensor/tensor.h"

#define SAFETENSORS_MAX_HEADER ((uint64_t)100 * 1000 * 1000) /* as Python's package has it */

typedef struct td_st_entry {
    char *name;
    td_dtype dtype;
    td_ints sizes;
    const char *data; /* lent by the file's bytes */
    size_t bytes;
} td_st_entry;

typedef struct td_st_index {
    td_st_entry *at; /* in order of their data */
    size_t count;
} td_st_index;

/* Check everything that can be checked: TD_ERR_FORMAT says what is wrong with `what`, TD_ERR_UNSUPPORTED
 * names a dtype or a shape that Tandem has not. On success `index` is filled; td_st_index_clear it. */
td_status td_st_index_read(const void *data, size_t bytes, const char *what, td_st_index *index);
void td_st_index_clear(td_st_index *index);

/* "F32" of a dtype; NULL for what the format has no name for. */
const char *td_st_dtype_name(td_dtype dtype);

#endif
