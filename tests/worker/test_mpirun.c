/* The same run, and the C example, with Open MPI as the launcher. */
#include "worker/runs.h"

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

SUITE("mpirun", mpirun_gives_the_bits_of_our_launcher, a_mistake_ends_mpirun_with_our_message,
      the_example_runs_under_mpirun)
