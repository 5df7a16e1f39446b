/* The same as in the quick suite, in every way of sharing work, and 100 times. */
#include "worker/going_on.h"

#include <stdio.h>

static const going_on_case cases[] = {
    {"dropout and AdamW", {"-n", "2", "--model", "mnist-cnn", "--batch-size", "8", "--optimizer", "adamw"}},
    {"slices of optimizer state",
     {"-n", "3", "--model", "mnist-cnn", "--batch-size", "6", "--sync", "zero1"}},
    {"one rank",
     {"--model", "mnist-cnn", "--batch-size", "16", "--optimizer", "sgd", "--momentum", "0.9", "--nesterov"}},
    {"accumulated", {"-n", "2", "--model", "mnist-cnn", "--batch-size", "4", "--accumulate", "2"}},
    {"the same order in every epoch", {"-n", "2", "--model", "mlp", "--batch-size", "8", "--no-set-epoch"}},
    {"for any number of ranks",
     {"-n", "2", "--model", "mnist-cnn", "--global-batch-size", "16", "--deterministic", "world"}},
};

START_TEST(a_run_that_is_killed_goes_on_with_the_same_bits) {
    const char *whole = scratch_path("whole"), *killed = scratch_path("killed");
    going_on_whole(&cases[_i], whole);
    going_on_killed(&cases[_i], 6, (unsigned)_i, killed);
    expect_same_files(whole, killed);
}
END_TEST

static const going_on_case often = {
    "often", {"-n", "2", "--model", "mlp", "--batch-size", "8", "--optimizer", "adamw"}};

START_TEST(a_hundred_kills_never_leave_half_a_checkpoint) {
    char whole[200]; /* scratch_path keeps the last few only */
    snprintf(whole, sizeof whole, "%s", scratch_path("whole"));
    going_on_whole(&often, whole);
    for (unsigned i = 0; i < 25; i++) {
        char name[32];
        snprintf(name, sizeof name, "killed-%u", i);
        char killed[200];
        snprintf(killed, sizeof killed, "%s", scratch_path(name));
        going_on_killed(&often, 4, 100 + i, killed);
        expect_same_files(whole, killed);
    }
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("checkpoint");
    TCase *tcase = tcase_create("checkpoint");
    tcase_add_loop_test(tcase, a_run_that_is_killed_goes_on_with_the_same_bits, 0,
                        (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, a_hundred_kills_never_leave_half_a_checkpoint);
    suite_add_tcase(suite, tcase);
    return suite;
}
