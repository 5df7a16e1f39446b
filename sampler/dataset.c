/* The checks and shape arithmetic that all data sets share, and the data set over arrays in memory. */
#include "sampler/dataset.h"

#include "base/checked.h"
#include "base/memory.h"

#include <string.h>

struct td_dataset {
    const td_dataset_table *table;
    void *self;
    int64_t count;
    int n_parts;
    td_dataset_part parts[TD_DATASET_MAX_PARTS];
    size_t bytes[TD_DATASET_MAX_PARTS]; /* of one sample's part */
};

static td_status measure_part(const td_dataset_part *part, int number, int64_t count, size_t *bytes) {
    size_t total = td_dtype_size(part->dtype), all;
    if (!total || part->dims < 0 || part->dims > TD_DATASET_MAX_DIMS)
        return td_fail(TD_ERR_ARG, 0, "sampler", "data set: part %d has dtype %d and %d dimensions (0 to %d)",
                       number, (int)part->dtype, part->dims, TD_DATASET_MAX_DIMS);
    for (int i = 0; i < part->dims; i++) {
        if (part->sizes[i] < 1)
            return td_fail(TD_ERR_ARG, 0, "sampler", "data set: part %d has size %lld in dimension %d",
                           number, (long long)part->sizes[i], i);
        if (!td_mul_size(total, (size_t)part->sizes[i], &total))
            return td_fail(TD_ERR_ARG, 0, "sampler",
                           "data set: one sample of part %d is larger than memory can be", number);
    }
    if (!td_mul_size(total, (size_t)count, &all))
        return td_fail(TD_ERR_ARG, 0, "sampler",
                       "data set: %lld samples of %zu bytes are larger than memory can be", (long long)count,
                       total);
    *bytes = total;
    return TD_OK;
}

td_status td_dataset_open(const td_dataset_table *table, void *self, int64_t count,
                          const td_dataset_part *parts, int n_parts, td_dataset **dataset) {
    if (count < 0 || n_parts < 1 || n_parts > TD_DATASET_MAX_PARTS)
        return td_fail(TD_ERR_ARG, 0, "sampler", "data set: %lld samples of %d parts, expected 1 to %d parts",
                       (long long)count, n_parts, TD_DATASET_MAX_PARTS);
    td_dataset made = {.table = table, .self = self, .count = count, .n_parts = n_parts};
    for (int i = 0; i < n_parts; i++) {
        made.parts[i] = parts[i];
        TD_TRY(measure_part(&parts[i], i, count, &made.bytes[i]));
    }
    td_dataset *opened = td_alloc(sizeof *opened);
    if (!opened) return TD_ERR_MEMORY;
    *opened = made;
    *dataset = opened;
    return TD_OK;
}

void td_dataset_close(td_dataset **dataset) {
    if (!dataset || !*dataset) return;
    if ((*dataset)->table->close) (*dataset)->table->close((*dataset)->self);
    td_free(*dataset);
    *dataset = NULL;
}

int64_t td_dataset_count(const td_dataset *dataset) { return dataset->count; }
int td_dataset_parts(const td_dataset *dataset) { return dataset->n_parts; }

static bool has_part(const td_dataset *dataset, int part) { return part >= 0 && part < dataset->n_parts; }

const td_dataset_part *td_dataset_part_of(const td_dataset *dataset, int part) {
    return has_part(dataset, part) ? &dataset->parts[part] : NULL;
}

size_t td_dataset_part_bytes(const td_dataset *dataset, int part) {
    return has_part(dataset, part) ? dataset->bytes[part] : 0;
}

const void *td_dataset_rows(const td_dataset *dataset, int part) {
    bool can = has_part(dataset, part) && dataset->table->rows;
    return can ? dataset->table->rows(dataset->self, part) : NULL;
}

td_status td_dataset_gather(const td_dataset *dataset, int part, const int64_t *indices, int64_t count,
                            void *out) {
    if (!has_part(dataset, part))
        return td_fail(TD_ERR_ARG, 0, "sampler", "data set: part %d, but there are %d", part,
                       dataset->n_parts);
    for (int64_t i = 0; i < count; i++)
        if (indices[i] < 0 || indices[i] >= dataset->count)
            return td_fail(TD_ERR_ARG, 0, "sampler", "data set: sample %lld, but there are %lld",
                           (long long)indices[i], (long long)dataset->count);
    return dataset->table->gather(dataset->self, part, indices, count, out);
}

typedef struct memory_arrays {
    void (*release)(void *data);
    const uint8_t *data[TD_DATASET_MAX_PARTS];
    size_t bytes[TD_DATASET_MAX_PARTS];
    int n_parts;
} memory_arrays;

static td_status gather_memory(const void *self, int part, const int64_t *indices, int64_t count, void *out) {
    const memory_arrays *arrays = self;
    size_t bytes = arrays->bytes[part];
    for (int64_t i = 0; i < count; i++)
        memcpy((uint8_t *)out + (size_t)i * bytes, arrays->data[part] + (size_t)indices[i] * bytes, bytes);
    return TD_OK;
}

static const void *memory_rows(const void *self, int part) {
    return ((const memory_arrays *)self)->data[part];
}

static void close_memory(void *self) {
    memory_arrays *arrays = self;
    for (int i = 0; arrays->release && i < arrays->n_parts; i++)
        arrays->release((void *)(uintptr_t)arrays->data[i]);
    td_free(arrays);
}

static const td_dataset_table memory_table = {
    .gather = gather_memory,
    .rows = memory_rows,
    .close = close_memory,
};

td_status td_dataset_memory(int64_t count, const td_dataset_part *parts, const void *const *data, int n_parts,
                            void (*release)(void *data), td_dataset **dataset) {
    memory_arrays *arrays = td_calloc(1, sizeof *arrays);
    if (!arrays) return TD_ERR_MEMORY;
    td_dataset *opened = NULL;
    td_status status = td_dataset_open(&memory_table, arrays, count, parts, n_parts, &opened);
    if (status < 0) {
        td_free(arrays);
        return status;
    }
    arrays->release = release;
    arrays->n_parts = n_parts;
    for (int i = 0; i < n_parts; i++) {
        arrays->data[i] = data[i];
        arrays->bytes[i] = opened->bytes[i];
    }
    *dataset = opened;
    return TD_OK;
}
