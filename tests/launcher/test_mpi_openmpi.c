/* Open MPI's programs as ranks of `tandem run`. */
#include "mpi_cases.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

const char *const mpi_program = TD_TEST_BUILD "/tests/mpi_program_openmpi";
const char *const mpi_launcher = "mpirun.openmpi";
const char *const mpi_environment[] = {MPIRUN_ENVIRONMENT, NULL};

const char *skip_reason(void) { return mpi_skip_reason(); }

/* The folder that rank 0 says Open MPI puts its files into. */
static void read_folder(const launch *l, char path[256]) {
    const char *line = strstr(l->output, "folder /");
    ck_assert_msg(line, "no folder in:\n%s", l->output);
    ck_assert_int_eq(sscanf(line, "folder %255s", path), 1);
}

static bool has_segments(const char *path) {
    DIR *dir = opendir(path);
    bool found = false;
    for (struct dirent *e; dir && (e = readdir(dir));) found |= strncmp(e->d_name, "vader_segment", 13) == 0;
    if (dir) closedir(dir);
    return found;
}

/* What rank 1 does while the segments are there. */
static const char *const ends[] = {"kill", "abort:3"};

START_TEST(no_segment_outlives_the_job) {
    char path[256];
    RUN(l, "-n", "2", "--", mpi_program, "*", "inside", "folder", "1", "inside", ends[_i], "0", "inside",
        "hang");
    ck_assert_int_ne(launch_code(&l), 0);
    read_folder(&l, path);
    ck_assert_msg(access(path, F_OK) != 0, "%s is left", path);
    launch_free(&l);
}
END_TEST

START_TEST(no_segment_outlives_a_killed_launcher) {
    char path[256];
    launch l = START("-n", "2", "--", mpi_program, "0", "inside", "folder", "*", "inside", "hang");
    launch_expect(&l, "-0\n"); /* the end of its name */
    read_folder(&l, path);
    ck_assert_msg(has_segments(path), "Open MPI's segments are not in %s", path);
    kill(l.pid, SIGKILL);
    launch_expect_no_survivors(&l);
    for (int i = 0; i < 200 && access(path, F_OK) == 0; i++) usleep(10000); /* the guardian's last act */
    ck_assert_msg(access(path, F_OK) != 0, "%s is left", path);
    launch_free(&l);
}
END_TEST

START_TEST(programs_may_follow_one_another_in_a_script) {
    char script[512];
    snprintf(script, sizeof script, "%s && %s", mpi_program, mpi_program);
    RUN(l, "-n", "3", "--", "sh", "-c", script);
    ck_code(&l, 0);
    ck_assert_int_eq(count_of(l.output, "of 3: sum 3\n"), 6);
    launch_free(&l);
}
END_TEST

START_TEST(what_the_user_sets_for_open_mpi_wins) {
    const char *const environment[] = {"OMPI_MCA_btl_vader_backing_directory=/dev/shm", NULL};
    RUN_WITH(l, ((launch_setup){.environment = environment}), "-n", "2", "--", mpi_program, "0", "inside",
             "folder");
    ck_code(&l, 0);
    ck_contains(l.output, "folder /dev/shm\n");
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("Open MPI");
    suite_add_tcase(suite, mpi_cases());
    TCase *own = tcase_create("Open MPI");
    tcase_add_loop_test(own, no_segment_outlives_the_job, 0, sizeof ends / sizeof *ends);
    tcase_add_test(own, no_segment_outlives_a_killed_launcher);
    tcase_add_test(own, programs_may_follow_one_another_in_a_script);
    tcase_add_test(own, what_the_user_sets_for_open_mpi_wins);
    suite_add_tcase(suite, own);
    return suite;
}
