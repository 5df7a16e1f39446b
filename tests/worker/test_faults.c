/* What goes wrong is said in one line, ends the job, and leaves no half-written file. */
#include "base/memory.h"
#include "worker/runs.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static launch start(launch_setup setup, const char *const *argv) { return launch_start_with(setup, argv); }

#define RUN_TRAIN_WITH(l, setup, ...)                                                                        \
    launch l = start(setup, (const char *[]){TANDEM, "train", __VA_ARGS__, NULL});                           \
    launch_finish(&l)
#define RUN_TRAIN(l, ...) RUN_TRAIN_WITH(l, (launch_setup){0}, __VA_ARGS__)

/* --- what is impossible is refused before anything starts
 * ------------------------------------------------------ */

static const struct {
    const char *arguments[8];
    const char *says;
} impossible[] = {
    {{"--batch-size", "0"}, "--batch-size: 0 is not between"},
    {{"--batch-size", "8", "--global-batch-size", "16"}, "exclude each other"},
    {{"--global-batch-size", "16", "--drop-last"}, "--drop-last has no use"},
    {{"--model", "mnist-cnnn"}, "mnist-cnn"},
    {{"--model", "resnet"}, "mlp"},
    {{"--optimizer", "adamm"}, "did you mean adam"},
    {{"--optimizer", "sgd", "--nesterov"}, "--nesterov needs --momentum above 0"},
    {{"--momentum", "0.9"}, "--momentum belongs to --optimizer sgd"},
    {{"--optimizer", "sgd", "--betas", "0.9,0.99"}, "--betas belong to"},
    {{"--betas", "0.9,1"}, "--betas must be"},
    {{"--betas", "0.9"}, "--betas"},
    {{"--lr", "-1"}, "--lr"},
    {{"--lr", "fast"}, "--lr"},
    {{"--steps", "0"}, "--steps"},
    {{"--epochs", "0"}, "--epochs"},
    {{"--threads", "0"}, "--threads"},
    {{"--log-interval", "0"}, "--log-interval"},
    {{"--device", "cuda"}, "no CUDA"},
    {{"--epoch", "3"}, "did you mean --epochs"},
    {{"mlp"}, "'mlp' is not an option"},
};

START_TEST(impossible_options_are_refused) {
    const char *argv[16] = {TANDEM, "train"};
    for (int i = 0; i < 8 && impossible[_i].arguments[i]; i++) argv[2 + i] = impossible[_i].arguments[i];
    launch l = start((launch_setup){0}, argv);
    launch_finish(&l);
    ck_code(&l, 2);
    ck_contains(l.errors, impossible[_i].says);
    ck_assert_str_eq(l.output, "");
    ck_assert_ptr_eq(strchr(l.errors, '\n') + 1, l.errors + l.errors_n); /* one line */
    launch_free(&l);
}
END_TEST

/* With -n nothing is launched, so it is said once. */
START_TEST(a_mistake_is_told_once_for_all_ranks) {
    RUN_TRAIN(l, "-n", "3", "--model", "mpl");
    ck_code(&l, 2);
    ck_assert_ptr_eq(strchr(l.errors, '\n') + 1, l.errors + l.errors_n);
    ck_contains(l.errors, "did you mean mlp");
    launch_free(&l);
    RUN_TRAIN(save, "-n", "2", "--save", "/nonexistent/weights");
    ck_code(&save, 2);
    ck_assert_ptr_eq(strchr(save.errors, '\n') + 1, save.errors + save.errors_n);
    launch_free(&save);
    RUN_TRAIN(help, "-n", "2", "--help");
    ck_code(&help, 0);
    ck_contains(help.output, "Example");
    launch_free(&help);
}
END_TEST

/* --- environments that contradict themselves ------------------------------------------------------------ */

static const struct {
    const char *environment[8];
    int code;
    const char *says[2];
} environments[] = {
    {{"RANK=0"}, 1, {"WORLD_SIZE"}},
    {{"RANK=1", "WORLD_SIZE=2", "LOCAL_RANK=1", "LOCAL_WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1",
      "MASTER_PORT=29500", "OMPI_COMM_WORLD_RANK=0"},
     1,
     {"RANK", "OMPI_COMM_WORLD_RANK"}},
};

