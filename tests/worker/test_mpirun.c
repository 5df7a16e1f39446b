/* The same run, and the C example, with Open MPI as the launcher. */
#include "worker/runs.h"

#include <unistd.h>

const char *skip_reason(void) {
    return system("command -v mpirun >/dev/null 2>&1") ? "there is no mpirun" : NULL;
}

static const char *const environment[] = {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
                                          "OMP_NUM_THREADS=1", NULL};

START_TEST(mpirun_gives_the_bits_of_our_launcher) {
    const char *a = scratch_path("a"), *b = scratch_path("b"), *data = small_mnist(200, 40);
    launch_setup setup = {.environment = environment};
    run ours = run_with(setup, (const char *[]){TANDEM, "train", "-n", "2", "--json", "--model", "mlp",
                                                "--data", data, "--log-interval", "1", "--batch-size", "8",
                                                "--save", a, NULL});
    run theirs =
        run_with(setup, (const char *[]){"mpirun", "-np", "2", "--oversubscribe", TANDEM, "train", "--json",
                                         "--model", "mlp", "--data", data, "--log-interval", "1",
                                         "--batch-size", "8", "--save", b, NULL});
    ck_assert_str_eq(json_string_value(json_object_get(theirs.start, "launcher")), "Open MPI");
    ck_assert_str_eq(json_string_value(json_object_get(theirs.start, "backend")), "shm");
    run_expect_same_losses(&ours, &theirs);
    expect_same_files(a, b);
    run_free(&ours);
    run_free(&theirs);
}
END_TEST

/* Two ranks are added in one order only, so whoever carries the sums, they are the same. */
START_TEST(every_backend_gives_the_same_bits_to_two_ranks) {
    static const char *const ways[][2] = {{"shm", NULL}, {"mpi", NULL}, {"hier", "TANDEM_NODES=1,1"}};
    const char *data = small_mnist(200, 40),
               *paths[] = {scratch_path("s"), scratch_path("m"), scratch_path("h")};
    run runs[3];
    if (access(TD_TEST_BUILD "/tandem-mpi.so", R_OK)) return;
    for (int i = 0; i < 3; i++) {
        const char *const with[] = {environment[0], environment[1], environment[2],
                                    LEAKS_OF_MPI,   ways[i][1],     NULL};
        runs[i] = run_with(
            (launch_setup){.environment = with},
            (const char *[]){
                "mpirun", "-np",          "2",        "--oversubscribe", TANDEM,       "train",
                "--json", "--backend",    ways[i][0], "--sync",          "replicated", "--check-sync",
                "2",      "--model",      "mlp",      "--data",          data,         "--log-interval",
                "1",      "--batch-size", "8",        "--save",          paths[i],     NULL});
        ck_assert_str_eq(json_string_value(json_object_get(runs[i].start, "backend")), ways[i][0]);
        run_expect_same_losses(&runs[0], &runs[i]);
        expect_same_files(paths[0], paths[i]);
    }
    for (int i = 0; i < 3; i++) run_free(&runs[i]);
}
END_TEST

START_TEST(several_nodes_train_over_hier_by_themselves) {
    const char *const with[] = {environment[0], environment[1],     environment[2],
                                LEAKS_OF_MPI,   "TANDEM_NODES=2,1", NULL};
    if (access(TD_TEST_BUILD "/tandem-mpi.so", R_OK)) return;
    run r = run_with((launch_setup){.environment = with},
                     (const char *[]){"mpirun", "-np", "3", "--oversubscribe", TANDEM, "train", "--json",
                                      "--check-sync", "2", "--model", "mlp", "--data", small_mnist(200, 40),
                                      "--log-interval", "1", "--batch-size", "8", NULL});
    ck_assert_str_eq(json_string_value(json_object_get(r.start, "backend")), "hier");
    run_free(&r);
}
END_TEST

START_TEST(a_mistake_ends_mpirun_with_our_message) {
    launch l = launch_start_with(
        (launch_setup){.environment = environment},
        (const char *[]){"mpirun", "-np", "2", "--oversubscribe", TANDEM, "train", "--model", "mpl", NULL});
    launch_finish(&l);
    ck_assert_int_ne(launch_code(&l), 0);
    ck_contains(l.errors, "mpl");
    launch_free(&l);
}
END_TEST

START_TEST(the_example_runs_under_mpirun) {
    launch l = launch_start_with((launch_setup){.environment = environment},
                                 (const char *[]){"mpirun", "-np", "2", "--oversubscribe",
                                                  TD_TEST_BUILD "/examples/mnist", "1", "3", NULL});
    launch_finish(&l);
    ck_code(&l, 0);
    ck_contains(l.output, "of 10000)");
    launch_free(&l);
}
END_TEST

SUITE("mpirun", mpirun_gives_the_bits_of_our_launcher, every_backend_gives_the_same_bits_to_two_ranks,
      several_nodes_train_over_hier_by_themselves, a_mistake_ends_mpirun_with_our_message,
      the_example_runs_under_mpirun)
