/*
 * Before training begins: are all ranks' modules the same, and if so, rank 0's values for all. Rank 0 sends
 * its list of tensors as text, a line each; the others compare with their own. A second exchange tells
 * everybody who found a difference, and the first of those sends its line, so that every rank fails with one
 * message.
 */
#include "base/memory.h"
#include "model/parallel/internal.h"
#include "model/tensor/tensor.h"

#include <stdio.h>
#include <string.h>

static const td_device cpu = {TD_DEVICE_CPU, 0};

#define LINE_BYTES 512

/* --- comparing -------------------------------------------------------------------------------------- */

/* A line of the list: "parameter 'fc1.weight' f32 (256, 784)". False past the end. */
static bool describe_line(const td_state_dict *parameters, const td_state_dict *buffers, size_t index,
                          char line[LINE_BYTES]) {
    bool is_parameter = index < parameters->count;
    size_t at = is_parameter ? index : index - parameters->count;
    if (!is_parameter && at >= buffers->count) return false;
    const td_state_entry *entry = is_parameter ? &parameters->at[at] : &buffers->at[at];
    char kind[128];
    snprintf(line, LINE_BYTES, "%s '%.300s' %s%s", is_parameter ? "parameter" : "buffer", entry->name,
             td_tensor_describe(entry->tensor, kind, sizeof kind),
             is_parameter && !td_tensor_requires_grad(entry->tensor) ? " (frozen)" : "");
    return true;
}

/* The whole list, lines of LINE_BYTES each, *yours*. */
static char *describe_all(const td_state_dict *parameters, const td_state_dict *buffers, size_t *count) {
    *count = parameters->count + buffers->count;
    char *lines = td_calloc(*count + 1, LINE_BYTES);
    for (size_t i = 0; lines && i < *count; i++)
        describe_line(parameters, buffers, i, lines + i * LINE_BYTES);
    return lines;
}

/* Where this rank's list first differs from rank 0's: a number of a line, from 1; 0 if nowhere. */
static int64_t first_difference(const char *mine, size_t my_count, const char *theirs, size_t their_count) {
    size_t common = my_count < their_count ? my_count : their_count;
    for (size_t i = 0; i < common; i++)
        if (memcmp(mine + i * LINE_BYTES, theirs + i * LINE_BYTES, LINE_BYTES) != 0) return (int64_t)i + 1;
    return my_count == their_count ? 0 : (int64_t)common + 1;
}

static td_status broadcast_bytes(td_group *group, void *data, size_t bytes, int root) {
    return td_group_broadcast(group, data, bytes, TD_DTYPE_U8, root, cpu, NULL, NULL);
}

/* Everybody learns of the first rank that differs, and fails; TD_OK if none does. */
static td_status report_difference(td_group *group, int64_t difference, const char *mine, size_t my_count,
                                   const char *theirs, size_t their_count, int64_t *found) {
    int size = td_group_size(group), rank = td_group_rank(group), root = 0;
    found[rank] = difference;
    TD_TRY(td_group_all_reduce(group, found, (size_t)size, TD_DTYPE_I64, TD_REDUCE_SUM, cpu, NULL, NULL));
    while (root < size && !found[root]) root++;
    if (root == size) return TD_OK;
    char text[2 * LINE_BYTES] = "";
    if (rank == root) {
        size_t line = (size_t)difference - 1;
        snprintf(text, sizeof text, "rank %d's module has %s where rank 0's has %s", rank,
                 line < my_count ? mine + line * LINE_BYTES : "nothing",
                 line < their_count ? theirs + line * LINE_BYTES : "nothing");
    }
    TD_TRY(broadcast_bytes(group, text, sizeof text, root));
    return td_fail(TD_ERR_MISMATCH, 0, "model/parallel", "ddp: %s", text);
}

td_status ddp_compare(td_group *group, const td_state_dict *parameters, const td_state_dict *buffers) {
    size_t my_count;
    char *mine = describe_all(parameters, buffers, &my_count);
    int64_t *found = td_calloc((size_t)td_group_size(group), sizeof *found);
    int64_t their_count = (int64_t)my_count;
    char *theirs = NULL;
    td_status status = mine && found ? TD_OK : TD_ERR_MEMORY;
    if (status == TD_OK)
        status = td_group_broadcast(group, &their_count, 1, TD_DTYPE_I64, 0, cpu, NULL, NULL);
    size_t bytes = (size_t)their_count * LINE_BYTES;
    if (status == TD_OK && !(theirs = td_calloc((size_t)their_count + 1, LINE_BYTES))) status = TD_ERR_MEMORY;
    if (status == TD_OK && td_group_rank(group) == 0) memcpy(theirs, mine, bytes);
    if (status == TD_OK) status = broadcast_bytes(group, theirs, bytes, 0);
    if (status == TD_OK) {
        int64_t difference = first_difference(mine, my_count, theirs, (size_t)their_count);
        status = report_difference(group, difference, mine, my_count, theirs, (size_t)their_count, found);
    }
    td_free(mine);
    td_free(theirs);
    td_free(found);
    return status;
}

/* --- values ----------------------------------------------------------------------------------------- */

/* Other layouts than row-major may differ between ranks, so they go through a copy. */
static td_status broadcast_copy(td_group *group, td_tensor *x, size_t count, td_dtype dtype) {
    size_t bytes = count * td_dtype_size(dtype);
    void *copy = td_alloc(bytes);
    if (!copy) return TD_ERR_MEMORY;
    td_status status = td_tensor_copy_to(x, copy, bytes);
    if (status == TD_OK) status = td_group_broadcast(group, copy, count, dtype, 0, cpu, NULL, NULL);
    td_no_grad_begin();
    if (status == TD_OK) status = td_tensor_copy_from(x, copy, bytes);
    td_no_grad_end();
    td_free(copy);
    return status;
}

td_status ddp_broadcast(td_group *group, const td_state_dict *tensors) {
    for (size_t i = 0; i < tensors->count; i++) {
        td_tensor *x = tensors->at[i].tensor;
        size_t count = (size_t)td_tensor_count(x);
        td_dtype dtype = td_tensor_dtype(x);
        if (!td_tensor_is_contiguous(x)) {
            TD_TRY(broadcast_copy(group, x, count, dtype));
            continue;
        }
        TD_TRY(td_group_broadcast(group, td_tensor_data(x), count, dtype, 0, cpu, NULL, NULL));
        td_tensor_written(x);
    }
    return TD_OK;
}
