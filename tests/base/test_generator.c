/* The generator and its fills against PyTorch: published known answers, then checksums over a million draws.
 */
#include "base/generator.h"
#include "support/check.h"
#include "support/golden.h"

#include <math.h>
#include <stdio.h>

enum { MILLION = 1000000 };

static td_generator *seeded(uint64_t seed) {
    td_generator *generator = NULL;
    ck_ok(td_generator_open(&generator));
    td_generator_seed(generator, seed);
    return generator;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static uint64_t bits64_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The engine. */

static const struct {
    uint64_t seed;
    uint32_t words[6];
} first_words[] = {
    {0, {2357136044u, 2546248239u, 3071714933u, 3626093760u, 2588848963u, 3684848379u}},
    {UINT64_C(1) << 32, {2357136044u, 2546248239u, 3071714933u, 3626093760u, 2588848963u, 3684848379u}},
    {1, {1791095845u, 4282876139u, 3093770124u, 4005303368u, 491263u, 550290313u}},
    {(UINT64_C(1) << 32) + 1, {1791095845u, 4282876139u, 3093770124u, 4005303368u, 491263u, 550290313u}},
    {42, {1608637542u, 3421126067u, 4083286876u, 787846414u, 3143890026u, 3348747335u}},
    {1234, {822569775u, 2137449171u, 2671936806u, 3512589365u, 1880026316u, 2629000564u}},
    {UINT64_C(0x123456789abcdef0), {2526297512u, 470220814u, 637102349u}},
};

START_TEST(the_first_words_of_a_seed_are_known) {
    td_generator *generator = seeded(first_words[_i].seed);
    for (int i = 0; i < 6 && first_words[_i].words[i]; i++)
        ck_assert_uint_eq(td_generator_random(generator), first_words[_i].words[i]);
    td_generator_close(&generator);
}
END_TEST

START_TEST(the_ten_thousandth_word_of_seed_5489_is_the_papers) {
    td_generator *generator = seeded(5489);
    for (int i = 1; i < 10000; i++) td_generator_random(generator);
    ck_assert_uint_eq(td_generator_random(generator), 4123659995u);
    td_generator_close(&generator);
}
END_TEST

START_TEST(a_64_bit_draw_has_its_first_word_on_top) {
    td_generator *generator = seeded(42);
    ck_assert_uint_eq(td_generator_random64(generator), UINT64_C(0x5fe1dc66cbea3db3));
    ck_assert_uint_eq(td_generator_random64(generator), UINT64_C(0xf362035c2ef5950e));
    ck_assert_uint_eq(td_generator_random64(generator), UINT64_C(0xbb63f46ac799d447));
    td_generator_close(&generator);
}
END_TEST

START_TEST(a_new_generator_has_pytorchs_default_seed) {
    td_generator *generator = NULL, *same = seeded(UINT64_C(67280421310721));
    ck_ok(td_generator_open(&generator));
    ck_assert_uint_eq(td_generator_initial_seed(generator), UINT64_C(67280421310721));
    ck_assert_uint_eq(td_generator_random(generator), td_generator_random(same));
    td_generator_close(&generator);
    td_generator_close(&same);
    ck_assert_ptr_null(generator);
}
END_TEST

START_TEST(the_base_seed_of_seed_0_is_known) {
    td_generator *generator = seeded(0);
    ck_assert_int_eq(td_generator_random_i64(generator), 900450186894289455);
    ck_assert_int_eq(td_generator_random_i64(generator), 3969543146641149120);
    td_generator_close(&generator);
}
END_TEST

/* The state blob. */

static const int offsets[] = {0, 1, 15, 623, 624, 625, 1248, 5000};

START_TEST(a_restored_state_goes_on_the_same) {
    td_generator *generator = seeded(7), *other = seeded(99);
    uint8_t state[TD_GENERATOR_STATE_BYTES], again[TD_GENERATOR_STATE_BYTES];
    float normal;
    for (int i = 0; i < offsets[_i]; i++) td_generator_random(generator);
    td_generator_normal_f32(generator, &normal, 1, 0, 1); /* leaves a cached second value */
    td_generator_get_state(generator, state);
    ck_ok(td_generator_set_state(other, state, sizeof state));
    td_generator_get_state(other, again);
    ck_assert_mem_eq(state, again, sizeof state);
    ck_assert_uint_eq(td_generator_initial_seed(other), 7);
    for (int i = 0; i < 1000; i++) {
        float here, there;
        td_generator_normal_f32(generator, &here, 1, 0, 1);
        td_generator_normal_f32(other, &there, 1, 0, 1);
        ck_assert_uint_eq(bits_of(here), bits_of(there));
    }
    td_generator_close(&generator);
    td_generator_close(&other);
}
END_TEST

START_TEST(seeding_forgets_the_cached_normal) {
    td_generator *generator = seeded(3), *fresh = seeded(3);
    float value, expected;
    td_generator_normal_f32(generator, &value, 1, 0, 1);
    td_generator_seed(generator, 3);
    td_generator_normal_f32(generator, &value, 1, 0, 1);
    td_generator_normal_f32(fresh, &expected, 1, 0, 1);
    ck_assert_uint_eq(bits_of(value), bits_of(expected));
    td_generator_close(&generator);
    td_generator_close(&fresh);
}
END_TEST

/* Where the blob keeps what a bad one can get wrong. */
enum { LEFT_AT = 8, SEEDED_AT = 12, NEXT_AT = 16 };

static void refuses(const uint8_t *state, size_t bytes, const char *part) {
    td_generator *generator = seeded(5), *untouched = seeded(5);
    ck_fails(td_generator_set_state(generator, state, bytes), TD_ERR_FORMAT, part);
    ck_assert_uint_eq(td_generator_random(generator), td_generator_random(untouched));
    td_generator_close(&generator);
    td_generator_close(&untouched);
}

START_TEST(an_impossible_state_is_refused_and_changes_nothing) {
    uint8_t good[TD_GENERATOR_STATE_BYTES], bad[TD_GENERATOR_STATE_BYTES];
    td_generator *generator = seeded(1);
    td_generator_random(generator);
    td_generator_get_state(generator, good);
    td_generator_close(&generator);
    refuses(good, sizeof good - 8, "5048 bytes, expected 5056"); /* the form before PyTorch 2 */
    static const struct {
        int at;
        uint8_t value;
    } faults[] = {{LEFT_AT, 0}, {LEFT_AT + 2, 1}, {SEEDED_AT, 0}, {NEXT_AT, 200}, {NEXT_AT + 7, 0x80}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        memcpy(bad, good, sizeof bad);
        bad[faults[i].at] = faults[i].value;
        refuses(bad, sizeof bad, "generator state");
    }
}
END_TEST

/* Known answers of the fills: bits of floats. */

typedef enum { UNIFORM, NORMAL } fill_kind;

static const struct {
    fill_kind kind;
    uint64_t seed;
    double a, b; /* from and to, or mean and std */
    size_t count;
    uint32_t bits[20];
} floats[] = {
    {UNIFORM, 0, 0, 1, 6, {0x3efe1558, 0x3f44aa2f, 0x3db533a8, 0x3e073300, 0x3e9d6686, 0x3f2252fb}},
    {UNIFORM, 42, 0, 1, 6, {0x3f61dc66, 0x3f6a3db3, 0x3ec406b8, 0x3f75950e, 0x3ec7e8d4, 0x3f19d447}},
    {UNIFORM, 0, -.1, .1, 6, {0xba444333, 0x3d5bba30, 0xbda88f45, 0xbd96b867, 0xbd1dc25d, 0x3cdbacad}},
    {NORMAL, 0, 0, 1, 5, {0x3fc53f5c, 0xbe963c50, 0xc00b7149, 0x3f1184b6, 0xbf8ad1a1}},
    {NORMAL, 42, 0, 1, 5, {0x3eac62ae, 0x3e03e69d, 0x3e7016e7, 0x3e6bdc6c, 0xbf8fb9c2}},
    {NORMAL, 1234, 0, 1, 5, {0x3d3cf34c, 0x3ece07be, 0xbf8179c9, 0x3e5df0a1, 0xbf1cbdee}},
    {NORMAL,
     0,
     0,
     1,
     16,
     {0xbf901b85, 0xbf93808a, 0xbe804bd6, 0xbede255d, 0x3f594515, 0x3f312783, 0xbea1cc6d, 0xc0075fc1,
      0x3ea50138, 0xbfa1b4f4, 0x3eb330ff, 0x3e9dc3bb, 0x3df56f77, 0x3f9e6b93, 0x3f8ef28e, 0xbe7d367c}},
    {NORMAL, 0, 0, 1, 20, {0xbf901b85, 0xbf93808a, 0xbe804bd6, 0xbede255d, 0x3f194d8b, 0xbfc70d5b, 0xbeaec6ca,
                           0x3fed2f4e, 0x3eefaa55, 0xbe217f5f, 0x3fb8c9db, 0x3e8837a1, 0x3fb1d6c0, 0x3fcb0d00,
                           0x3f72409c, 0xbf57fb33, 0x3f6e8c30, 0x3fa12737, 0x4000519a, 0x3d5c1b3a}},
    {NORMAL,
     42,
     0,
     1,
     16,
     {0x3ff6a529, 0x3fbe5f53, 0x3f669567, 0xc006c0db, 0x3f2dacd5, 0xbf9e0591, 0xbd306786, 0xbfcd65ba,
      0xbf408bf0, 0x3fd3095b, 0xbec8f2f6, 0xbfb3a966, 0xbf3a566e, 0xbf0f36d1, 0xbf44d2a0, 0x3f432f9f}},
};

START_TEST(f32_fills_give_the_known_bits) {
    td_generator *generator = seeded(floats[_i].seed);
    float values[20];
    if (floats[_i].kind == UNIFORM)
        td_generator_uniform_f32(generator, values, floats[_i].count, floats[_i].a, floats[_i].b);
    else
        td_generator_normal_f32(generator, values, floats[_i].count, floats[_i].a, floats[_i].b);
    for (size_t i = 0; i < floats[_i].count; i++) ck_assert_uint_eq(bits_of(values[i]), floats[_i].bits[i]);
    td_generator_close(&generator);
}
END_TEST

START_TEST(f64_uniforms_give_the_known_bits) {
    static const uint64_t bits[3] = {0x3fef0aac97c4aa2f, 0x3fe6a675d821ccc0, 0x3fdd6687b744a5f6};
    td_generator *generator = seeded(0);
    double values[3];
    td_generator_uniform_f64(generator, values, 3, 0, 1);
    for (int i = 0; i < 3; i++) ck_assert_uint_eq(bits64_of(values[i]), bits[i]);
    td_generator_close(&generator);
}
END_TEST

/* The last bits of these come from the C library's log, sin and cos. */
START_TEST(f64_normals_give_the_known_values) {
    static const uint64_t five[5] = {0x3ff8a7eb8902be3a, 0xbfd2c78a087c6fea, 0xc0016e2920a70ee5,
                                     0x3fe23096ca3e350d, 0xbff15a341987e136};
    static const uint64_t sixteen[3] = {0xc0027bb92e9262dc, 0xbfd7e35794939460, 0xbff0f91ae8d685b6};
    td_generator *generator = seeded(0);
    double values[16], known;
    td_generator_normal_f64(generator, values, 5, 0, 1);
    for (int i = 0; i < 5; i++) {
        memcpy(&known, &five[i], sizeof known);
        ck_assert_double_eq_tol(values[i], known, 4e-16);
    }
    td_generator_seed(generator, 0);
    td_generator_normal_f64(generator, values, 16, 0, 1);
    for (int i = 0; i < 3; i++) {
        memcpy(&known, &sixteen[i], sizeof known);
        ck_assert_double_eq_tol(values[i], known, 4e-16);
    }
    td_generator_close(&generator);
}
END_TEST

START_TEST(a_uniform_never_reaches_its_open_end) {
    td_generator *generator = seeded(0);
    static float values[MILLION];
    int outside = 0;
    for (int round = 0; round < 20; round++) {
        td_generator_uniform_f32(generator, values, MILLION, 100, 101);
        for (int i = 0; i < MILLION; i++) outside += !(values[i] >= 100.0f && values[i] < 101.0f);
    }
    ck_assert_int_eq(outside, 0);
    td_generator_close(&generator);
}
END_TEST

static const struct {
    uint64_t seed;
    double p;
    const char *bits;
} masks[] = {
    {0, .5, "0010001101111011"},
    {42, .5, "1111010011110010"},
    {42, .1, "1101000010000000"},
    /* dropout 0.5 of ones(6, 6), seed 123 */
    {123, .5, "110110000101111101011001010101011110"},
};

START_TEST(bernoulli_gives_the_known_masks) {
    td_generator *generator = seeded(masks[_i].seed);
    uint8_t mask[64];
    size_t count = strlen(masks[_i].bits);
    td_generator_bernoulli(generator, mask, count, masks[_i].p);
    for (size_t i = 0; i < count; i++) ck_assert_int_eq(mask[i], masks[_i].bits[i] - '0');
    td_generator_close(&generator);
}
END_TEST

/* However a fill takes its words, the ones after it are the same. */
START_TEST(fills_and_single_draws_take_the_same_words) {
    static const size_t sizes[] = {0, 1, 2, 255, 256, 257, 311, 312, 313, 511, 512, 513, 623, 624, 625, 1300};
    static uint8_t mask[1300];
    static float values[1300];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int before = 0; before < 700; before += 89) {
            td_generator *filled = seeded(i), *drawn = seeded(i);
            for (int k = 0; k < before; k++)
                ck_quietly(td_generator_random(filled) == td_generator_random(drawn));
            td_generator_bernoulli(filled, mask, sizes[i], .3);
            for (size_t k = 0; k < sizes[i]; k++) {
                double u = (double)(td_generator_random64(drawn) & ((UINT64_C(1) << 53) - 1)) * 0x1p-53;
                ck_quietly(mask[k] == (u < .3));
            }
            td_generator_uniform_f32(filled, values, sizes[i], 0, 1);
            for (size_t k = 0; k < sizes[i]; k++)
                ck_quietly(values[k] == (float)(td_generator_random(drawn) & 0xffffff) * 0x1p-24f);
            ck_quietly(td_generator_random(filled) == td_generator_random(drawn));
            td_generator_close(&filled);
            td_generator_close(&drawn);
        }
    }
}
END_TEST

