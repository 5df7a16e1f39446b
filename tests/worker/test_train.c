/* `tandem train` as its user sees it: the events it prints, and that the numbers do not depend on who
 * launches it. */
#include "worker/runs.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

START_TEST(events_have_the_documented_keys) {
    TRAIN(r, "-n", "2", "--model", "mlp", "--data", small_mnist(300, 50), "--epochs", "2", "--batch-size",
          "16", "--log-interval", "7", "--eval-interval", "8", "--seed", "3");
    json_error_t error;
    const char *event, *model, *backend, *device, *launcher, *optimizer;
    json_int_t parameters, world, threads, batch, seed, train, test;
    double lr;
    if (json_unpack_ex(r.start, &error, 0, "{ss ss sI sI ss ss ss sI sI ss sF sI sI sI}", "event", &event,
                       "model", &model, "parameters", &parameters, "world_size", &world, "backend", &backend,
                       "device", &device, "launcher", &launcher, "threads", &threads, "batch_size", &batch,
                       "optimizer", &optimizer, "lr", &lr, "seed", &seed, "train_samples", &train,
                       "test_samples", &test))
        ck_abort_msg("start: %s", error.text);
    ck_assert_str_eq(model, "mlp");
    ck_assert_int_eq(parameters, 784 * 256 + 256 + 256 * 10 + 10);
    ck_assert_int_eq(world, 2);
    ck_assert_str_eq(backend, "shm");
    ck_assert_str_eq(device, "cpu");
    ck_assert_str_eq(launcher, "tandem run");
    ck_assert_int_ge(threads, 1);
    ck_assert_int_eq(train, 300);
    ck_assert_int_eq(test, 50);

    /* 150 samples a rank: 10 steps an epoch, the last of 6 samples a rank. */
    ck_assert_uint_eq(json_array_size(r.steps), 2);
    for (size_t i = 0; i < 2; i++) {
        json_int_t epoch, step, samples;
        double loss, accuracy;
        if (json_unpack_ex(json_array_get(r.steps, i), &error, 0, "{sI sI sF sI sF}", "epoch", &epoch, "step",
                           &step, "loss", &loss, "samples", &samples, "accuracy", &accuracy))
            ck_abort_msg("step: %s", error.text);
        ck_assert_int_eq(step, 7 * ((json_int_t)i + 1));
        ck_assert_int_eq(epoch, (json_int_t)i);
        ck_assert_int_eq(samples, 32);
        ck_assert(accuracy >= 0 && accuracy <= 1);
    }

    /* After steps 8 and 16, and after each epoch. */
    const json_int_t tested_after[] = {8, 10, 16, 20};
    ck_assert_uint_eq(json_array_size(r.evals), 4);
    for (size_t i = 0; i < 4; i++) {
        json_int_t epoch, step, correct, samples;
        double loss, accuracy;
        if (json_unpack_ex(json_array_get(r.evals, i), &error, 0, "{sI sI sF sF sI sI}", "epoch", &epoch,
                           "step", &step, "loss", &loss, "accuracy", &accuracy, "correct", &correct,
                           "samples", &samples))
            ck_abort_msg("eval: %s", error.text);
        ck_assert_int_eq(step, tested_after[i]);
        ck_assert_int_eq(samples, 50);
        ck_assert_double_eq_tol(accuracy, (double)correct / 50, 1e-8);
    }

    json_int_t steps;
    double seconds, pace;
    json_t *peaks;
    if (json_unpack_ex(r.end, &error, 0, "{sI sF sF so}", "steps", &steps, "seconds", &seconds,
                       "samples_per_second", &pace, "peak_memory_bytes", &peaks))
        ck_abort_msg("end: %s", error.text);
    ck_assert_int_eq(steps, 20);
    ck_assert_uint_eq(json_array_size(peaks), 2);
    for (size_t i = 0; i < 2; i++) ck_assert_int_gt(json_integer_value(json_array_get(peaks, i)), 1 << 20);
    ck_contains(r.launch.errors, "203,530 parameters"); /* people's text goes there */
    run_free(&r);
}
END_TEST

/* --- the same numbers ----------------------------------------------------------------------------------- */

#define SETTING                                                                                              \
    "--data", small_mnist(200, 40), "--batch-size", "8", "--log-interval", "1", "--seed", "7", "--save"

START_TEST(two_runs_give_the_same_bits) {
    const char *model = _i ? "mnist-cnn" : "mlp", *a = scratch_path("a"), *b = scratch_path("b");
    TRAIN(first, "-n", "2", "--model", model, SETTING, a);
    TRAIN(second, "-n", "2", "--model", model, SETTING, b);
    run_expect_same_losses(&first, &second);
    expect_same_files(a, b);
    run_free(&first);
    run_free(&second);
}
END_TEST

