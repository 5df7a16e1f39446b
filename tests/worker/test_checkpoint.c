/* Stopped anywhere, a run goes on exactly: killed, asked to, restarted, with another number of ranks; and what
 * cannot go on says why. */
#include "base/memory.h"
#include "worker/going_on.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- killed --------------------------------------------------------------------------------------------- */

static const going_on_case cases[] = {
    {"sgd with momentum",
     {"-n", "2", "--model", "mlp", "--batch-size", "8", "--optimizer", "sgd", "--momentum", "0.9"}},
    {"dropout, shares that differ",
     {"-n", "3", "--model", "mnist-cnn", "--global-batch-size", "16", "--optimizer", "adamw"}},
};

START_TEST(a_run_that_is_killed_goes_on_with_the_same_bits) {
    const char *whole = scratch_path("whole"), *killed = scratch_path("killed");
    going_on_whole(&cases[_i], whole);
    going_on_killed(&cases[_i], 3, (unsigned)_i, killed);
    expect_same_files(whole, killed);
}
END_TEST

#define SMALL(data) "--json", "--threads", "1", "--model", "mlp", "--data", data, "--log-interval", "1"

START_TEST(the_launcher_restarts_and_the_run_goes_on) {
    const char *data = small_mnist(6400, 40), *a = scratch_path("a"), *b = scratch_path("b"),
               *ck = scratch_path("ck");
    TRAIN(whole, "-n", "2", SMALL(data), "--batch-size", "8", "--save", a);
    launch l = launch_start_with((launch_setup){0}, (const char *[]){TANDEM,      "train",
                                                                     "-n",        "2",
                                                                     SMALL(data), "--batch-size",
                                                                     "8",         "--save",
                                                                     b,           "--checkpoint",
                                                                     ck,          "--checkpoint-every",
                                                                     "20",        "--resume",
                                                                     "auto",      "--max-restarts",
                                                                     "2",         "--restart-backoff",
                                                                     "0",         NULL});
    launch_expect(&l, "{\"event\":\"checkpoint\",\"step\":60,");
    pid_t victim = run_rank(&l, 1);
    ck_assert_int_gt(victim, 0);
    kill(victim, SIGKILL);
    launch_expect(&l, "\"resumed_step\":");
    launch_finish(&l);
    ck_code(&l, 0);
    expect_same_files(a, b);
    run_free(&whole);
    launch_free(&l);
}
END_TEST

/* --- asked to stop -------------------------------------------------------------------------------------- */

static const struct {
    const char *ranks, *option, *value; /* option NULL: none */
    int signal, status;                 /* a wait status */
} stops[] = {
    {"2", NULL, NULL, SIGTERM, SIGTERM},
    {"2", "--preempt-signal", "USR1", SIGUSR1, 0},
    {NULL, NULL, NULL, SIGINT, SIGINT}, /* without a launcher */
    {NULL, NULL, NULL, SIGUSR2, 0},
};

START_TEST(a_signal_saves_and_the_last_line_goes_on) {
    const char *data = small_mnist(1600, 40), *a = scratch_path("a"), *b = scratch_path("b"),
               *ck = scratch_path("ck");
    const char *argv[40] = {TANDEM, "train",        SMALL(data), "--epochs", "2", "--eval-interval",
                            "7",    "--batch-size", "8"};
    int n = 0;
    while (argv[n]) n++;
    if (stops[_i].ranks) argv[n++] = "-n", argv[n++] = stops[_i].ranks;
    int common = n;
    argv[n++] = "--save", argv[n++] = a;
    run whole = run_with((launch_setup){0}, argv);

    n = common;
    if (stops[_i].option) argv[n++] = stops[_i].option, argv[n++] = stops[_i].value;
    argv[n++] = "--checkpoint", argv[n++] = ck, argv[n++] = "--save", argv[n++] = b, argv[n] = NULL;
    launch l = launch_start_with((launch_setup){0}, argv);
    launch_expect(&l, "\"step\":20,");
    kill(l.pid, stops[_i].signal);
    run stopped = run_finish(l);
    int status = stopped.launch.status;
    ck_assert_msg((WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)) == stops[_i].status, "%s%s",
                  stopped.launch.output, stopped.launch.errors);
    if (!stopped.stopped) ck_abort_msg("%s%s", stopped.launch.output, stopped.launch.errors);
    ck_contains(stopped.launch.errors, "to go on: ");
    json_int_t step = json_integer_value(json_object_get(stopped.stopped, "step"));
    ck_assert_int_ge(step, 20);
    ck_assert_int_lt(step, json_integer_value(json_object_get(whole.end, "steps")));
    ck_assert_int_ne(access(b, F_OK), 0);

    const char *command = json_string_value(json_object_get(stopped.stopped, "resume"));
    run resumed = run_with((launch_setup){0}, (const char *[]){"sh", "-c", command, NULL});
    ck_assert_int_eq(json_integer_value(json_object_get(resumed.start, "resumed_step")), step);
    expect_same_files(a, b);
    run_free(&whole);
    run_free(&stopped);
    run_free(&resumed);
}
END_TEST

