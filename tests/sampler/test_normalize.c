/* Bytes to normalised floats: PyTorch's bits, by every way that this processor has. */
#include "sampler/normalize.h"
#include "support/check.h"
#include "support/golden.h"

/* CRC-32 of torch.arange(256, dtype=uint8).to(float32).div(255).sub_(mean).div_(std), PyTorch 2.15; mean and
 * std are float32 tensors, as in torchvision's Normalize. */
static const struct {
    double mean, std;
    int64_t crc;
} known[] = {
    {0.1307, 0.3081, 2233784032},
    {0.5, 0.5, 3056371012},
    {0.2860, 0.3530, 1256253275},
};

START_TEST(the_table_has_pytorchs_bits) {
    sampler_normalizer normalizer;
    sampler_normalizer_init(&normalizer, known[_i].mean, known[_i].std);
    ck_assert_int_eq(golden_crc(normalizer.table, sizeof normalizer.table), known[_i].crc);
}
END_TEST

START_TEST(usual_means_are_served_by_every_way) {
    sampler_normalizer normalizer;
    for (const sampler_normalize_way *way = sampler_normalize_ways; way->run; way++) {
        if (!way->can()) continue;
        sampler_normalizer_init(&normalizer, known[_i].mean, known[_i].std);
        ck_assert(sampler_normalize_agrees(&normalizer, way));
    }
}
END_TEST

/* A few of these have a quotient so near to the middle between two floats that only a division gets it right.
 */
START_TEST(whatever_the_mean_the_bits_are_the_tables) {
    sampler_normalizer normalizer;
    for (int i = 0; i < 1000; i++) {
        sampler_normalizer_init(&normalizer, i % 100 / 100.0, (i / 10 + 1) / 100.0);
        ck_quietly(sampler_normalize_agrees(&normalizer, &(sampler_normalize_way){.run = normalizer.run}));
    }
}
END_TEST

START_TEST(a_way_that_disagrees_is_not_used) {
    sampler_normalizer normalizer;
    sampler_normalizer_init(&normalizer, 0.1307, 0.3081);
    normalizer.table[200] = 0; /* as if the processor's answer were another */
    for (const sampler_normalize_way *way = sampler_normalize_ways; way->run; way++)
        ck_assert(!way->can() ||
                  sampler_normalize_agrees(&normalizer, way) == (strcmp(way->name, "table") == 0));
}
END_TEST

START_TEST(no_way_touches_what_lies_beside) {
    enum { MOST = 100, GUARD = 8 };
    sampler_normalizer normalizer;
    uint8_t in[MOST + 3];
    sampler_normalizer_init(&normalizer, 0.1307, 0.3081);
    for (int i = 0; i < MOST + 3; i++) in[i] = (uint8_t)(i * 37);
    for (const sampler_normalize_way *way = sampler_normalize_ways; way->run; way++) {
        if (!way->can()) continue;
        for (size_t count = 0; count <= MOST; count++) {
            float out[MOST + 2 * GUARD];
            for (int i = 0; i < MOST + 2 * GUARD; i++) out[i] = -77;
            way->run(&normalizer, in + count % 3, count, out + GUARD);
            for (size_t i = 0; i < MOST + 2 * GUARD; i++) {
                bool inside = i >= GUARD && i < GUARD + count;
                float expected = inside ? normalizer.table[in[count % 3 + i - GUARD]] : -77;
                ck_quietly(out[i] == expected);
            }
        }
    }
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("normalize");
    TCase *tcase = tcase_create("normalize");
    tcase_add_loop_test(tcase, the_table_has_pytorchs_bits, 0, 3);
    tcase_add_loop_test(tcase, usual_means_are_served_by_every_way, 0, 3);
    tcase_add_test(tcase, whatever_the_mean_the_bits_are_the_tables);
    tcase_add_test(tcase, a_way_that_disagrees_is_not_used);
    tcase_add_test(tcase, no_way_touches_what_lies_beside);
    suite_add_tcase(suite, tcase);
    return suite;
}