START_TEST(an_environment_that_contradicts_itself_is_an_error) {
    RUN_TRAIN_WITH(l, ((launch_setup){.environment = environments[_i].environment}), "--model", "mlp",
                   "--data", small_mnist(16, 4));
    ck_code(&l, environments[_i].code);
    for (int i = 0; i < 2 && environments[_i].says[i]; i++) ck_contains(l.errors, environments[_i].says[i]);
    launch_free(&l);
}
END_TEST

START_TEST(slurms_leftovers_are_ignored_under_a_nearer_launcher) {
    static const char *const leftovers[] = {"SLURM_PROCID=3", "SLURM_NTASKS=8", "SLURM_LOCALID=3",
                                            "SLURM_JOB_ID=77", NULL};
    run r = run_with((launch_setup){.environment = leftovers},
                     (const char *[]){TANDEM, "train", "-n", "2", "--json", "--model", "mlp", "--data",
                                      small_mnist(16, 4), NULL});
    ck_assert_int_eq(json_integer_value(json_object_get(r.start, "world_size")), 2);
    run_free(&r);
}
END_TEST

/* --- data ---------------------------------------------------------------------------------------------- */

static const char *data_file(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", small_mnist(64, 10), name);
    return path;
}

static void cut_images(void) { ck_assert_int_eq(truncate(data_file("train-images-idx3-ubyte"), 1000), 0); }
static void overwrite(const char *name, long at, int value) {
    FILE *file = fopen(data_file(name), "r+");
    ck_assert(file && fseek(file, at, SEEK_SET) == 0 && fputc(value, file) == value && fclose(file) == 0);
}
static void spoil_magic(void) { overwrite("train-labels-idx1-ubyte", 2, 0x0d); }
static void spoil_label(void) { overwrite("train-labels-idx1-ubyte", 8 + 17, 10); }
static void spoil_count(void) { overwrite("t10k-images-idx3-ubyte", 7, 200); }
static void remove_labels(void) { ck_assert_int_eq(unlink(data_file("t10k-labels-idx1-ubyte")), 0); }

static const struct {
    void (*spoil)(void);
    const char *says[2];
} spoilt[] = {
    {cut_images, {"train-images-idx3-ubyte", NULL}},   {spoil_magic, {"train-labels-idx1-ubyte", NULL}},
    {spoil_label, {"sample 17", "label 10"}},          {spoil_count, {"t10k-images-idx3-ubyte", NULL}},
    {remove_labels, {"t10k-labels-idx1-ubyte", NULL}},
};

START_TEST(damaged_data_is_named) {
    const char *data = small_mnist(64, 10);
    spoilt[_i].spoil();
    RUN_TRAIN(l, "-n", "2", "--model", "mlp", "--data", data);
    ck_code(&l, 1);
    ck_contains(l.errors, "tandem train: rank 0: ");
    for (int i = 0; i < 2 && spoilt[_i].says[i]; i++) ck_contains(l.errors, spoilt[_i].says[i]);
    launch_free(&l);
}
END_TEST

START_TEST(a_missing_folder_is_found_before_anything_starts) {
    RUN_TRAIN(l, "-n", "2", "--data", "/nonexistent");
    ck_code(&l, 2);
    ck_contains(l.errors, "/nonexistent");
    launch_free(&l);
}
END_TEST

/* --- weights ------------------------------------------------------------------------------------------- */

START_TEST(weights_that_do_not_fit_are_refused) {
    const char *data = small_mnist(16, 4), *weights = scratch_path("weights");
    RUN_TRAIN(first, "--model", "mlp", "--data", data, "--save", weights);
    ck_code(&first, 0);
    launch_free(&first);
    RUN_TRAIN(l, "-n", "2", "--model", "mnist-cnn", "--data", data, "--init-from", weights);
    ck_code(&l, 1);
    ck_contains(l.errors, weights);
    launch_free(&l);
    ck_assert_int_eq(truncate(weights, 5000), 0);
    RUN_TRAIN(cut, "--model", "mlp", "--data", data, "--init-from", weights);
    ck_code(&cut, 1);
    ck_contains(cut.errors, weights);
    launch_free(&cut);
}
END_TEST