START_TEST(bernoulli_of_the_ends_is_all_or_nothing) {
    td_generator *generator = seeded(0);
    uint8_t mask[300];
    static const double sure[] = {1, 1.5, 1e300}, never[] = {0, -1, 0.0 / 0.0};
    for (int p = 0; p < 3; p++) {
        td_generator_bernoulli(generator, mask, sizeof mask, sure[p]);
        for (size_t i = 0; i < sizeof mask; i++) ck_quietly(mask[i] == 1);
        td_generator_bernoulli(generator, mask, sizeof mask, never[p]);
        for (size_t i = 0; i < sizeof mask; i++) ck_quietly(mask[i] == 0);
    }
    td_generator_close(&generator);
}
END_TEST

START_TEST(randint_gives_the_known_numbers) {
    static const int64_t small[8] = {44, 39, 33, 60, 63, 79, 27, 3};
    static const int64_t large[3] = {741280623151, 506137267392, 291447657211};
    int64_t values[8];
    td_generator *generator = seeded(0);
    td_generator_randint(generator, values, 8, 0, 100);
    for (int i = 0; i < 8; i++) ck_assert_int_eq(values[i], small[i]);
    td_generator_seed(generator, 0);
    td_generator_randint(generator, values, 3, 0, INT64_C(1) << 40);
    for (int i = 0; i < 3; i++) ck_assert_int_eq(values[i], large[i]);
    td_generator_close(&generator);
}
END_TEST

