#include "support/idx_bytes.h"

#include "support/check.h"

#include <stdio.h>
#include <zlib.h>

idx_bytes idx_make(int dims, const uint32_t *sizes) {
    idx_bytes file = {.size = 4, .bytes = {0, 0, 8, (uint8_t)dims}};
    size_t product = 1;
    for (int i = 0; i < dims; i++) {
        product *= sizes[i];
        for (int shift = 24; shift >= 0; shift -= 8) file.bytes[file.size++] = (uint8_t)(sizes[i] >> shift);
    }
    ck_assert_uint_le(file.size + product, sizeof file.bytes);
    for (size_t i = 0; i < product; i++) file.bytes[file.size++] = (uint8_t)(i * 7);
    return file;
}

idx_bytes idx_zip(const idx_bytes *plain) {
    static idx_bytes zipped;
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)plain->bytes,
                       .avail_in = (uInt)plain->size,
                       .next_out = zipped.bytes,
                       .avail_out = sizeof zipped.bytes};
    ck_assert_int_eq(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    zipped.size = stream.total_out;
    deflateEnd(&stream);
    return zipped;
}

void idx_append(idx_bytes *file, const void *bytes, size_t count) {
    ck_assert_uint_le(file->size + count, sizeof file->bytes);
    memcpy(file->bytes + file->size, bytes, count);
    file->size += count;
}

void idx_write(const char *folder, const char *name, const idx_bytes *file) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "wb");
    ck_assert_msg(out != NULL, "%s", path);
    ck_assert_uint_eq(fwrite(file->bytes, 1, file->size, out), file->size);
    fclose(out);
}