/* An epoch takes long here and nothing is tested in between, so only the borders of steps can notice. */
START_TEST(a_signal_is_noticed_after_any_step) {
    launch l = launch_start_with(
        (launch_setup){0}, (const char *[]){TANDEM, "train", "-n", "2", SMALL(real_mnist_small_test(10)),
                                            "--batch-size", "1", "--checkpoint", scratch_path("ck"), NULL});
    launch_expect(&l, "\"step\":20,");
    kill(l.pid, SIGTERM);
    run stopped = run_finish(l);
    ck_assert_ptr_nonnull(stopped.stopped);
    ck_assert_int_lt(json_integer_value(json_object_get(stopped.stopped, "step")), 30000);
    ck_assert_uint_eq(json_array_size(stopped.evals), 0);
    run_free(&stopped);
}
END_TEST

/* A test takes long here, so that the signal comes in the middle of it. */
START_TEST(a_test_is_left_and_done_again) {
    const char *data = small_mnist(160, 60000), *a = scratch_path("a"), *b = scratch_path("b"),
               *ck = scratch_path("ck");
    TRAIN(whole, "-n", "2", SMALL(data), "--batch-size", "8", "--save", a, "--epochs", "2");
    launch l = launch_start_with(
        (launch_setup){0}, (const char *[]){TANDEM, "train", "-n", "2", SMALL(data), "--batch-size", "8",
                                            "--save", b, "--epochs", "2", "--checkpoint", ck, NULL});
    launch_expect(&l, "\"step\":10,");
    kill(l.pid, SIGTERM);
    run stopped = run_finish(l);
    ck_assert_ptr_nonnull(stopped.stopped);
    TRAIN(resumed, "-n", "2", SMALL(data), "--batch-size", "8", "--save", b, "--epochs", "2", "--checkpoint",
          ck, "--resume", "auto");
    ck_assert_uint_eq(json_array_size(stopped.evals) + json_array_size(resumed.evals), 2);
    expect_same_files(a, b);
    run_free(&whole);
    run_free(&stopped);
    run_free(&resumed);
}
END_TEST

/* --- another number of ranks ---------------------------------------------------------------------------- */

static double field(const run *r, size_t i, const char *key) {
    return json_number_value(json_object_get(json_array_get(r->steps, i), key));
}

/* With a learning rate of 0 a step's loss tells its samples: they are those of one rank that was never stopped. */
START_TEST(global_batches_go_on_with_any_number_of_ranks) {
    const char *data = small_mnist(205, 10), *ck = scratch_path("ck");
    const char *const ranks[] = {"2", "3", "1"}, *const until[] = {"5", "8", "20"};
#define ANY_RANKS SMALL(data), "--global-batch-size", "20", "--optimizer", "sgd", "--lr", "0"
    TRAIN(whole, ANY_RANKS, "--steps", "20");
    size_t at = 0;
    double samples = 0;
    for (int i = 0; i < 3; i++) {
        TRAIN(r, "-n", ranks[i], ANY_RANKS, "--steps", until[i], "--checkpoint", ck, "--resume", "auto");
        for (size_t s = 0; s < json_array_size(r.steps); s++, at++) {
            ck_assert_double_eq(field(&r, s, "step"), (double)at + 1);
            ck_assert_double_eq(field(&r, s, "samples"), field(&whole, at, "samples"));
            ck_assert_double_eq_tol(run_loss(&r, s), run_loss(&whole, at), 1e-5);
            if (at < 11) samples += field(&r, s, "samples");
        }
        if (i) ck_contains(r.launch.errors, "number of ranks");
        run_free(&r);
    }
    ck_assert_uint_eq(at, 20);
    ck_assert_double_eq(samples, 205); /* of the first epoch: each once */
    run_free(&whole);
}
END_TEST

