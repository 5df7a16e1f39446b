/*
 * Writing orders the tensors by element size, the largest first, as Python's package does, so that each is
 * aligned; the header is padded with spaces to a multiple of 8. Reading works on the file's bytes in memory.
 */
#include "model/checkpoint/safetensors.h"

#include "base/context.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "model/autograd/autograd.h"
#include "model/checkpoint/safetensors_index.h"
#include "model/tensor/internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* --- saving ----------------------------------------------------------------------------------------- */

static size_t bytes_of(const td_tensor *x) {
    return (size_t)td_tensor_count(x) * td_dtype_size(td_tensor_dtype(x));
}

/* The dict's entries in order of their data: stable, by falling element size. */
static const td_state_entry **order_entries(const td_state_dict *dict) {
    const td_state_entry **order = td_calloc(dict->count, sizeof *order);
    if (!order) return NULL;
    size_t placed = 0;
    for (size_t size = 8; size; size /= 2)
        for (size_t i = 0; i < dict->count; i++)
            if (td_dtype_size(td_tensor_dtype(dict->at[i].tensor)) == size) order[placed++] = &dict->at[i];
    return order;
}

static json_t *describe_entry(const td_tensor *x, size_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < td_tensor_ndim(x); i++)
        json_array_append_new(shape, json_integer(td_tensor_size(x, i)));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", td_st_dtype_name(td_tensor_dtype(x)), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)(begin + bytes_of(x)));
}

/* The header's JSON text, *yours* (free). */
static td_status make_header(const char *path, const td_state_entry *const *order, size_t count,
                             char **text) {
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    size_t at = 0;
    td_status status =
        header ? TD_OK : td_fail(TD_ERR_MEMORY, 0, "safetensors", "%s: no memory for its header", path);
    for (size_t i = 0; status == TD_OK && i < count; i++) {
        const char *name = order[i]->name;
        if (json_object_get(header, name))
            status = td_fail(TD_ERR_ARG, 0, "safetensors", "%s: the name '%s' appears twice", path, name);
        else if (json_object_set_new(header, name, describe_entry(order[i]->tensor, at)))
            status = td_fail(TD_ERR_ARG, 0, "safetensors", "%s: the name '%s' cannot be written", path, name);
        at += bytes_of(order[i]->tensor);
    }
    char *made = status == TD_OK ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (status < 0) return status;
    if (!made) return td_fail(TD_ERR_MEMORY, 0, "safetensors", "%s: no memory for its header", path);
    *text = made;
    return TD_OK;
}

/* How many spaces follow a text of that length, and what comes before it: the length of both together. */
static size_t pad_header(size_t length, char prefix[8]) {
    size_t padding = (8 - length % 8) % 8;
    for (int i = 0; i < 8; i++) prefix[i] = (char)(unsigned char)((uint64_t)(length + padding) >> 8 * i);
    return padding;
}

static td_status write_header(td_file_writer *writer, const char *text) {
    static const char spaces[8] = "        ";
    char prefix[8];
    size_t length = strlen(text), padding = pad_header(length, prefix);
    TD_TRY(td_file_write(writer, prefix, sizeof prefix));
    TD_TRY(td_file_write(writer, text, length));
    return td_file_write(writer, spaces, padding);
}

static td_status write_tensor(td_file_writer *writer, const td_tensor *x) {
    size_t bytes = bytes_of(x);
    if (td_tensor_is_contiguous(x)) return td_file_write(writer, td_tensor_data(x), bytes);
    void *row_major = td_alloc(bytes);
    if (!row_major) return TD_ERR_MEMORY;
    td_status status = td_tensor_copy_to(x, row_major, bytes);
    if (status == TD_OK) status = td_file_write(writer, row_major, bytes);
    td_free(row_major);
    return status;
}

static td_status save_ordered(const char *path, const td_state_entry *const *order, size_t count) {
    char *text = NULL;
    TD_TRY(make_header(path, order, count, &text));
    td_file_writer *writer = NULL;
    td_status status = td_file_begin(path, &writer);
    if (status == TD_OK) status = write_header(writer, text);
    for (size_t i = 0; status == TD_OK && i < count; i++) status = write_tensor(writer, order[i]->tensor);
    if (status == TD_OK) status = td_file_commit(&writer);
    td_file_drop(&writer);
    free(text);
    return status;
}

td_status td_safetensors_save(const char *path, const td_state_dict *dict) {
    const td_state_entry **order = order_entries(dict);
    if (!order) return TD_ERR_MEMORY;
    td_status status = save_ordered(path, order, dict->count);
    td_free(order);
    return status;
}

/* --- into memory ------------------------------------------------------------------------------------ */

enum { COPY_GRAIN = 1 << 20 }; /* bytes; less is not worth a second thread */

typedef struct byte_copy {
    char *to;
    const char *from;
} byte_copy;

static void copy_share(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const byte_copy *copy = cookie;
    memcpy(copy->to + begin, copy->from + begin, end - begin);
}

static td_status lay_tensor(const td_tensor *x, char *to) {
    if (!td_tensor_is_contiguous(x)) return td_tensor_copy_to(x, to, bytes_of(x));
    byte_copy copy = {to, td_tensor_data(x)};
    td_parallel_for(bytes_of(x), COPY_GRAIN, copy_share, &copy);
    return TD_OK;
}

static td_status make_room(void **data, size_t *room, size_t bytes) {
    if (bytes <= *room) return TD_OK;
    td_free(*data);
    *data = NULL, *room = 0;
    void *larger = td_alloc_aligned(bytes);
    if (!larger) return TD_ERR_MEMORY;
    *data = larger, *room = bytes;
    return TD_OK;
}