/* The device is full when the weights are written: what was there stays, and nothing else is left. */
START_TEST(a_full_disk_leaves_the_old_file) {
    const char *data = small_mnist(16, 4), *weights = scratch_path("weights");
    FILE *old = fopen(weights, "w");
    fputs("old", old);
    fclose(old);
    RUN_TRAIN_WITH(l, ((launch_setup){.file_size_limit = 100000}), "--model", "mlp", "--data", data, "--save",
                   weights);
    ck_code(&l, 1);
    ck_contains(l.errors, weights);
    size_t size;
    char *bytes = file_bytes(weights, &size);
    ck_assert_uint_eq(size, 3);
    td_free(bytes);
    char leftovers[300];
    snprintf(leftovers, sizeof leftovers, "ls %s.* 2>/dev/null", weights);
    ck_assert_int_ne(system(leftovers), 0);
    launch_free(&l);
}
END_TEST

/* --- ranks that are lost -------------------------------------------------------------------------------- */

static pid_t pid_of_rank(const launch *l, int rank) {
    pid_t pid = run_rank(l, rank);
    ck_assert_int_gt(pid, 0);
    return pid;
}

#define ENDLESS                                                                                              \
    "--json", "--model", "mlp", "--data", small_mnist(64, 10), "--steps", "100000000", "--log-interval", "50"

START_TEST(a_rank_that_is_killed_is_named_by_all) {
    launch l = start((launch_setup){0}, (const char *[]){TANDEM, "train", "-n", "3", ENDLESS, NULL});
    launch_expect(&l, "\"step\":50,");
    kill(pid_of_rank(&l, 1), SIGKILL);
    launch_finish(&l);
    ck_code(&l, 128 + SIGKILL);
    ck_contains(l.errors, "rank 1");
    ck_contains(l.errors, "SIGKILL");
    launch_free(&l);
}
END_TEST

/* Without our launcher the others notice by themselves. */
START_TEST(survivors_of_another_launcher_notice_too) {
    static const char by_hand[] =
        "export WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$((20000 + $$ % 20000));"
        "RANK=1 LOCAL_RANK=1 \"$@\" & victim=$!; (RANK=0 LOCAL_RANK=0 \"$@\"; echo \"left with $?\") & s=$!;"
        "sleep 1; kill -9 $victim; wait $s";
    launch l =
        start((launch_setup){0}, (const char *[]){"sh", "-c", by_hand, "sh", TANDEM, "train", ENDLESS, NULL});
    launch_finish(&l);
    ck_contains(l.output, "left with 75");
    ck_contains(l.errors, "tandem train: rank 0: ");
    ck_contains(l.errors, "rank 1");
    launch_free(&l);
}
END_TEST

START_TEST(a_stopped_rank_is_given_up_after_the_stall_timeout) {
    launch l = start((launch_setup){0},
                     (const char *[]){TANDEM, "train", "-n", "2", "--stall-timeout", "1", ENDLESS, NULL});
    launch_expect(&l, "\"step\":50,");
    kill(pid_of_rank(&l, 1), SIGSTOP);
    launch_finish(&l);
    ck_code(&l, 124);
    ck_contains(l.errors, "rank 1");
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("faults");
    TCase *tcase = tcase_create("faults");
    tcase_add_loop_test(tcase, impossible_options_are_refused, 0,
                        (int)(sizeof impossible / sizeof *impossible));
    tcase_add_test(tcase, a_mistake_is_told_once_for_all_ranks);
    tcase_add_loop_test(tcase, an_environment_that_contradicts_itself_is_an_error, 0,
                        (int)(sizeof environments / sizeof *environments));
    tcase_add_test(tcase, slurms_leftovers_are_ignored_under_a_nearer_launcher);
    tcase_add_loop_test(tcase, damaged_data_is_named, 0, (int)(sizeof spoilt / sizeof *spoilt));
    tcase_add_test(tcase, a_missing_folder_is_found_before_anything_starts);
    tcase_add_test(tcase, weights_that_do_not_fit_are_refused);
    tcase_add_test(tcase, a_full_disk_leaves_the_old_file);
    tcase_add_test(tcase, a_rank_that_is_killed_is_named_by_all);
    tcase_add_test(tcase, survivors_of_another_launcher_notice_too);
    tcase_add_test(tcase, a_stopped_rank_is_given_up_after_the_stall_timeout);
    suite_add_tcase(suite, tcase);
    return suite;
}