/* 16 samples a step on 2 ranks: after 3 steps 3 ranks can share what is left, after 2 they cannot. */
START_TEST(batches_per_rank_go_on_where_ranks_can_share) {
    const char *data = small_mnist(192, 10), *ck = scratch_path("ck");
#define PER_RANK SMALL(data), "--batch-size", "8", "--optimizer", "sgd", "--lr", "0", "--checkpoint", ck
    TRAIN(two, "-n", "2", PER_RANK, "--steps", "2");
    launch l = launch_start_with(
        (launch_setup){0}, (const char *[]){TANDEM, "train", "-n", "3", PER_RANK, "--resume", "auto", NULL});
    launch_finish(&l);
    ck_code(&l, 1);
    ck_contains(l.errors, "go on with 2 ranks, or with --global-batch-size");
    launch_free(&l);
    TRAIN(three, "-n", "2", PER_RANK, "--steps", "3", "--resume", "auto");
    TRAIN(rest, "-n", "3", PER_RANK, "--epochs", "1", "--resume", "auto");
    double samples = 0;
    for (size_t i = 0; i < json_array_size(rest.steps); i++) samples += field(&rest, i, "samples");
    ck_assert_double_eq(samples, 192 - 3 * 16);
    TRAIN(next, "-n", "5", PER_RANK, "--epochs", "2", "--resume", "auto"); /* at an epoch's end anybody can */
    ck_assert_double_eq(field(&next, 0, "epoch"), 1);
    run_free(&two);
    run_free(&three);
    run_free(&rest);
    run_free(&next);
}
END_TEST

/* How ranks keep their weights equal leaves no trace in a checkpoint. */
START_TEST(every_way_of_sharing_goes_on_from_every_other) {
    const char *data = small_mnist(160, 20), *ck = scratch_path("ck");
    const char *whole = scratch_path("whole"), *mixed = scratch_path("mixed");
    const char *const ways[] = {"shared", "zero1", "replicated", "zero1", "shared", "replicated"};
    const char *const until[] = {"3", "7", "12", "15", "18", "20"};
#define ANY_SYNC "-n", "2", SMALL(data), "--batch-size", "8", "--optimizer", "adamw"
    TRAIN(reference, ANY_SYNC, "--steps", "20", "--sync", "replicated", "--save", whole);
    for (int i = 0; i < 6; i++) {
        TRAIN(part, ANY_SYNC, "--steps", until[i], "--sync", ways[i], "--checkpoint", ck, "--resume", "auto",
              "--save", mixed);
        ck_assert_str_eq(json_string_value(json_object_get(part.start, "sync")), ways[i]);
        ck_assert_ptr_null(strstr(part.launch.errors, "other bits"));
        run_free(&part);
    }
    expect_same_files(whole, mixed);
    run_free(&reference);
}
END_TEST

START_TEST(a_run_can_be_made_longer) {
    const char *data = small_mnist(160, 20), *a = scratch_path("a"), *b = scratch_path("b"),
               *ck = scratch_path("ck");
    TRAIN(whole, "--threads", "1", "--model", "mnist-cnn", "--data", data, "--epochs", "3", "--save", a);
    TRAIN(first, "--threads", "1", "--model", "mnist-cnn", "--data", data, "--epochs", "1", "--checkpoint",
          ck);
    TRAIN(again, "--threads", "1", "--model", "mnist-cnn", "--data", data, "--epochs", "1", "--checkpoint",
          ck, "--resume", "auto");
    ck_assert_uint_eq(json_array_size(again.checkpoints), 0); /* nothing new */
    TRAIN(second, "--threads", "1", "--model", "mnist-cnn", "--data", data, "--steps", "5", "--checkpoint",
          ck, "--resume", "auto");
    TRAIN(third, "--threads", "1", "--model", "mnist-cnn", "--data", data, "--epochs", "3", "--checkpoint",
          ck, "--resume", "auto", "--save", b);
    expect_same_files(a, b);
    json_t *seen = json_object_get(json_array_get(third.evals, 0), "correct");
    ck_assert(json_equal(seen, json_object_get(json_array_get(whole.evals, 1), "correct")));
    run_free(&whole);
    run_free(&first);
    run_free(&again);
    run_free(&second);
    run_free(&third);
}
END_TEST

/* --- what is there, and what does not fit ---------------------------------------------------------------- */

static const char *checkpoint_of(const char *ck, int step) {
    static char path[256];
    snprintf(path, sizeof path, "%s/step-%08d", ck, step);
    return path;
}

