/*
 * MNIST and whatever comes in its four files (Fashion-MNIST, KMNIST): images and labels in IDX format, plain
 * or gzipped. Central object: td_mnist, a plain struct that says where the decoded bytes are. One process
 * decodes them (td_mnist_read), into shared memory if it likes, and others lay a data set over the same bytes
 * (td_mnist_dataset). td_mnist_open does both for a process alone. Any thread may call.
 */
#ifndef TANDEM_SAMPLER_MNIST_H
#define TANDEM_SAMPLER_MNIST_H

#include "sampler/dataset.h"

TD_BEGIN_DECLS

/* A decoded set: images[count][rows][columns] and labels[count], one byte an element. */
typedef struct td_mnist {
    int64_t count, rows, columns;
    uint8_t *images;
    uint8_t *labels;
} td_mnist;

/* Where decoded bytes go. `allocate` gives `bytes` of memory, or NULL with the failure recorded (td_fail);
 * `release` takes back what it gave when reading fails later. */
typedef struct td_mnist_memory {
    void *(*allocate)(size_t bytes, void *cookie);
    void (*release)(void *block, void *cookie);
    void *cookie;
} td_mnist_memory;

/*
 * Read train-images-idx3-ubyte and train-labels-idx1-ubyte (train), or t10k-..., each plain or with .gz, from
 * a folder; NULL or "mnist" (when there is no such folder) reads the files that come with Tandem. The arrays
 * are *yours*, from `memory`, or from td_alloc (give them back with td_free) when that is NULL.
 * TD_ERR_SYSTEM: a file is missing or cannot be read. TD_ERR_FORMAT: it is damaged, or images and labels do
 * not belong together. TD_ERR_MEMORY.
 */
TD_API td_status td_mnist_read(const char *folder, bool train, const td_mnist_memory *memory,
                               td_mnist *mnist);

/* A data set over the arrays: part 0 the image, u8 [rows, columns], part 1 the label, u8. The arrays are
 * *lent* until the data set is closed. */
TD_API td_status td_mnist_dataset(const td_mnist *mnist, td_dataset **dataset);

/* Read, and a data set that owns what was read. */
TD_API td_status td_mnist_open(const char *folder, bool train, td_dataset **dataset);

TD_END_DECLS

#endif
