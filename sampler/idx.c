/*
 * Reads an IDX file and believes nothing in it: the magic number, the sizes and their product, the end of the
 * data and what must not follow it are checked against each other and against the file's size.
 */
#include "sampler/idx.h"

#include "base/checked.h"
#include "sampler/byte_source.h"

enum {
    IDX_UNSIGNED_BYTE = 8,
    MOST_INFLATED = 1032, /* deflate's best ratio: 258 bytes for two bits */
};

static uint32_t big_endian(const uint8_t bytes[4]) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static const char *magic_meaning(uint32_t magic) {
    if (magic == 0x801) return " (a file of labels)";
    if (magic == 0x803) return " (a file of images)";
    return magic >> 16 ? " (not an IDX file)" : "";
}

static td_status read_header(sampler_source *source, int dims, int64_t sizes[SAMPLER_IDX_MAX_DIMS]) {
    uint8_t header[4 + 4 * SAMPLER_IDX_MAX_DIMS];
    size_t want = 4 + 4 * (size_t)dims, got;
    TD_TRY(sampler_source_read(source, header, want, &got));
    uint32_t magic = got < 4 ? 0 : big_endian(header), expected = IDX_UNSIGNED_BYTE << 8 | (uint32_t)dims;
    if (got >= 4 && magic != expected)
        return td_fail(TD_ERR_FORMAT, 0, "sampler", "%s: magic number 0x%08x%s, expected 0x%08x%s",
                       source->name, magic, magic_meaning(magic), expected, magic_meaning(expected));
    if (got < want)
        return td_fail(TD_ERR_FORMAT, 0, "sampler", "%s: only %zu bytes, less than the header's %zu",
                       source->name, got, want);
    for (int i = 0; i < dims; i++) {
        sizes[i] = big_endian(header + 4 + 4 * i);
        if (sizes[i] == 0)
            return td_fail(TD_ERR_FORMAT, 0, "sampler", "%s: size 0 in dimension %d of %d", source->name, i,
                           dims);
    }
    return TD_OK;
}

/* Bytes of the whole file; -1 where it cannot be known (a pipe). */
static int64_t file_size(FILE *file) {
    off_t here = ftello(file);
    if (here < 0 || fseeko(file, 0, SEEK_END)) return -1;
    off_t size = ftello(file);
    return fseeko(file, here, SEEK_SET) ? -1 : (int64_t)size;
}

/* The product of the sizes, if a file of `file_bytes` can hold that much. */
static td_status count_bytes(const sampler_source *source, int64_t file_bytes, int dims, const int64_t *sizes,
                             size_t *bytes) {
    size_t product = 1;
    bool fits = true;
    for (int i = 0; i < dims; i++) fits = fits && td_mul_size(product, (size_t)sizes[i], &product);
    if (!fits)
        return td_fail(TD_ERR_FORMAT, 0, "sampler", "%s: its sizes multiply to more than memory can be",
                       source->name);
    size_t most = (size_t)file_bytes;
    if (source->zipped && !td_mul_size(most, MOST_INFLATED, &most)) most = SIZE_MAX;
    if (file_bytes >= 0 && product > most)
        return td_fail(TD_ERR_FORMAT, 0, "sampler",
                       "%s: its header promises %zu bytes, but the whole file has %lld%s; it is cut short or "
                       "damaged",
                       source->name, product, (long long)file_bytes, source->zipped ? " (gzip)" : "");
    *bytes = product;
    return TD_OK;
}

static td_status read_body(sampler_source *source, uint8_t *data, size_t bytes) {
    size_t got;
    uint8_t beyond;
    TD_TRY(sampler_source_read(source, data, bytes, &got));
    if (got < bytes)
        return td_fail(TD_ERR_FORMAT, 0, "sampler", "%s: cut short: %zu of %zu bytes are there", source->name,
                       got, bytes);
    TD_TRY(sampler_source_read(source, &beyond, 1, &got));
    if (got)
        return td_fail(TD_ERR_FORMAT, 0, "sampler",
                       "%s: more follows after the %zu bytes that its header promises", source->name, bytes);
    return TD_OK;
}

static td_status read_opened(sampler_source *source, int64_t file_bytes, int dims,
                             const td_mnist_memory *memory, sampler_idx *idx) {
    sampler_idx read = {0};
    size_t bytes = 0;
    TD_TRY(read_header(source, dims, read.sizes));
    TD_TRY(count_bytes(source, file_bytes, dims, read.sizes, &bytes));
    read.data = memory->allocate(bytes, memory->cookie);
    if (!read.data) return TD_ERR_MEMORY;
    td_status status = read_body(source, read.data, bytes);
    if (status < 0)
        memory->release(read.data, memory->cookie);
    else
        *idx = read;
    return status;
}

td_status sampler_idx_read(FILE *file, const char *name, int dims, const td_mnist_memory *memory,
                           sampler_idx *idx) {
    sampler_source source;
    int64_t bytes = file_size(file);
    td_status status = sampler_source_open(&source, file, name);
    if (status >= 0) status = read_opened(&source, bytes, dims, memory, idx);
    sampler_source_close(&source);
    return status;
}
