/* A hundred steps, an epoch's end among them, on any number of ranks. */
#include "worker/deterministic.h"

static const deterministic_run long_runs[] = {
    {"mlp", "sgd", "--momentum", "0.9", "50", "100"},
    {"mlp", "adamw", "--weight-decay", "0.1", "50", "100"},
    {"mnist-cnn", "sgd", "--momentum", "0.9", "28", "100"},
    {"mnist-cnn", "adamw", "--weight-decay", "0.1", "28", "100"},
};

START_TEST(a_hundred_steps_have_the_same_bits_on_any_number_of_ranks) {
    expect_same_bits(&long_runs[_i], small_mnist(2003, 20));
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("deterministic, long");
    TCase *tcase = tcase_create("deterministic, long");
    tcase_add_loop_test(tcase, a_hundred_steps_have_the_same_bits_on_any_number_of_ranks, 0,
                        sizeof long_runs / sizeof *long_runs);
    suite_add_tcase(suite, tcase);
    return suite;
}
