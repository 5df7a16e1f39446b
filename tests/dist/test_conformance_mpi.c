/* The conformance suite over the network backends, in processes that mpirun has started. */
#include "launcher/launch.h"

#include <stdio.h>
#include <unistd.h>

#define CONFORMANCE TD_TEST_BUILD "/tests/conformance"

const char *skip_reason(void) {
    if (access(TD_TEST_BUILD "/tandem-mpi.so", R_OK)) return "the mpi plug-in is not built";
    return system("command -v mpirun >/dev/null 2>&1") ? "there is no mpirun" : NULL;
}

static const struct suite_case {
    const char *ranks, *backend, *variable;
} cases[] = {
    {"1", "mpi", NULL},
    {"2", "mpi", NULL},
    {"3", "mpi", NULL},
    {"4", "mpi", NULL},
    {"5", "mpi", NULL},
    {"6", "mpi", NULL},
    {"7", "mpi", NULL},
    {"8", "mpi", NULL},
    {"2", "mpi", "TANDEM_MPI_PIECE=700"},
    {"3", "mpi", "TANDEM_MPI_THREADS=single"},
    {"2", "hier", "TANDEM_NODES=1,1"},
    {"3", "hier", "TANDEM_NODES=2,1"},
    {"4", "hier", "TANDEM_NODES=2,2"},
    {"5", "hier", "TANDEM_NODES=2,2,1"},
    {"8", "hier", "TANDEM_NODES=3,5"},
};

START_TEST(every_collective_dtype_and_reduction_conforms) {
    const struct suite_case *c = &cases[_i];
    const char *const environment[] = {"OMPI_ALLOW_RUN_AS_ROOT=1",
                                       "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
                                       "OMPI_MCA_mpi_yield_when_idle=1",
                                       "OMPI_MCA_rmaps_base_oversubscribe=1",
                                       c->variable,
                                       NULL};
    char expected[64];
    snprintf(expected, sizeof expected, "cases on %s with %s ranks", c->backend, c->ranks);
    launch l =
        launch_start_with((launch_setup){.environment = environment},
                          (const char *[]){"mpirun", "-np", c->ranks, CONFORMANCE, "--backend", c->backend,
                                           c->backend[0] == 'h' ? "--inexact" : NULL, NULL});
    launch_finish(&l);
    ck_code(&l, 0);
    ck_contains(l.output, expected);
    launch_free(&l);
}
END_TEST

START_TEST(more_bytes_than_an_int_counts_arrive) {
    launch l = launch_start_with(
        (launch_setup){.environment = (const char *[]){"OMPI_ALLOW_RUN_AS_ROOT=1",
                                                       "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", NULL}},
        (const char *[]){"mpirun", "-np", "2", "--oversubscribe", TD_TEST_BUILD "/tests/mpi_ranks", "big",
                         NULL});
    launch_finish(&l);
    ck_code(&l, 0);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("conformance over mpi");
    TCase *tcase = tcase_create("conformance");
    tcase_add_loop_test(tcase, every_collective_dtype_and_reduction_conforms, 0,
                        sizeof cases / sizeof *cases);
    tcase_add_test(tcase, more_bytes_than_an_int_counts_arrive);
    suite_add_tcase(suite, tcase);
    return suite;
}