/* Ways to start two ranks. torchrun is only simulated here: a shell that sets its variables. */
static const char torchrun[] =
    "export WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$((20000 + $$ % 20000)) "
    "TORCHELASTIC_RUN_ID=test-$$ TORCHELASTIC_RESTART_COUNT=0;"
    "RANK=1 LOCAL_RANK=1 \"$@\" & RANK=0 LOCAL_RANK=0 \"$@\"; s=$?; wait $! && exit $s";

static const char *const one_thread[] = {"OMP_NUM_THREADS=1", NULL};
static const char *const torchrun_start[] = {"sh", "-c", torchrun, "torchrun", TANDEM, NULL};
static const char *const launcher_start[] = {TANDEM, "run", "-n", "2", "--", "tandem", NULL};

static const struct {
    const char *name;
    const char *const *start; /* what comes before "train" */
} ways[] = {
    {"tandem run", launcher_start}, {"torchrun", torchrun_start}, /* and mpirun in test_mpirun.c */
};

START_TEST(every_launcher_gives_the_same_bits) {
    const char *a = scratch_path("a"), *b = scratch_path("b"), *data = small_mnist(200, 40);
    const char *const rest[] = {
        "train", "--json",         "--model", "mlp",    "--data", data, "--batch-size",
        "8",     "--log-interval", "1",       "--save", b,        NULL};
    const char *argv[32];
    int n = 0;
    for (const char *const *w = ways[_i].start; *w; w++) argv[n++] = *w;
    for (const char *const *w = rest; *w; w++) argv[n++] = *w;
    argv[n] = NULL;
    run ours =
        run_with((launch_setup){.environment = one_thread},
                 (const char *[]){TANDEM, "train", "-n", "2", "--json", "--model", "mlp", "--data", data,
                                  "--batch-size", "8", "--log-interval", "1", "--save", a, NULL});
    run theirs = run_with((launch_setup){.environment = one_thread}, argv);
    ck_assert_str_eq(json_string_value(json_object_get(theirs.start, "launcher")), ways[_i].name);
    ck_assert_int_eq(json_integer_value(json_object_get(theirs.start, "world_size")), 2);
    ck_assert_str_eq(json_string_value(json_object_get(theirs.start, "backend")), "shm");
    run_expect_same_losses(&ours, &theirs);
    expect_same_files(a, b);
    run_free(&ours);
    run_free(&theirs);
}
END_TEST

START_TEST(two_ranks_of_32_are_one_rank_of_64) {
    const char *data = small_mnist(640, 40);
    TRAIN(one, "--model", "mlp", "--data", data, "--batch-size", "64", "--log-interval", "1", "--optimizer",
          "sgd", "--lr", "0.1");
    TRAIN(two, "-n", "2", "--model", "mlp", "--data", data, "--batch-size", "32", "--log-interval", "1",
          "--optimizer", "sgd", "--lr", "0.1");
    TRAIN(global, "-n", "3", "--model", "mlp", "--data", data, "--global-batch-size", "64", "--log-interval",
          "1", "--optimizer", "sgd", "--lr", "0.1");
    ck_assert_uint_eq(json_array_size(one.steps), 10);
    for (size_t i = 0; i < 10; i++) {
        ck_assert_double_eq_tol(run_loss(&two, i), run_loss(&one, i), 1e-5 * run_loss(&one, i));
        ck_assert_double_eq_tol(run_loss(&global, i), run_loss(&one, i), 1e-5 * run_loss(&one, i));
    }
    run_free(&one);
    run_free(&two);
    run_free(&global);
}
END_TEST

/* 20 batches of 16 a rank are 5 steps of 4, and 21 are one more of a single batch; in between nothing is exchanged,
 * so the losses are those of the large batches. */
