/* DDP in every mode over MPI, in processes that mpirun has started. */
#include "launcher/launch.h"

#include <stdio.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ddp_ranks"

const char *skip_reason(void) {
    if (access(TD_TEST_BUILD "/tandem-mpi.so", R_OK)) return "the mpi plug-in is not built";
    return system("command -v mpirun >/dev/null 2>&1") ? "there is no mpirun" : NULL;
}

static const char *const environment[] = {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
                                          "OMPI_MCA_mpi_yield_when_idle=1", LEAKS_OF_MPI, NULL};

START_TEST(gradients_are_those_of_one_process) {
    char n[4];
    snprintf(n, sizeof n, "%d", _i);
    launch l =
        launch_start_with((launch_setup){.environment = environment},
                          (const char *const[]){"mpirun", "-np", n, "--oversubscribe", RANKS, "mpi", NULL});
    launch_finish(&l);
    ck_code(&l, 0);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("ddp_mpi");
    TCase *tcase = tcase_create("ddp_mpi");
    tcase_add_loop_test(tcase, gradients_are_those_of_one_process, 2, 4);
    suite_add_tcase(suite, tcase);
    return suite;
}
