/*
 * Numbered samples. A td_dataset answers how many there are, what a sample consists of (its parts: usually
 * the input, then the label) and copies chosen samples side by side. Central object: td_dataset; in memory
 * (td_dataset_memory), from MNIST's files (sampler/mnist.h), or the caller's own through a table.
 *
 * Life: open, lend it to loaders, close after them. A data set never changes, so any number of threads may
 * gather at once.
 */
#ifndef TANDEM_SAMPLER_DATASET_H
#define TANDEM_SAMPLER_DATASET_H

#include "base/dtype.h"

TD_BEGIN_DECLS

#define TD_DATASET_MAX_DIMS  7 /* of one sample */
#define TD_DATASET_MAX_PARTS 4

/* What one sample's part looks like: {TD_DTYPE_U8, 2, {28, 28}}; a label is {TD_DTYPE_U8, 0, {0}}. */
typedef struct td_dataset_part {
    td_dtype dtype;
    int dims;
    int64_t sizes[TD_DATASET_MAX_DIMS];
} td_dataset_part;

/* How a data set is read. The table is static and `self` is the data set's own. */
typedef struct td_dataset_table {
    /* Write samples indices[0..count) of a part to `out`, one after another. Indices are below the data set's
     * count. Called from several threads at once; must not draw random numbers. */
    td_status (*gather)(const void *self, int part, const int64_t *indices, int64_t count, void *out);
    /* Where all samples of the part lie one after another, valid until close, so that readers need no copy;
     * NULL when they do not. The slot itself may be NULL. */
    const void *(*rows)(const void *self, int part);
    /* Release `self`; NULL when there is nothing to do. */
    void (*close)(void *self);
} td_dataset_table;

/* Wrap a data set of `count` samples. `self` is *given* (table->close releases it) once this succeeds.
 * *Yours*. TD_ERR_ARG for an impossible shape. */
TD_API td_status td_dataset_open(const td_dataset_table *table, void *self, int64_t count,
                                 const td_dataset_part *parts, int n_parts, td_dataset **dataset);

/*
 * A data set over arrays in memory: data[i] holds `count` samples of parts[i] one after another. The arrays
 * are *lent* until the data set is closed; with `release` they are *given* once this succeeds, and `release`
 * is called for each of them at the end.
 */
TD_API td_status td_dataset_memory(int64_t count, const td_dataset_part *parts, const void *const *data,
                                   int n_parts, void (*release)(void *data), td_dataset **dataset);

TD_API void td_dataset_close(td_dataset **dataset);

TD_API int64_t td_dataset_count(const td_dataset *dataset);
TD_API int td_dataset_parts(const td_dataset *dataset);
/* *Lent* for the data set's life; NULL when there is no such part. */
TD_API const td_dataset_part *td_dataset_part_of(const td_dataset *dataset, int part);
/* Bytes of one sample's part; 0 when there is none. */
TD_API size_t td_dataset_part_bytes(const td_dataset *dataset, int part);
/* As the table's slot: all samples of the part one after another, or NULL. *Lent* for the data set's life. */
TD_API const void *td_dataset_rows(const td_dataset *dataset, int part);

/* Copy samples indices[0..count) of `part` to `out` (count * td_dataset_part_bytes). TD_ERR_ARG names an
 * index that is out of range; `out` is then untouched. */
TD_API td_status td_dataset_gather(const td_dataset *dataset, int part, const int64_t *indices, int64_t count,
                                   void *out);

TD_END_DECLS

#endif