/* Checksums over long streams, from tests/golden/streams.json. */

static int64_t state_crc(const td_generator *generator) {
    uint8_t state[TD_GENERATOR_STATE_BYTES];
    td_generator_get_state(generator, state);
    return golden_crc(state, sizeof state);
}

/* Many small normals in a row, all by the serial path; the cached value crosses their borders. */
static void serial_normals(td_generator *g, void *out, size_t count, size_t size, const json_t *record) {
    double mean = golden_real_or(record, "mean", 0), std = golden_real_or(record, "std", 1);
    for (size_t i = 0; i < count;) {
        size_t some = count - i < 15 ? count - i : 15;
        if (size == sizeof(float))
            td_generator_normal_f32(g, (float *)out + i, some, mean, std);
        else
            td_generator_normal_f64(g, (double *)out + i, some, mean, std);
        i += some;
    }
}

static void fill_f32(td_generator *g, const char *what, float *out, size_t n, const json_t *record) {
    static uint8_t mask[MILLION];
    double p = golden_real_or(record, "p", 0);
    if (strcmp(what, "rand") == 0)
        td_generator_uniform_f32(g, out, n, 0, 1);
    else if (strncmp(what, "uniform", 7) == 0)
        td_generator_uniform_f32(g, out, n, golden_real_or(record, "from", 0),
                                 golden_real_or(record, "to", 1));
    else if (strcmp(what, "bernoulli") == 0) {
        td_generator_bernoulli(g, mask, n, p);
        for (size_t i = 0; i < n; i++) out[i] = mask[i];
    } else if (strcmp(what, "dropout_of_ones") == 0) {
        td_generator_bernoulli(g, mask, n, 1 - p);
        for (size_t i = 0; i < n; i++) out[i] = mask[i] / (float)(1 - p);
    } else if (strcmp(what, "normal_small_tensors") == 0 || strcmp(what, "normal_with_gaps") == 0)
        serial_normals(g, out, n, sizeof *out, record);
    else if (strcmp(what, "normal_transposed") == 0)
        serial_normals(g, out, n, sizeof *out, record);
    else
        td_generator_normal_f32(g, out, n, golden_real_or(record, "mean", 0),
                                golden_real_or(record, "std", 1));
}