START_TEST(accumulated_batches_are_one_large_batch) {
    static const struct {
        const char *kind, *small, *large, *accumulate;
        int samples;
    } cases[] = {{"--batch-size", "16", "64", "4", 640},
                 {"--batch-size", "16", "64", "4", 672},
                 {"--global-batch-size", "17", "51", "3", 340},
                 {"--global-batch-size", "1", "3", "3", 20}};
    const char *data = small_mnist(cases[_i].samples, 40);
    TRAIN(whole, "-n", "2", "--model", "mlp", "--data", data, cases[_i].kind, cases[_i].large,
          "--log-interval", "1", "--optimizer", "sgd", "--lr", "0.1", "--epochs", "2");
    TRAIN(parts, "-n", "2", "--model", "mlp", "--data", data, cases[_i].kind, cases[_i].small, "--accumulate",
          cases[_i].accumulate, "--log-interval", "1", "--optimizer", "sgd", "--lr", "0.1", "--epochs", "2");
    size_t steps = json_array_size(whole.steps);
    ck_assert_uint_gt(steps, 9);
    ck_assert_uint_eq(json_array_size(parts.steps), steps);
    ck_assert_int_eq(json_integer_value(json_object_get(parts.end, "steps")), (json_int_t)steps);
    for (size_t i = 0; i < steps; i++) {
        const json_t *a = json_array_get(whole.steps, i), *b = json_array_get(parts.steps, i);
        ck_assert_double_eq_tol(run_loss(&parts, i), run_loss(&whole, i), 1e-5 * run_loss(&whole, i));
        ck_assert_int_eq(json_integer_value(json_object_get(a, "samples")),
                         json_integer_value(json_object_get(b, "samples")));
        ck_assert_int_eq(json_integer_value(json_object_get(a, "epoch")),
                         json_integer_value(json_object_get(b, "epoch")));
    }
    run_free(&whole);
    run_free(&parts);
}
END_TEST

/* 65 samples over three ranks in global batches of 2: a rank has nothing in every step, and in the last only
 * one has. */
START_TEST(empty_shares_of_a_global_batch_are_fine) {
    const char *data = small_mnist(65, 5);
    TRAIN(one, "--model", "mlp", "--data", data, "--global-batch-size", "2", "--log-interval", "1");
    TRAIN(three, "-n", "3", "--model", "mlp", "--data", data, "--global-batch-size", "2", "--log-interval",
          "1");
    ck_assert_uint_eq(json_array_size(three.steps), 33);
    for (size_t i = 0; i < 33; i++) ck_assert_double_eq_tol(run_loss(&three, i), run_loss(&one, i), 1e-4);
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(three.steps, 32), "samples")), 1);
    run_free(&one);
    run_free(&three);
}
END_TEST

/* --- testing, saving, stopping -------------------------------------------------------------------------- */

START_TEST(each_test_sample_counts_once_for_any_world_size) {
    char ranks[16];
    snprintf(ranks, sizeof ranks, "%d", _i + 1);
    TRAIN(r, "-n", ranks, "--model", "mlp", "--steps", "1", "--batch-size", "8");
    json_t *eval = json_array_get(r.evals, 0);
    ck_assert_int_eq(json_integer_value(json_object_get(eval, "samples")), 10000);
    ck_assert_int_le(json_integer_value(json_object_get(eval, "correct")), 10000);
    run_free(&r);
}
END_TEST

/* Tests in between draw nothing, so what is trained does not depend on them. */
START_TEST(tests_in_between_change_nothing) {
    const char *data = small_mnist(160, 40), *a = scratch_path("a"), *b = scratch_path("b");
    TRAIN(without, "--model", "mnist-cnn", "--data", data, "--batch-size", "16", "--save", a);
    TRAIN(with, "--model", "mnist-cnn", "--data", data, "--batch-size", "16", "--eval-interval", "3",
          "--save", b);
    ck_assert_uint_gt(json_array_size(with.evals), json_array_size(without.evals));
    expect_same_files(a, b);
    run_free(&without);
    run_free(&with);
}
END_TEST

START_TEST(saved_weights_can_be_started_from) {
    const char *data = small_mnist(160, 40), *a = scratch_path("a"), *b = scratch_path("b");
    TRAIN(first, "--model", "mlp", "--data", data, "--save", a);
    TRAIN(second, "-n", "2", "--model", "mlp", "--data", data, "--steps", "1", "--optimizer", "sgd", "--lr",
          "0", "--seed", "9", "--init-from", a, "--save", b);
    expect_same_files(a, b);
    run_free(&first);
    run_free(&second);
}
END_TEST

START_TEST(steps_alone_take_as_many_epochs_as_needed) {
    const char *data = small_mnist(64, 10);
    TRAIN(r, "--model", "mlp", "--data", data, "--batch-size", "32", "--steps", "5", "--log-interval", "1");
    ck_assert_uint_eq(json_array_size(r.steps), 5);
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(r.steps, 4), "epoch")), 2);
    TRAIN(both, "--model", "mlp", "--data", data, "--batch-size", "32", "--steps", "5", "--epochs", "2",
          "--log-interval", "1");
    ck_assert_uint_eq(json_array_size(both.steps), 4);
    run_free(&r);
    run_free(&both);
}
END_TEST

