/* `tandem train --sync` and --check-sync: the same weights in every way, and a rank that goes its own way found
 * out. */
#include "worker/runs.h"

#include <stdio.h>

#define DIVERGE TD_TEST_BUILD "/tests/libdiverge.so"

static const struct {
    const char *ranks, *model, *optimizer;
} settings[] = {
    {"2", "mlp", "sgd"},   {"3", "mlp", "adam"}, {"2", "mnist-cnn", "adamw"},
    {"4", "mlp", "adamw"}, {"1", "mlp", "adam"},
};

static run train(int i, const char *sync, const char *save) {
    return run_with((launch_setup){0}, (const char *[]){TANDEM,
                                                        "train",
                                                        "--json",
                                                        "-n",
                                                        settings[i].ranks,
                                                        "--model",
                                                        settings[i].model,
                                                        "--optimizer",
                                                        settings[i].optimizer,
                                                        "--data",
                                                        small_mnist(130, 20),
                                                        "--global-batch-size",
                                                        "22",
                                                        "--accumulate",
                                                        "2",
                                                        "--max-norm",
                                                        "0.8",
                                                        "--log-interval",
                                                        "1",
                                                        "--check-sync",
                                                        "2",
                                                        "--save",
                                                        save,
                                                        "--sync",
                                                        sync,
                                                        NULL});
}

START_TEST(every_sync_gives_the_same_bits) {
    const char *a = scratch_path("a"), *b = scratch_path("b"), *c = scratch_path("c");
    run replicated = train(_i, "replicated", a), shared = train(_i, "shared", b),
        zero = train(_i, "zero1", c);
    ck_assert_uint_gt(json_array_size(replicated.steps), 2);
    run_expect_same_losses(&replicated, &shared);
    run_expect_same_losses(&replicated, &zero);
    expect_same_files(a, b);
    expect_same_files(a, c);
    ck_assert_str_eq(json_string_value(json_object_get(zero.start, "sync")), "zero1");
    run_free(&replicated);
    run_free(&shared);
    run_free(&zero);
}
END_TEST

/* Of any pair: a checkpoint made with one, resumed with the other, against a run that never stopped. */
START_TEST(a_run_goes_on_with_another_sync) {
    static const char *const syncs[] = {"replicated", "shared", "zero1"};
    const char *first = syncs[_i / 3], *second = syncs[_i % 3], *data = small_mnist(200, 20);
    const char *a = scratch_path("a"), *b = scratch_path("b"), *folder = scratch_path("checkpoints");
    TRAIN(whole, "-n", "3", "--model", "mlp", "--data", data, "--global-batch-size", "20", "--steps", "10",
          "--sync", first, "--save", a);
    TRAIN(begun, "-n", "3", "--model", "mlp", "--data", data, "--global-batch-size", "20", "--steps", "5",
          "--sync", first, "--checkpoint", folder, "--checkpoint-every", "5");
    TRAIN(ended, "-n", "3", "--model", "mlp", "--data", data, "--global-batch-size", "20", "--steps", "10",
          "--sync", second, "--checkpoint", folder, "--resume", "auto", "--save", b);
    expect_same_files(a, b);
    run_free(&whole);
    run_free(&begun);
    run_free(&ended);
}
END_TEST

START_TEST(shared_is_the_default_where_it_can_be) {
    const char *data = small_mnist(32, 10);
    TRAIN(two, "-n", "2", "--model", "mlp", "--data", data, "--verbose");
    ck_assert_str_eq(json_string_value(json_object_get(two.start, "sync")), "shared");
    ck_assert_ptr_null(json_object_get(two.start, "sync_refusal"));
    ck_contains(two.launch.errors, "weights are kept equal by --sync shared\n");
    TRAIN(one, "--model", "mlp", "--data", data);
    ck_assert_str_eq(json_string_value(json_object_get(one.start, "sync")), "replicated");
    TRAIN(world, "-n", "2", "--model", "mlp", "--data", data, "--deterministic", "world",
          "--global-batch-size", "16");
    ck_assert_str_eq(json_string_value(json_object_get(world.start, "sync")), "replicated");
    run_free(&two);
    run_free(&one);
    run_free(&world);
}
END_TEST

START_TEST(a_rank_whose_weights_differ_is_named_with_the_step) {
    static const char *const preload[] = {"LD_PRELOAD=" DIVERGE, "ASAN_OPTIONS=verify_asan_link_order=0",
                                          NULL};
    launch l = launch_start_with((launch_setup){.environment = preload},
                                 (const char *[]){TANDEM, "train", "-n", "3", "--model", "mlp", "--data",
                                                  small_mnist(300, 10), "--batch-size", "10", "--optimizer",
                                                  "sgd", "--sync", "replicated", "--check-sync", "2", NULL});
    launch_finish(&l);
    ck_code(&l, 1);
    ck_contains(l.errors, "after step 4 parameter 'fc1.bias' on rank 1 differs from the other ranks'");
    launch_free(&l);
}
END_TEST

START_TEST(what_cannot_be_is_refused) {
    launch l = launch_start_with((launch_setup){0},
                                 (const char *[]){TANDEM, "train", "--deterministic", "world", "--sync",
                                                  "shared", "--global-batch-size", "16", NULL});
    launch_finish(&l);
    ck_code(&l, 2);
    ck_contains(l.errors, "--deterministic world knows only --sync replicated");
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("sync");
    TCase *tcase = tcase_create("sync");
    tcase_add_loop_test(tcase, every_sync_gives_the_same_bits, 0, (int)(sizeof settings / sizeof *settings));
    tcase_add_loop_test(tcase, a_run_goes_on_with_another_sync, 0, 9);
    tcase_add_test(tcase, shared_is_the_default_where_it_can_be);
    tcase_add_test(tcase, a_rank_whose_weights_differ_is_named_with_the_step);
    tcase_add_test(tcase, what_cannot_be_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