static void fill_f64(td_generator *g, const char *what, double *out, size_t n, const json_t *record) {
    if (strcmp(what, "rand") == 0)
        td_generator_uniform_f64(g, out, n, 0, 1);
    else if (strcmp(what, "uniform") == 0)
        td_generator_uniform_f64(g, out, n, golden_real_or(record, "from", 0),
                                 golden_real_or(record, "to", 1));
    else if (strcmp(what, "randn") == 0)
        td_generator_normal_f64(g, out, n, 0, 1);
    else
        serial_normals(g, out, n, sizeof *out, record);
}

static void fill_i64(td_generator *g, const char *what, int64_t *out, size_t n, const json_t *record) {
    if (strcmp(what, "words64") == 0)
        for (size_t i = 0; i < n; i++) out[i] = (int64_t)td_generator_random64(g);
    else if (strcmp(what, "random") == 0)
        for (size_t i = 0; i < n; i++) out[i] = td_generator_random_i64(g);
    else
        td_generator_randint(g, out, n, golden_int(record, "low"), golden_int(record, "high"));
}

/* The result's elements in row-major order, when the fill went along the other dimension. */
static void transpose(float *values, const json_t *record) {
    static float filled[60000];
    size_t rows = (size_t)golden_int(record, "rows"), columns = (size_t)golden_int(record, "columns");
    memcpy(filled, values, rows * columns * sizeof *values);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) values[r * columns + c] = filled[c * rows + r];
}

