/* IDX files made in memory, for tests of their reader. */
#ifndef TANDEM_TESTS_IDX_BYTES_H
#define TANDEM_TESTS_IDX_BYTES_H

#include <stddef.h>
#include <stdint.h>

typedef struct idx_bytes {
    size_t size;
    uint8_t bytes[1 << 16];
} idx_bytes;

/* A file of sizes[0] x ... unsigned bytes, the i-th being i * 7 modulo 256. */
idx_bytes idx_make(int dims, const uint32_t *sizes);
/* The same file as one gzip member; and with something appended. */
idx_bytes idx_zip(const idx_bytes *plain);
void idx_append(idx_bytes *file, const void *bytes, size_t count);

/* Write folder/name. */
void idx_write(const char *folder, const char *name, const idx_bytes *file);

#endif
