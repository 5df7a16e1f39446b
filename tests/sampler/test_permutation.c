/* td_permutation against torch.randperm. */
#include "base/memory.h"
#include "sampler/internal.h"
#include "sampler/permutation.h"
#include "support/check.h"
#include "support/golden.h"

static td_generator *seeded(uint64_t seed) {
    td_generator *generator = NULL;
    ck_ok(td_generator_open(&generator));
    td_generator_seed(generator, seed);
    return generator;
}

/* Known beginnings and ends; a permutation of up to 16 is given whole. */
static const struct {
    uint64_t seed;
    int64_t count;
    int n_first, n_last;
    int64_t first[16], last[4];
} known[] = {
    {0, 5, 5, 0, {4, 0, 1, 3, 2}, {0}},
    {0, 10, 10, 0, {4, 1, 7, 5, 3, 9, 0, 8, 6, 2}, {0}},
    {1, 10, 10, 0, {5, 6, 1, 2, 0, 8, 9, 3, 7, 4}, {0}},
    {42, 10, 10, 0, {2, 6, 1, 8, 4, 5, 0, 9, 3, 7}, {0}},
    {1234, 6, 6, 0, {3, 2, 4, 5, 1, 0}, {0}},
    {1234, 16, 16, 0, {15, 7, 2, 0, 12, 8, 5, 13, 3, 11, 1, 4, 14, 9, 6, 10}, {0}},
    {0, 60000, 8, 4, {36044, 10678, 57327, 55074, 21567, 15479, 9481, 43095}, {6465, 31951, 27130, 1544}},
    {42, 60000, 8, 4, {37542, 43087, 2992, 25810, 39634, 6425, 55768, 11034}, {54582, 28045, 16929, 22100}},
    {0,
     1281167,
     8,
     4,
     {1069931, 571398, 762430, 399643, 899707, 226472, 855447, 424110},
     {1074376, 615438, 152445, 922209}},
    {42,
     1281167,
     8,
     4,
     {772957, 412848, 214023, 1211721, 1197191, 1071034, 1209660, 1131931},
     {847084, 263909, 1202960, 495690}},
};

START_TEST(known_permutations_are_repeated) {
    int64_t count = known[_i].count;
    int64_t *wide = td_calloc((size_t)count, sizeof *wide);
    int32_t *narrow = td_calloc((size_t)count, sizeof *narrow);
    td_generator *generator = seeded(known[_i].seed), *other = seeded(known[_i].seed), *counted;
    td_permutation_i64(generator, wide, count);
    td_permutation_i32(other, narrow, count);
    for (int i = 0; i < known[_i].n_first; i++) ck_assert_int_eq(wide[i], known[_i].first[i]);
    for (int i = 0; i < known[_i].n_last; i++)
        ck_assert_int_eq(wide[count - known[_i].n_last + i], known[_i].last[i]);
    int64_t differing = 0;
    for (int64_t i = 0; i < count; i++) differing += wide[i] != narrow[i];
    ck_assert_int_eq(differing, 0);
    counted = seeded(known[_i].seed);
    for (int64_t i = 0; i < count - 1; i++) td_generator_random(counted);
    uint32_t next = td_generator_random(counted);
    ck_assert_uint_eq(td_generator_random(generator), next);
    ck_assert_uint_eq(td_generator_random(other), next);
    td_generator_close(&counted);
    td_generator_close(&generator);
    td_generator_close(&other);
    td_free(wide);
    td_free(narrow);
}
END_TEST

/* Written as the reference is: one draw, one plain modulo, one exchange. */
START_TEST(every_small_size_is_the_plain_shuffle) {
    int64_t ours[200], plain[200];
    for (int64_t count = 0; count < 200; count++) {
        td_generator *generator = seeded((uint64_t)count), *other = seeded((uint64_t)count);
        td_permutation_i64(generator, ours, count);
        for (int64_t i = 0; i < count; i++) plain[i] = i;
        for (int64_t i = 0; i < count - 1; i++) {
            int64_t there = i + td_generator_random(other) % (count - i), kept = plain[i];
            plain[i] = plain[there];
            plain[there] = kept;
        }
        ck_assert_mem_eq(ours, plain, (size_t)count * sizeof *ours);
        ck_assert_uint_eq(td_generator_random(generator), td_generator_random(other));
        td_generator_close(&generator);
        td_generator_close(&other);
    }
}
END_TEST

START_TEST(the_shuffle_for_huge_sizes_is_inside_out) {
    int64_t wide[200], plain[200];
    int32_t narrow[200];
    for (int64_t count = 0; count < 200; count++) {
        td_generator *a = seeded((uint64_t)count), *b = seeded((uint64_t)count), *c = seeded((uint64_t)count);
        sampler_shuffle_wide_i64(a, wide, count);
        sampler_shuffle_wide_i32(b, narrow, count);
        for (int64_t i = 0; i < count; i++) {
            int64_t there = (int64_t)(td_generator_random64(c) % (uint64_t)(i + 1));
            plain[i] = plain[there];
            plain[there] = i;
        }
        ck_assert_mem_eq(wide, plain, (size_t)count * sizeof *wide);
        for (int64_t i = 0; i < count; i++) ck_assert_int_eq(narrow[i], plain[i]);
        ck_assert_uint_eq(td_generator_random(a), td_generator_random(c));
        td_generator_close(&a);
        td_generator_close(&b);
        td_generator_close(&c);
    }
}
END_TEST

START_TEST(a_million_has_pytorchs_checksum) {
    json_t *root = golden_load("streams.json"), *record;
    size_t i;
    int compared = 0;
    json_array_foreach(golden_list(root, "streams"), i, record) {
        if (strcmp(golden_text(record, "what"), "randperm")) continue;
        int64_t count = golden_int(record, "n"), *order = td_calloc((size_t)count, sizeof *order);
        uint8_t state[TD_GENERATOR_STATE_BYTES];
        td_generator *generator = seeded(golden_seed(record));
        td_permutation_i64(generator, order, count);
        td_generator_get_state(generator, state);
        ck_assert_int_eq(golden_crc(order, (size_t)count * sizeof *order), golden_int(record, "crc32"));
        ck_assert_int_eq(golden_crc(state, sizeof state), golden_int(record, "state_crc32"));
        td_generator_close(&generator);
        td_free(order);
        compared++;
    }
    ck_assert_int_ge(compared, 6);
    json_decref(root);
}
END_TEST

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

Suite *make_suite(void) {
    Suite *suite = suite_create("permutation");
    TCase *tcase = tcase_create("permutation");
    tcase_add_loop_test(tcase, known_permutations_are_repeated, 0, LENGTH(known));
    tcase_add_test(tcase, every_small_size_is_the_plain_shuffle);
    tcase_add_test(tcase, the_shuffle_for_huge_sizes_is_inside_out);
    tcase_add_test(tcase, a_million_has_pytorchs_checksum);
    suite_add_tcase(suite, tcase);
    return suite;
}