static size_t draw(td_generator *g, const json_t *record, void *out) {
    const char *what = golden_text(record, "what"), *dtype = golden_text(record, "dtype");
    size_t n = (size_t)golden_int(record, "n");
    if (strcmp(dtype, "f32") == 0) {
        fill_f32(g, what, out, n, record);
        if (json_object_get(record, "rows")) transpose(out, record);
        return n * sizeof(float);
    }
    if (strcmp(dtype, "f64") == 0) return fill_f64(g, what, out, n, record), n * sizeof(double);
    if (strcmp(dtype, "i64") == 0) return fill_i64(g, what, out, n, record), n * sizeof(int64_t);
    uint32_t *words = out;
    bool halved = strcmp(dtype, "i32") == 0; /* random_() of an int32 tensor: modulo 2^31 */
    for (size_t i = 0; i < n; i++) words[i] = td_generator_random(g) & (halved ? INT32_MAX : UINT32_MAX);
    return n * sizeof *words;
}

/* Where the C library decides the last bits, only the head is compared, to a few of them. */
static void compare_head(const json_t *record, const double *values) {
    const json_t *head = json_object_get(record, "head");
    for (size_t i = 0; i < json_array_size(head); i++) {
        uint64_t bits = strtoull(json_string_value(json_array_get(head, i)), NULL, 16);
        double known;
        memcpy(&known, &bits, sizeof known);
        ck_assert_msg(fabs(values[i] - known) <= 1e-15 * (1 + fabs(known)), "%s: element %zu is %.17g",
                      golden_describe(record), i, values[i]);
    }
}

