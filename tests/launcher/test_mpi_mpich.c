/* MPICH's programs as ranks of `tandem run`. */
#include "mpi_cases.h"

const char *const mpi_program = TD_TEST_BUILD "/tests/mpi_program_mpich";
const char *const mpi_environment[] = {NULL};
const char *const mpi_launcher = "mpirun.mpich";

const char *skip_reason(void) { return mpi_skip_reason(); }

START_TEST(mpi_comm_spawn_is_refused_and_the_job_goes_on) {
    RUN(l, "-n", "2", "--", mpi_program, "*", "inside", "spawn");
    ck_code(&l, 0);
    ck_assert_int_eq(count_of(l.output, "spawn was refused\n"), 2);
    ck_assert_int_eq(count_of(l.output, "of 2: sum 1\n"), 2);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("MPICH");
    suite_add_tcase(suite, mpi_cases());
    TCase *own = tcase_create("MPICH");
    tcase_add_test(own, mpi_comm_spawn_is_refused_and_the_job_goes_on);
    suite_add_tcase(suite, own);
    return suite;
}
