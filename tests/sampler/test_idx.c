/* The IDX reader on sound and on damaged files. */
#include "base/memory.h"
#include "sampler/idx.h"
#include "support/check.h"
#include "support/idx_bytes.h"

static const uint32_t shape[3] = {5, 4, 3};
enum { BODY = 5 * 4 * 3, HEADER = 16 };

/* An allocator that counts, so that a test sees what a failed read gave back. */
static int blocks;
static bool exhausted;
static size_t largest;

static void *counted_alloc(size_t bytes, void *cookie) {
    (void)cookie;
    largest = bytes > largest ? bytes : largest;
    if (exhausted) {
        td_fail(TD_ERR_MEMORY, 0, "test", "the arena is full");
        return NULL;
    }
    blocks++;
    return td_alloc(bytes);
}
static void counted_free(void *block, void *cookie) {
    (void)cookie;
    blocks--;
    td_free(block);
}
static const td_mnist_memory memory = {counted_alloc, counted_free, NULL};

static td_status read_bytes(const void *bytes, size_t size, int dims, sampler_idx *idx) {
    FILE *file = fmemopen((void *)(uintptr_t)bytes, size, "rb");
    ck_quietly(file != NULL);
    td_status status = sampler_idx_read(file, "x.idx", dims, &memory, idx);
    fclose(file);
    return status;
}

static void reads_well(const idx_bytes *file) {
    sampler_idx idx = {0};
    ck_ok(read_bytes(file->bytes, file->size, 3, &idx));
    for (int i = 0; i < 3; i++) ck_assert_int_eq(idx.sizes[i], shape[i]);
    for (int i = 0; i < BODY; i++) ck_quietly(idx.data[i] == (uint8_t)(i * 7));
    counted_free(idx.data, NULL);
}

START_TEST(a_plain_and_a_gzipped_file_read_the_same) {
    idx_bytes plain = idx_make(3, shape), zipped = idx_zip(&plain);
    reads_well(&plain);
    reads_well(&zipped);
}
END_TEST

START_TEST(gzip_files_may_have_several_members) {
    idx_bytes plain = idx_make(3, shape), first = plain, second = plain;
    first.size = 37;
    memmove(second.bytes, second.bytes + 37, second.size - 37);
    second.size -= 37;
    idx_bytes zipped = idx_zip(&first), rest = idx_zip(&second);
    idx_append(&zipped, rest.bytes, rest.size);
    reads_well(&zipped);
}
END_TEST

START_TEST(a_file_cut_short_anywhere_is_refused) {
    idx_bytes plain = idx_make(3, shape), zipped = idx_zip(&plain);
    const idx_bytes *files[2] = {&plain, &zipped};
    for (int f = 0; f < 2; f++) {
        for (size_t size = 1; size < files[f]->size; size++) {
            sampler_idx idx = {0};
            td_status status = read_bytes(files[f]->bytes, size, 3, &idx);
            if (status != TD_ERR_FORMAT || idx.data || blocks)
                ck_abort_msg("cut to %zu: %s, %s", size, td_status_name(status), td_error_last()->text);
        }
    }
}
END_TEST

START_TEST(a_changed_byte_of_a_plain_header_is_refused) {
    idx_bytes plain = idx_make(3, shape);
    for (size_t at = 0; at < HEADER; at++) {
        for (int bit = 0; bit < 8; bit++) {
            idx_bytes bad = plain;
            bad.bytes[at] ^= (uint8_t)(1 << bit);
            sampler_idx idx = {0};
            td_status status = read_bytes(bad.bytes, bad.size, 3, &idx);
            ck_quietly(status == TD_ERR_FORMAT && !idx.data && !blocks);
        }
    }
}
END_TEST

/* Bits that mean nothing (a time stamp, a flag) may change; what is unpacked then is the same. */
START_TEST(a_changed_bit_of_a_gzip_file_is_refused_or_harmless) {
    idx_bytes plain = idx_make(3, shape), zipped = idx_zip(&plain);
    int refused = 0, harmless = 0;
    for (size_t at = 0; at < zipped.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            idx_bytes bad = zipped;
            bad.bytes[at] ^= (uint8_t)(1 << bit);
            sampler_idx idx = {0};
            td_status status = read_bytes(bad.bytes, bad.size, 3, &idx);
            if (status >= 0) {
                ck_quietly(memcmp(idx.data, plain.bytes + HEADER, BODY) == 0);
                counted_free(idx.data, NULL);
                harmless++;
                continue;
            }
            ck_quietly(status == TD_ERR_FORMAT && !idx.data && !blocks);
            refused++;
        }
    }
    ck_assert_int_lt(harmless, 8 * 10); /* within gzip's header of ten bytes */
    ck_assert_int_gt(refused, 8 * 20);
}
END_TEST