START_TEST(checkpoints_come_when_asked_and_the_newest_are_kept) {
    const char *data = small_mnist(160, 20), *ck = scratch_path("ck");
    TRAIN(r, "-n", "2", SMALL(data), "--batch-size", "8", "--checkpoint", ck, "--checkpoint-every", "4",
          "--keep", "2");
    ck_assert_uint_eq(json_array_size(r.checkpoints), 3); /* 4, 8 and the end, 10 */
    const int steps[] = {4, 8, 10};
    for (size_t i = 0; i < 3; i++) {
        json_int_t step, bytes;
        const char *path;
        double seconds, blocked;
        json_error_t error;
        if (json_unpack_ex(json_array_get(r.checkpoints, i), &error, 0, "{sI ss sI sF sF}", "step", &step,
                           "path", &path, "bytes", &bytes, "seconds", &seconds, "blocked_seconds", &blocked))
            ck_abort_msg("%s", error.text);
        ck_assert_int_eq(step, steps[i]);
        ck_assert_str_eq(path, checkpoint_of(ck, steps[i]));
        ck_assert_int_gt(bytes, 3 * 4 * 203530); /* weights and Adam's two slots */
    }
    ck_assert_int_ne(access(checkpoint_of(ck, 4), F_OK), 0);
    ck_assert_int_eq(access(checkpoint_of(ck, 8), F_OK), 0);
    run_free(&r);
}
END_TEST

START_TEST(a_time_is_an_interval_too) {
    const char *data = small_mnist(160, 20), *ck = scratch_path("ck");
    TRAIN(r, SMALL(data), "--batch-size", "8", "--checkpoint", ck, "--checkpoint-every", "1ms");
    ck_assert_uint_gt(json_array_size(r.checkpoints), 1);
    run_free(&r);
}
END_TEST