static td_status dump_ordered(const td_state_entry *const *order, size_t count, void **data, size_t *room,
                              size_t *bytes) {
    char *text = NULL, prefix[8];
    TD_TRY(make_header("memory", order, count, &text));
    size_t length = strlen(text), padding = pad_header(length, prefix), total = 8 + length + padding;
    for (size_t i = 0; i < count; i++) total += bytes_of(order[i]->tensor);
    td_status status = make_room(data, room, total);
    char *at = *data;
    if (status == TD_OK) {
        memcpy(at, prefix, 8);
        memcpy(at + 8, text, length);
        memset(at + 8 + length, ' ', padding);
        at += 8 + length + padding;
    }
    for (size_t i = 0; status == TD_OK && i < count; i++) {
        status = lay_tensor(order[i]->tensor, at);
        at += bytes_of(order[i]->tensor);
    }
    free(text);
    if (status == TD_OK) *bytes = total;
    return status;
}

td_status td_safetensors_dump(const td_state_dict *dict, void **data, size_t *room, size_t *bytes) {
    const td_state_entry **order = order_entries(dict);
    if (!order) return TD_ERR_MEMORY;
    td_status status = dump_ordered(order, dict->count, data, room, bytes);
    td_free(order);
    return status;
}

/* --- loading ---------------------------------------------------------------------------------------- */

static const td_st_entry *find_entry(const td_st_index *index, const char *name) {
    for (size_t i = 0; i < index->count; i++)
        if (!strcmp(index->at[i].name, name)) return &index->at[i];
    return NULL;
}

static bool fits(const td_st_entry *entry, const td_tensor *x) {
    td_ints sizes = td_tensor_sizes(x);
    return entry->dtype == td_tensor_dtype(x) && entry->sizes.count == sizes.count &&
           !memcmp(entry->sizes.at, sizes.at, (size_t)sizes.count * sizeof *sizes.at);
}

static td_status check_match(const char *path, const td_st_index *index, const td_state_dict *into) {
    for (size_t i = 0; i < into->count; i++) {
        const td_tensor *x = into->at[i].tensor;
        const td_st_entry *entry = find_entry(index, into->at[i].name);
        if (!entry)
            return td_fail(TD_ERR_ARG, 0, "safetensors", "%s: '%s' is missing", path, into->at[i].name);
        if (fits(entry, x)) continue;
        char wanted[80], has[80];
        td_sizes_text(entry->sizes.at, (int)entry->sizes.count, has, sizeof has);
        return td_fail(TD_ERR_ARG, 0, "safetensors", "%s: '%s' is %s %s, but the model's is %s", path,
                       into->at[i].name, td_dtype_name(entry->dtype), has,
                       td_tensor_describe(x, wanted, sizeof wanted));
    }
    for (size_t i = 0; i < index->count; i++)
        if (!td_state_dict_find(into, index->at[i].name))
            return td_fail(TD_ERR_ARG, 0, "safetensors", "%s: '%s' is not in the model", path,
                           index->at[i].name);
    return TD_OK;
}

static td_status copy_in(const td_st_index *index, const td_state_dict *into) {
    td_status status = TD_OK;
    td_no_grad_begin();
    for (size_t i = 0; status == TD_OK && i < into->count; i++) {
        const td_st_entry *entry = find_entry(index, into->at[i].name);
        status = td_tensor_copy_from(into->at[i].tensor, entry->data, entry->bytes);
    }
    td_no_grad_end();
    return status;
}

td_status td_safetensors_load(const char *path, const td_state_dict *into) {
    void *data;
    size_t bytes;
    TD_TRY(td_file_read(path, 0, &data, &bytes));
    td_st_index index = {0};
    td_status status = td_st_index_read(data, bytes, path, &index);
    if (status == TD_OK) status = check_match(path, &index, into);
    if (status == TD_OK) status = copy_in(&index, into);
    td_st_index_clear(&index);
    td_free(data);
    return status;
}

static td_status add_tensors(const td_st_index *index, td_state_dict *dict) {
    td_scope *scope = td_scope_open(td_context_current());
    td_status status = TD_OK;
    for (size_t i = 0; status == TD_OK && i < index->count; i++) {
        const td_st_entry *entry = &index->at[i];
        td_tensor *x = td_tensor_from(entry->data, entry->dtype, entry->sizes);
        if (!x) break;
        status = td_state_dict_add(dict, entry->name, x);
    }
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

td_status td_safetensors_parse(const void *data, size_t bytes, const char *what, td_state_dict *dict) {
    td_st_index index = {0};
    TD_TRY(td_st_index_read(data, bytes, what, &index));
    td_status status = add_tensors(&index, dict);
    td_st_index_clear(&index);
    return status;
}

td_status td_safetensors_read(const char *path, td_state_dict *dict) {
    void *data;
    size_t bytes;
    TD_TRY(td_file_read(path, 0, &data, &bytes));
    td_status status = td_safetensors_parse(data, bytes, path, dict);
    td_free(data);
    return status;
}

/* --- modules ---------------------------------------------------------------------------------------- */

td_status td_module_save(const td_module *module, const char *path) {
    td_state_dict state = {0};
    td_status status = td_module_state(module, &state);
    if (status == TD_OK) status = td_safetensors_save(path, &state);
    td_state_dict_clear(&state);
    return status;
}

td_status td_module_load(td_module *module, const char *path) {
    td_state_dict state = {0};
    td_status status = td_module_state(module, &state);
    if (status == TD_OK) status = td_safetensors_load(path, &state);
    td_state_dict_clear(&state);
    return status;
}