/* Whole files that are wrong in one way, and what the message must say. */
static const struct {
    const char *part;
    size_t size;
    uint8_t bytes[24];
} wrong[] = {
    {"only 3 bytes, less than the header's 16", 3, {0, 0, 8}},
    {"only 10 bytes, less than the header's 16", 10, {0, 0, 8, 3, 0, 0, 0, 1, 0, 0}},
    {"magic number 0x00000801 (a file of labels), expected 0x00000803 (a file of images)",
     9,
     {0, 0, 8, 1, 0, 0, 0, 1, 7}},
    {"magic number 0x00000d03, expected", 16, {0, 0, 13, 3}},
    {"magic number 0x89504e47 (not an IDX file)", 16, {0x89, 'P', 'N', 'G'}},
    {"size 0 in dimension 0 of 3", 16, {0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}},
    {"size 0 in dimension 2 of 3", 16, {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}},
    {"multiply to more than memory can be",
     16,
     {0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}},
    {"promises 1099511627776 bytes, but the whole file has 16",
     16,
     {0, 0, 8, 3, 0, 1, 0, 0, 0, 0, 16, 0, 0, 0, 16, 0}},
    {"cut short: 1 of 2 bytes are there", 17, {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 9}},
    {"more follows after the 2 bytes", 19, {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9}},
};

START_TEST(what_is_wrong_is_said) {
    sampler_idx idx = {0};
    ck_fails(read_bytes(wrong[_i].bytes, wrong[_i].size, 3, &idx), TD_ERR_FORMAT, wrong[_i].part);
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "x.idx: "));
    ck_assert_ptr_null(idx.data);
    ck_assert_int_eq(blocks, 0);
    ck_assert_uint_le(largest, 2);
}
END_TEST

START_TEST(bytes_after_a_gzip_member_are_refused) {
    idx_bytes plain = idx_make(3, shape), zipped = idx_zip(&plain);
    sampler_idx idx = {0};
    idx_append(&zipped, "xyz", 3);
    ck_fails(read_bytes(zipped.bytes, zipped.size, 3, &idx), TD_ERR_FORMAT, "but something follows");
    ck_assert_int_eq(blocks, 0);
    zipped = idx_zip(&plain);
    idx_append(&zipped, "\x1f\x8b", 2); /* the beginning of a member that never comes */
    ck_fails(read_bytes(zipped.bytes, zipped.size, 3, &idx), TD_ERR_FORMAT, "cut short");
    ck_assert_int_eq(blocks, 0);
}
END_TEST

/* A small file that claims to unpack to gigabytes is not believed. */
START_TEST(no_memory_is_asked_for_on_a_files_word_alone) {
    static const uint32_t huge[3] = {60000, 280, 280};
    idx_bytes plain = idx_make(3, (uint32_t[3]){1, 1, 1});
    for (int i = 0; i < 3; i++)
        for (int b = 0; b < 4; b++) plain.bytes[4 + 4 * i + b] = (uint8_t)(huge[i] >> (24 - 8 * b));
    idx_bytes zipped = idx_zip(&plain);
    sampler_idx idx = {0};
    ck_fails(read_bytes(plain.bytes, plain.size, 3, &idx), TD_ERR_FORMAT, "promises 4704000000 bytes");
    ck_fails(read_bytes(zipped.bytes, zipped.size, 3, &idx), TD_ERR_FORMAT, "(gzip)");
    ck_assert_uint_eq(largest, 0);
}
END_TEST

START_TEST(a_full_arena_is_a_status) {
    idx_bytes plain = idx_make(3, shape);
    sampler_idx idx = {0};
    exhausted = true;
    ck_fails(read_bytes(plain.bytes, plain.size, 3, &idx), TD_ERR_MEMORY, "the arena is full");
    ck_assert_ptr_null(idx.data);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("idx");
    TCase *tcase = tcase_create("idx");
    tcase_add_test(tcase, a_plain_and_a_gzipped_file_read_the_same);
    tcase_add_test(tcase, gzip_files_may_have_several_members);
    tcase_add_test(tcase, a_file_cut_short_anywhere_is_refused);
    tcase_add_test(tcase, a_changed_byte_of_a_plain_header_is_refused);
    tcase_add_test(tcase, a_changed_bit_of_a_gzip_file_is_refused_or_harmless);
    tcase_add_loop_test(tcase, what_is_wrong_is_said, 0, (int)(sizeof wrong / sizeof *wrong));
    tcase_add_test(tcase, bytes_after_a_gzip_member_are_refused);
    tcase_add_test(tcase, no_memory_is_asked_for_on_a_files_word_alone);
    tcase_add_test(tcase, a_full_arena_is_a_status);
    suite_add_tcase(suite, tcase);
    return suite;
}
