/* Nothing in the file is trusted: each number is checked before it is used, in the order in which it is met.
 */
#include "model/checkpoint/safetensors_index.h"

#include "base/checked.h"
#include "base/memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *const dtype_names[TD_DTYPE_COUNT] = {
    [TD_DTYPE_F32] = "F32", [TD_DTYPE_F64] = "F64",   [TD_DTYPE_F16] = "F16", [TD_DTYPE_BF16] = "BF16",
    [TD_DTYPE_I8] = "I8",   [TD_DTYPE_U8] = "U8",     [TD_DTYPE_I16] = "I16", [TD_DTYPE_I32] = "I32",
    [TD_DTYPE_I64] = "I64", [TD_DTYPE_BOOL] = "BOOL",
};

const char *td_st_dtype_name(td_dtype dtype) { return dtype < TD_DTYPE_COUNT ? dtype_names[dtype] : NULL; }

/* What the checks share: whose file it is and where its data begins. */
typedef struct td_st_reading {
    const char *what;
    const char *data;
    size_t data_bytes;
} td_st_reading;

static td_status read_dtype(const td_st_reading *reading, td_st_entry *entry, const json_t *value) {
    const char *text = json_string_value(value);
    if (!text)
        return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: '%s' has no dtype", reading->what, entry->name);
    for (int dtype = 0; dtype < TD_DTYPE_COUNT; dtype++)
        if (dtype_names[dtype] && !strcmp(text, dtype_names[dtype])) {
            entry->dtype = (td_dtype)dtype;
            return TD_OK;
        }
    return td_fail(TD_ERR_UNSUPPORTED, 0, "safetensors", "%s: '%s' is of dtype '%.16s', which Tandem has not",
                   reading->what, entry->name, text);
}

/* The shape, and the bytes that a tensor of it has. */
static td_status read_shape(const td_st_reading *reading, td_st_entry *entry, const json_t *value) {
    if (!json_is_array(value))
        return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: '%s' has no shape", reading->what, entry->name);
    size_t dims = json_array_size(value), bytes = td_dtype_size(entry->dtype);
    if (dims > TD_MAX_DIMS)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "safetensors",
                       "%s: '%s' has %zu dimensions; Tandem has up to %d", reading->what, entry->name, dims,
                       TD_MAX_DIMS);
    entry->sizes.count = (int64_t)dims;
    for (size_t i = 0; i < dims; i++) {
        const json_t *size = json_array_get(value, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: '%s': a size is no number from 0 on",
                           reading->what, entry->name);
        entry->sizes.at[i] = json_integer_value(size);
        if (!td_mul_size(bytes, (size_t)entry->sizes.at[i], &bytes))
            return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: '%s' has more elements than memory can hold",
                           reading->what, entry->name);
    }
    entry->bytes = bytes;
    return TD_OK;
}

static td_status read_offsets(const td_st_reading *reading, td_st_entry *entry, const json_t *value) {
    const json_t *first = json_array_get(value, 0), *second = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(first) || !json_is_integer(second))
        return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: '%s' has no data_offsets", reading->what,
                       entry->name);
    long long begin = json_integer_value(first), end = json_integer_value(second);
    if (begin < 0 || end < begin || (unsigned long long)end > reading->data_bytes)
        return td_fail(TD_ERR_FORMAT, 0, "safetensors",
                       "%s: '%s' lies at %lld to %lld, but there are %zu bytes", reading->what, entry->name,
                       begin, end, reading->data_bytes);
    if ((size_t)(end - begin) != entry->bytes)
        return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: '%s' has %lld bytes, but its shape needs %zu",
                       reading->what, entry->name, end - begin, entry->bytes);
    entry->data = reading->data + begin;
    return TD_OK;
}

static td_status read_entry(const td_st_reading *reading, const char *name, const json_t *value,
                            td_st_entry *entry) {
    entry->name = td_strdup(name);
    if (!entry->name) return TD_ERR_MEMORY;
    if (json_object_size(value) != 3)
        return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: '%s' is not of dtype, shape and data_offsets",
                       reading->what, name);
    TD_TRY(read_dtype(reading, entry, json_object_get(value, "dtype")));
    TD_TRY(read_shape(reading, entry, json_object_get(value, "shape")));
    return read_offsets(reading, entry, json_object_get(value, "data_offsets"));
}

static td_status check_metadata(const td_st_reading *reading, json_t *metadata) {
    const char *key;
    json_t *value;
    bool texts = json_is_object(metadata);
    json_object_foreach(metadata, key, value) texts = texts && json_is_string(value);
    if (texts) return TD_OK;
    return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: __metadata__ is no object of texts", reading->what);
}

static int by_place(const void *a, const void *b) {
    const td_st_entry *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) -
           (x->bytes < y->bytes); /* empty ones before what begins at the same place */
}

/* The tensors fill the data, each byte once. */
static td_status check_coverage(const td_st_reading *reading, const td_st_index *index) {
    const char *at = reading->data;
    for (size_t i = 0; i < index->count; i++) {
        const td_st_entry *entry = &index->at[i];
        if (entry->data != at)
            return td_fail(TD_ERR_FORMAT, 0, "safetensors",
                           "%s: '%s' begins at %td, but what is before it ends at %td", reading->what,
                           entry->name, entry->data - reading->data, at - reading->data);
        at += entry->bytes;
    }
    if ((size_t)(at - reading->data) != reading->data_bytes)
        return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: %zu bytes at its end belong to no tensor",
                       reading->what, reading->data_bytes - (size_t)(at - reading->data));
    return TD_OK;
}

static td_status read_header(const td_st_reading *reading, json_t *header, td_st_index *index) {
    if (!json_is_object(header))
        return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: its header is no JSON object", reading->what);
    index->at = td_calloc(json_object_size(header), sizeof *index->at);
    if (!index->at) return TD_ERR_MEMORY;
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value) {
        if (!strcmp(name, "__metadata__"))
            TD_TRY(check_metadata(reading, value));
        else
            TD_TRY(read_entry(reading, name, value, &index->at[index->count++]));
    }
    qsort(index->at, index->count, sizeof *index->at, by_place);
    return check_coverage(reading, index);
}

td_status td_st_index_read(const void *data, size_t bytes, const char *what, td_st_index *index) {
    const unsigned char *start = data;
    if (bytes < 8)
        return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: %zu bytes are no .safetensors file", what,
                       bytes);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | start[i];
    if (length > SAFETENSORS_MAX_HEADER || length > bytes - 8)
        return td_fail(TD_ERR_FORMAT, 0, "safetensors",
                       "%s: a header of %llu bytes in a file of %zu; it is cut off or no .safetensors file",
                       what, (unsigned long long)length, bytes);
    json_error_t problem;
    json_t *header = json_loadb((const char *)start + 8, (size_t)length, JSON_REJECT_DUPLICATES, &problem);
    if (!header)
        return td_fail(TD_ERR_FORMAT, 0, "safetensors", "%s: its header is no JSON: %s", what, problem.text);
    td_st_reading reading = {
        .what = what, .data = (const char *)start + 8 + length, .data_bytes = bytes - 8 - length};
    td_st_index found = {0};
    td_status status = read_header(&reading, header, &found);
    json_decref(header);
    if (status < 0) {
        td_st_index_clear(&found);
        return status;
    }
    *index = found;
    return TD_OK;
}

void td_st_index_clear(td_st_index *index) {
    for (size_t i = 0; i < index->count; i++) td_free(index->at[i].name);
    td_free(index->at);
    *index = (td_st_index){0};
}
