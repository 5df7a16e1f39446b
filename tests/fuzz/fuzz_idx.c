/* The IDX reader on any bytes: as a file of images, then as one of labels. Nothing may be leaked, read
 * beyond, or asked for out of proportion to the input. */
#include "base/memory.h"
#include "sampler/idx.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *take(size_t bytes, void *cookie) {
    size_t input = *(size_t *)cookie;
    if (bytes > 1032 * input) abort(); /* more than deflate can ever make of it */
    return td_alloc(bytes);
}
static void release(void *block, void *cookie) {
    (void)cookie;
    td_free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0; /* fmemopen refuses it */
    td_mnist_memory memory = {take, release, &size};
    for (int dims = 3; dims > 0; dims -= 2) {
        sampler_idx idx;
        FILE *file = fmemopen((void *)(uintptr_t)data, size, "rb");
        if (!file) return 0;
        if (sampler_idx_read(file, "input", dims, &memory, &idx) >= 0) td_free(idx.data);
        fclose(file);
    }
    return 0;
}
