/* Both sides of the size where torch.randperm changes its ways; answers from PyTorch 2.15. Takes 1 GB and
 * some seconds. */
#include "base/memory.h"
#include "sampler/permutation.h"
#include "support/check.h"

static const struct {
    int64_t count;
    int64_t first[6], last[3];
    int64_t next[2]; /* randint(0, 100) afterwards */
} known[] = {
    {214748363, {209652414, 184016258, 65237881, -1}, {-1}, {-1}},
    {214748364,
     {180140102, 136514640, 18739608, 22357822, 33761584, 3964423},
     {10659741, 142775043, 79202631},
     {38, 26}},
    {214748365,
     {180140102, 136514640, 18739608, 22357822, 33761584, -1},
     {142775043, 79202631, 49380326},
     {86, 4}},
};

START_TEST(the_border_of_the_64_bit_shuffle_is_pytorchs) {
    int64_t count = known[_i].count, next[2];
    int32_t *order = td_calloc((size_t)count, sizeof *order);
    ck_assert_ptr_nonnull(order);
    td_generator *generator = NULL;
    ck_ok(td_generator_open(&generator));
    td_generator_seed(generator, 0);
    td_permutation_i32(generator, order, count);
    td_generator_randint(generator, next, 2, 0, 100);
    for (int i = 0; i < 6 && known[_i].first[i] >= 0; i++) ck_assert_int_eq(order[i], known[_i].first[i]);
    for (int i = 0; i < 3 && known[_i].last[0] >= 0; i++)
        ck_assert_int_eq(order[count - 3 + i], known[_i].last[i]);
    for (int i = 0; i < 2 && known[_i].next[0] >= 0; i++) ck_assert_int_eq(next[i], known[_i].next[i]);
    td_generator_close(&generator);
    td_free(order);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("permutation of huge sizes");
    TCase *tcase = tcase_create("huge");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, the_border_of_the_64_bit_shuffle_is_pytorchs, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