/* Without set_epoch both epochs begin with the same samples; a learning rate of 0 shows it in the loss. */
START_TEST(without_set_epoch_every_epoch_has_the_same_order) {
    const char *data = small_mnist(64, 10);
    TRAIN(same, "--model", "mlp", "--data", data, "--batch-size", "16", "--epochs", "2", "--log-interval",
          "1", "--optimizer", "sgd", "--lr", "0", "--no-set-epoch");
    TRAIN(fresh, "--model", "mlp", "--data", data, "--batch-size", "16", "--epochs", "2", "--log-interval",
          "1", "--optimizer", "sgd", "--lr", "0");
    ck_assert(run_loss(&same, 0) == run_loss(&same, 4));
    ck_assert(run_loss(&fresh, 0) != run_loss(&fresh, 4));
    run_free(&same);
    run_free(&fresh);
}
END_TEST

/* 9 samples on 2 ranks: padded to 10, or cut to 8. */
START_TEST(drop_last_leaves_out_instead_of_repeating) {
    const char *data = small_mnist(9, 10);
    TRAIN(padded, "-n", "2", "--model", "mlp", "--data", data, "--batch-size", "8", "--log-interval", "1");
    TRAIN(cut, "-n", "2", "--model", "mlp", "--data", data, "--batch-size", "8", "--log-interval", "1",
          "--drop-last");
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(padded.steps, 0), "samples")), 10);
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(cut.steps, 0), "samples")), 8);
    run_free(&padded);
    run_free(&cut);
}
END_TEST

START_TEST(people_get_lines_and_three_commands) {
    launch l =
        launch_start_with((launch_setup){0}, (const char *[]){TANDEM, "train", "-n", "2", "--model", "mlp",
                                                              "--data", small_mnist(64, 10), NULL});
    launch_finish(&l);
    ck_code(&l, 0);
    ck_contains(l.output, "2 ranks, backend shm");
    ck_contains(l.output, "203,530 parameters");
    ck_contains(l.output, "test accuracy ");
    ck_contains(l.output, "peak memory per rank ");
    ck_contains(l.output, "sampler --size 16 --world-size 2 --batch-size 2 --epochs 2\n");
    ck_contains(l.output, "mnist.c");
    ck_assert_msg(!strchr(l.output, '\033') && !strchr(l.output, '\r'), "control characters in:\n%s",
                  l.output);
    ck_assert_str_eq(l.errors, "");
    launch_free(&l);
}
END_TEST

START_TEST(more_threads_than_cores_are_warned_of_once) {
    static const char *const many[] = {"OMP_NUM_THREADS=64", NULL};
    run r = run_with((launch_setup){.environment = many},
                     (const char *[]){TANDEM, "train", "-n", "2", "--json", "--model", "mlp", "--data",
                                      small_mnist(16, 10), "--steps", "1", NULL});
    const char *warning = strstr(r.launch.errors, "rank 0: warning: OMP_NUM_THREADS is 64");
    ck_assert_msg(warning, "%s", r.launch.errors);
    ck_assert_ptr_null(strstr(strchr(warning, '\n'), "OMP_NUM_THREADS"));
    ck_assert_int_eq(json_integer_value(json_object_get(r.start, "threads")), 64);
    run_free(&r);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("train");
    TCase *tcase = tcase_create("train");
    tcase_add_test(tcase, events_have_the_documented_keys);
    tcase_add_loop_test(tcase, two_runs_give_the_same_bits, 0, 2);
    tcase_add_loop_test(tcase, every_launcher_gives_the_same_bits, 0, (int)(sizeof ways / sizeof *ways));
    tcase_add_test(tcase, two_ranks_of_32_are_one_rank_of_64);
    tcase_add_loop_test(tcase, accumulated_batches_are_one_large_batch, 0, 4);
    tcase_add_test(tcase, empty_shares_of_a_global_batch_are_fine);
    tcase_add_loop_test(tcase, each_test_sample_counts_once_for_any_world_size, 0, 3);
    tcase_add_test(tcase, tests_in_between_change_nothing);
    tcase_add_test(tcase, saved_weights_can_be_started_from);
    tcase_add_test(tcase, steps_alone_take_as_many_epochs_as_needed);
    tcase_add_test(tcase, without_set_epoch_every_epoch_has_the_same_order);
    tcase_add_test(tcase, drop_last_leaves_out_instead_of_repeating);
    tcase_add_test(tcase, people_get_lines_and_three_commands);
    tcase_add_test(tcase, more_threads_than_cores_are_warned_of_once);
    suite_add_tcase(suite, tcase);
    return suite;
}