static void flip_byte(const char *path, off_t at) {
    int fd = open(path, O_RDWR);
    char byte;
    ck_assert(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 4;
    ck_assert(pwrite(fd, &byte, 1, at) == 1 && close(fd) == 0);
}

START_TEST(a_damaged_one_is_passed_over_or_refused) {
    const char *data = small_mnist(160, 20), *ck = scratch_path("ck"), *a = scratch_path("a"),
               *b = scratch_path("b");
    char file[300];
#define DAMAGED "-n", "2", SMALL(data), "--batch-size", "8", "--checkpoint", ck
    TRAIN(whole, DAMAGED, "--checkpoint-every", "4", "--save", a);
    snprintf(file, sizeof file, "%s/state.safetensors", checkpoint_of(ck, 10));
    flip_byte(file, 200000);
    launch l = launch_start_with((launch_setup){0}, (const char *[]){TANDEM, "train", DAMAGED, "--resume",
                                                                     checkpoint_of(ck, 10), NULL});
    launch_finish(&l);
    ck_code(&l, 1);
    ck_contains(l.errors, "CRC-32");
    launch_free(&l);
    TRAIN(resumed, DAMAGED, "--resume", "auto", "--save", b);
    ck_contains(resumed.launch.errors, "passed over");
    ck_assert_int_eq(json_integer_value(json_object_get(resumed.start, "resumed_step")), 8);
    expect_same_files(a, b);
    run_free(&whole);
    run_free(&resumed);
}
END_TEST

static const struct {
    const char *arguments[12];
    int code;
    const char *says;
} refusals[] = {
    {{NULL}, 2, "add --resume auto"},
    {{"--resume", "auto", "--seed", "4"}, 1, "--seed 0, but this run has 4"},
    {{"--resume", "auto", "--model", "mnist-cnn"}, 1, "--model mlp, but this run has mnist-cnn"},
    {{"--resume", "auto", "--optimizer", "sgd"}, 1, "--optimizer adam, but this run has sgd"},
    {{"--resume", "auto", "--no-set-epoch"}, 1, "--no-set-epoch no, but this run has yes"},
    {{"--resume", "/nonexistent"}, 2, "/nonexistent"},
    {{"--resume", "/tmp"}, 1, "/tmp is no checkpoint"},
};

START_TEST(what_cannot_go_on_says_why) {
    const char *data = small_mnist(32, 10), *ck = scratch_path("ck");
    TRAIN(first, "--model", "mlp", "--data", data, "--checkpoint", ck);
    const char *argv[32] = {TANDEM, "train", "-n", "2", "--model", "mlp", "--data", data, "--checkpoint", ck};
    for (int i = 0; refusals[_i].arguments[i]; i++) argv[10 + i] = refusals[_i].arguments[i];
    launch l = launch_start_with((launch_setup){0}, argv);
    launch_finish(&l);
    ck_code(&l, refusals[_i].code);
    ck_contains(l.errors, refusals[_i].says);
    launch_free(&l);
    run_free(&first);
}
END_TEST

static const struct {
    const char *arguments[6];
    const char *says;
} mistakes[] = {
    {{"--checkpoint-every", "5"}, "need --checkpoint DIR"},
    {{"--keep", "5"}, "need --checkpoint DIR"},
    {{"--resume", "auto"}, "--resume auto looks in --checkpoint DIR"},
    {{"--checkpoint", "x", "--checkpoint-every", "0"}, "0 is no number of steps"},
    {{"--checkpoint", "x", "--checkpoint-every", "often"}, "--checkpoint-every"},
    {{"--checkpoint", "x", "--keep", "0"}, "--keep"},
    {{"--max-restarts", "3"}, "add -n RANKS"},
};

START_TEST(mistakes_are_refused) {
    const char *argv[12] = {TANDEM, "train"};
    for (int i = 0; i < 6 && mistakes[_i].arguments[i]; i++) argv[2 + i] = mistakes[_i].arguments[i];
    launch l = launch_start_with((launch_setup){0}, argv);
    launch_finish(&l);
    ck_code(&l, 2);
    ck_contains(l.errors, mistakes[_i].says);
    launch_free(&l);
}
END_TEST

START_TEST(other_settings_win_and_are_told) {
    const char *data = small_mnist(64, 10), *ck = scratch_path("ck");
    TRAIN(first, "--model", "mlp", "--data", data, "--batch-size", "16", "--steps", "2", "--checkpoint", ck);
    TRAIN(second, "--model", "mlp", "--data", data, "--batch-size", "16", "--lr", "0.5", "--resume",
          checkpoint_of(ck, 2));
    ck_contains(second.launch.errors, "lr 0.5 (was 0.001)");
    ck_assert_ptr_nonnull(second.end);
    run_free(&first);
    run_free(&second);
}
END_TEST

/* A file may have 1 MB here: no checkpoint can be written, but training goes on to its end, and that fails. */
START_TEST(a_full_disk_does_not_stop_the_training) {
    const char *data = small_mnist(160, 20), *ck = scratch_path("ck"), *saved = scratch_path("saved");
#define FULL SMALL(data), "--batch-size", "16", "--checkpoint", ck, "--checkpoint-every", "2"
    TRAIN(first, FULL, "--steps", "3");
    run r = run_finish(launch_start_with(
        (launch_setup){.file_size_limit = 1000000},
        (const char *[]){TANDEM, "train", FULL, "--resume", "auto", "--save", saved, NULL}));
    ck_code(&r.launch, 1);
    ck_contains(r.launch.errors, "warning: step 4 is not saved: cannot write");
    ck_assert_uint_eq(json_array_size(r.steps), 7);
    ck_assert_uint_eq(json_array_size(r.evals), 1);
    ck_assert_int_eq(access(checkpoint_of(ck, 3), F_OK), 0);
    ck_assert_int_ne(access(checkpoint_of(ck, 10), F_OK), 0);
    TRAIN(again, FULL, "--resume", "auto");
    ck_assert_int_eq(json_integer_value(json_object_get(again.start, "resumed_step")), 3);
    run_free(&first);
    run_free(&r);
    run_free(&again);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("checkpoint");
    TCase *tcase = tcase_create("checkpoint");
    tcase_add_loop_test(tcase, a_run_that_is_killed_goes_on_with_the_same_bits, 0,
                        (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, the_launcher_restarts_and_the_run_goes_on);
    tcase_add_loop_test(tcase, a_signal_saves_and_the_last_line_goes_on, 0,
                        (int)(sizeof stops / sizeof *stops));
    tcase_add_test(tcase, a_signal_is_noticed_after_any_step);
    tcase_add_test(tcase, a_test_is_left_and_done_again);
    tcase_add_test(tcase, global_batches_go_on_with_any_number_of_ranks);
    tcase_add_test(tcase, batches_per_rank_go_on_where_ranks_can_share);
    tcase_add_test(tcase, every_way_of_sharing_goes_on_from_every_other);
    tcase_add_test(tcase, a_run_can_be_made_longer);
    tcase_add_test(tcase, checkpoints_come_when_asked_and_the_newest_are_kept);
    tcase_add_test(tcase, a_time_is_an_interval_too);
    tcase_add_test(tcase, a_damaged_one_is_passed_over_or_refused);
    tcase_add_loop_test(tcase, what_cannot_go_on_says_why, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_loop_test(tcase, mistakes_are_refused, 0, (int)(sizeof mistakes / sizeof *mistakes));
    tcase_add_test(tcase, other_settings_win_and_are_told);
    tcase_add_test(tcase, a_full_disk_does_not_stop_the_training);
    suite_add_tcase(suite, tcase);
    return suite;
}
