/* The IDX format of MNIST's files: a magic number, big-endian sizes, then unsigned bytes. Internal. */
#ifndef TANDEM_SAMPLER_IDX_H
#define TANDEM_SAMPLER_IDX_H

#include "sampler/mnist.h"

#include <stdio.h>

#define SAMPLER_IDX_MAX_DIMS 3

typedef struct sampler_idx {
    int64_t sizes[SAMPLER_IDX_MAX_DIMS];
    uint8_t *data; /* from `memory` */
} sampler_idx;

/*
 * Decode a whole IDX file of unsigned bytes in `dims` dimensions, plain or gzipped, from where `file` stands
 * to its end. `name` is for messages. TD_ERR_FORMAT says what is wrong and where; a file that promises more
 * than its size can hold is refused before any memory is asked for.
 */
td_status sampler_idx_read(FILE *file, const char *name, int dims, const td_mnist_memory *memory,
                           sampler_idx *idx);

#endif
