/* --deterministic world: losses, scores and weights of `tandem train` by their bytes, over numbers of ranks. */
#include "worker/deterministic.h"

static const deterministic_run short_runs[] = {
    {"mlp", "sgd", "--momentum", "0.9", "60", "9"},
    {"mlp", "adamw", "--weight-decay", "0.1", "60", "9"},
    {"mnist-bn", "sgd", "--momentum", "0.9", "60", "6"},
    {"mnist-cnn", "sgd", "--momentum", "0.9", "60", "5"},
    {"mnist-cnn", "adamw", "--weight-decay", "0.1", "60", "5"},
};

#define SETTING(model, steps, path)                                                                          \
    "--model", model, "--data", small_mnist(203, 45), "--deterministic", "world", "--global-batch-size",     \
        "60", "--steps", steps, "--save", path

/* 203 samples in global batches of 60: no number of ranks divides them all, and an epoch ends with 23. */
START_TEST(any_number_of_ranks_gives_the_same_bits) {
    expect_same_bits(&short_runs[_i], small_mnist(203, 45));
}
END_TEST

/* Stopped in the middle of an epoch with dropout (mnist-cnn), or with running statistics (mnist-bn). */
START_TEST(a_run_may_go_on_with_another_number_of_ranks) {
    const char *model = _i ? "mnist-cnn" : "mnist-bn", *data = small_mnist(203, 45);
    const char *a = scratch_path("a"), *b = scratch_path("b"), *folder = scratch_path("checkpoints");
#define HERE "--model", model, "--data", data, "--deterministic", "world", "--global-batch-size", "60"
    TRAIN(whole, "-n", "2", HERE, "--steps", "8", "--save", a);
    TRAIN(first, "-n", "3", HERE, "--steps", "6", "--checkpoint", folder);
    TRAIN(second, "-n", "4", HERE, "--steps", "8", "--checkpoint", folder, "--resume", "auto", "--save", b);
#undef HERE
    ck_assert_int_eq(json_integer_value(json_object_get(second.start, "resumed_step")), 6);
    expect_same_files(a, b);
    run_free(&whole);
    run_free(&first);
    run_free(&second);
}
END_TEST

START_TEST(other_numbers_of_groups_are_another_computation) {
    const char *a = scratch_path("a"), *b = scratch_path("b");
    TRAIN(eight, "-n", "2", SETTING("mlp", "3", a));
    TRAIN(four, "-n", "2", SETTING("mlp", "3", b), "--sample-groups", "4");
    ck_assert_int_eq(json_integer_value(json_object_get(eight.start, "sample_groups")), 8);
    ck_assert_int_eq(json_integer_value(json_object_get(four.start, "sample_groups")), 4);
    ck_assert_str_eq(json_string_value(json_object_get(four.start, "deterministic")), "world");
    ck_assert(!json_equal(eight.evals, four.evals)); /* losses differ in their last digits */
    run_free(&eight);
    run_free(&four);
}
END_TEST

static const struct {
    const char *arguments[8], *said;
} refused[] = {
    {{"--deterministic", "world"}, "needs --global-batch-size"},
    {{"--deterministic", "world", "--global-batch-size", "8", "--threads", "2"}, "use more ranks"},
    {{"--deterministic", "world", "--global-batch-size", "8", "--accumulate", "2"},
     "--accumulate has no use"},
    {{"--deterministic", "world", "--global-batch-size", "8", "--sample-groups", "6"}, "a power of two"},
    {{"--sample-groups", "4"}, "belongs to --deterministic world"},
};

START_TEST(what_contradicts_it_is_refused) {
    const char *words[12] = {TANDEM, "train"};
    for (int i = 0; refused[_i].arguments[i]; i++) words[2 + i] = refused[_i].arguments[i];
    launch l = launch_start_with((launch_setup){0}, words);
    launch_finish(&l);
    ck_assert_int_eq(launch_code(&l), 2);
    ck_contains(l.errors, refused[_i].said);
    launch_free(&l);
}
END_TEST

START_TEST(more_ranks_than_groups_are_refused) {
    const char *const words[] = {
        TANDEM, "train", "-n", "4", SETTING("mlp", "1", scratch_path("a")), "--sample-groups", "2", NULL};
    launch l = launch_start_with((launch_setup){0}, words);
    launch_finish(&l);
    ck_assert_int_eq(launch_code(&l), 1);
    ck_contains(l.errors, "2 groups for 4 ranks");
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("deterministic");
    TCase *tcase = tcase_create("deterministic");
    tcase_add_loop_test(tcase, any_number_of_ranks_gives_the_same_bits, 0,
                        sizeof short_runs / sizeof *short_runs);
    tcase_add_loop_test(tcase, a_run_may_go_on_with_another_number_of_ranks, 0, 2);
    tcase_add_test(tcase, other_numbers_of_groups_are_another_computation);
    tcase_add_loop_test(tcase, what_contradicts_it_is_refused, 0, sizeof refused / sizeof *refused);
    tcase_add_test(tcase, more_ranks_than_groups_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