START_TEST(long_streams_have_pytorchs_checksums) {
    static double room[MILLION];
    json_t *root = golden_load("streams.json"), *record;
    size_t i;
    int compared = 0;
    json_array_foreach(golden_list(root, "streams"), i, record) {
        if (strcmp(golden_text(record, "what"), "randperm") == 0) continue; /* sampler/test_permutation */
        td_generator *generator = seeded(golden_seed(record));
        size_t bytes = draw(generator, record, room);
        if (golden_flag(record, "libm"))
            compare_head(record, room);
        else
            ck_assert_msg(golden_crc(room, bytes) == golden_int(record, "crc32"), "other values than %s",
                          golden_describe(record));
        ck_assert_msg(state_crc(generator) == golden_int(record, "state_crc32"), "other state after %s",
                      golden_describe(record));
        td_generator_close(&generator);
        compared++;
    }
    ck_assert_int_ge(compared, 100);
    json_decref(root);
}
END_TEST

START_TEST(the_state_blob_is_pytorchs) {
    json_t *root = golden_load("streams.json"), *record;
    size_t i;
    json_array_foreach(golden_list(root, "states"), i, record) {
        td_generator *generator = seeded(golden_seed(record));
        for (int64_t k = golden_int(record, "draws"); k > 0; k--) td_generator_random(generator);
        ck_assert_int_eq(golden_int(record, "bytes"), TD_GENERATOR_STATE_BYTES);
        ck_assert_msg(state_crc(generator) == golden_int(record, "state_crc32"), "other state after %s",
                      golden_describe(record));
        td_generator_close(&generator);
    }
    json_decref(root);
}
END_TEST

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

Suite *make_suite(void) {
    Suite *suite = suite_create("generator");
    TCase *tcase = tcase_create("generator");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, the_first_words_of_a_seed_are_known, 0, LENGTH(first_words));
    tcase_add_test(tcase, the_ten_thousandth_word_of_seed_5489_is_the_papers);
    tcase_add_test(tcase, a_64_bit_draw_has_its_first_word_on_top);
    tcase_add_test(tcase, a_new_generator_has_pytorchs_default_seed);
    tcase_add_test(tcase, the_base_seed_of_seed_0_is_known);
    tcase_add_loop_test(tcase, a_restored_state_goes_on_the_same, 0, LENGTH(offsets));
    tcase_add_test(tcase, seeding_forgets_the_cached_normal);
    tcase_add_test(tcase, an_impossible_state_is_refused_and_changes_nothing);
    tcase_add_loop_test(tcase, f32_fills_give_the_known_bits, 0, LENGTH(floats));
    tcase_add_test(tcase, f64_uniforms_give_the_known_bits);
    tcase_add_test(tcase, f64_normals_give_the_known_values);
    tcase_add_test(tcase, a_uniform_never_reaches_its_open_end);
    tcase_add_loop_test(tcase, bernoulli_gives_the_known_masks, 0, LENGTH(masks));
    tcase_add_test(tcase, fills_and_single_draws_take_the_same_words);
    tcase_add_test(tcase, bernoulli_of_the_ends_is_all_or_nothing);
    tcase_add_test(tcase, randint_gives_the_known_numbers);
    tcase_add_test(tcase, long_streams_have_pytorchs_checksums);
    tcase_add_test(tcase, the_state_blob_is_pytorchs);
    suite_add_tcase(suite, tcase);
    return suite;
}
