/* See mpi_cases.h. */
#include "mpi_cases.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

const char *mpi_skip_reason(void) {
    return access(mpi_program, X_OK) ? "this MPI's compiler was not there when the tests were built" : NULL;
}

int count_of(const char *text, const char *part) {
    int count = 0;
    while ((text = strstr(text, part))) text++, count++;
    return count;
}

START_TEST(four_ranks_are_one_job) {
    RUN_MPI(l, "-n", "4", "--", mpi_program);
    ck_code(&l, 0);
    ck_assert_str_eq(l.errors, "");
    for (int rank = 0; rank < 4; rank++) {
        char line[32];
        snprintf(line, sizeof line, "rank %d of 4: sum 6\n", rank);
        ck_contains(l.output, line);
    }
    launch_free(&l);
}
END_TEST

START_TEST(eight_ranks_share_few_cores) {
    RUN_MPI(l, "-n", "8", "--", mpi_program);
    ck_code(&l, 0);
    ck_assert_int_eq(count_of(l.output, "of 8: sum 28\n"), 8);
    launch_free(&l);
}
END_TEST

/* What rank 1 of 3 does, and what it comes to. */
static const struct fault {
    const char *when, *what;
    int code;
    const char *said;
} faults[] = {
    {"before", "exit:3", 3, ") exited with 3 after "},
    {"before", "kill", 137, ") was killed by SIGKILL"},
    {"before", "exit:0", 1, ", while others waited for it in MPI_Init or MPI_Finalize\n"},
    {"inside", "exit:3", 3, ") exited with 3 after "},
    {"inside", "kill", 137, ") was killed by SIGKILL"},
    {"inside", "exit:0", 1, ", without MPI_Finalize\n"},
    {"inside", "abort:7", 7, ") called MPI_Abort with 7 after "},
    {"inside", "abort:256", 1, ") called MPI_Abort with 256 after "},
    {"after", "exit:3", 3, ") exited with 3 after "},
    {"after", "kill", 137, ") was killed by SIGKILL"},
};

START_TEST(a_rank_that_fails_ends_the_job_and_is_named) {
    const struct fault *f = &faults[_i];
    RUN_MPI(l, "-n", "3", "--", mpi_program, "1", f->when, f->what);
    ck_code(&l, f->code);
    ck_contains(l.errors, "tandem: rank 1 (pid ");
    ck_contains(l.errors, f->said);
    launch_free(&l);
}
END_TEST

START_TEST(leaving_with_0_after_mpi_finalize_is_well) {
    RUN_MPI(l, "-n", "3", "--", mpi_program, "1", "after", "exit:0");
    ck_code(&l, 0);
    ck_assert_str_eq(l.errors, "");
    launch_free(&l);
}
END_TEST

/* The shell would go on and leave with 0. */
START_TEST(mpi_abort_ends_the_job_whatever_the_script_does) {
    char script[512];
    snprintf(script, sizeof script, "%s 1 inside abort:9; sleep 60", mpi_program);
    RUN_MPI(l, "-n", "2", "--", "sh", "-c", script);
    ck_code(&l, 9);
    ck_contains(l.errors, "tandem: rank 1 (pid ");
    launch_free(&l);
}
END_TEST

START_TEST(the_report_says_what_mpi_made_of_it) {
    char path[] = "/tmp/tandem-mpi-report-XXXXXX";
    int fd = mkstemp(path);
    RUN_MPI(l, "-n", "2", "--report", path, "--", mpi_program, "1", "inside", "exit:0");
    ck_code(&l, 1);
    json_error_t error;
    json_t *report = json_load_file(path, 0, &error);
    ck_assert_msg(report, "%s", error.text);
    json_t *culprit = json_object_get(report, "culprit");
    ck_assert_int_eq((int)json_integer_value(json_object_get(culprit, "rank")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(culprit, "mpi")), "unfinished");
    json_decref(report);
    close(fd);
    unlink(path);
    launch_free(&l);
}
END_TEST

START_TEST(jobs_at_the_same_time_do_not_meet) {
    enum { JOBS = 4 };
    launch jobs[JOBS];
    for (int i = 0; i < JOBS; i++)
        jobs[i] = START_WITH((launch_setup){.environment = mpi_environment}, "-n", "2", "--", mpi_program);
    for (int i = 0; i < JOBS; i++) {
        launch_finish(&jobs[i]);
        ck_code(&jobs[i], 0);
        ck_assert_int_eq(count_of(jobs[i].output, "of 2: sum 1\n"), 2);
        launch_free(&jobs[i]);
    }
}
END_TEST

START_TEST(a_restart_is_a_new_mpi_job) {
    char script[512];
    snprintf(script, sizeof script,
             "if [ $TORCHELASTIC_RESTART_COUNT = 0 ]; then exec %s 1 inside kill; else exec %s; fi",
             mpi_program, mpi_program);
    RUN_MPI(l, "-n", "2", "--max-restarts", "1", "--", "sh", "-c", script);
    ck_code(&l, 0);
    ck_assert_int_eq(count_of(l.output, "of 2: sum 1\n"), 2);
    launch_free(&l);
}
END_TEST

/* Each rank is a job of three by its own launcher, which must not take it for one of ours. */
START_TEST(its_own_launcher_works_inside_a_rank) {
    RUN_MPI(l, "-n", "2", "--", mpi_launcher, "-n", "3", mpi_program);
    ck_code(&l, 0);
    ck_assert_int_eq(count_of(l.output, "of 3: sum 3\n"), 6);
    launch_free(&l);
}
END_TEST

START_TEST(tandem_run_works_inside_a_rank_of_tandem_run) {
    RUN_MPI(l, "-n", "2", "--", TANDEM, "run", "-n", "3", "--", mpi_program);
    ck_code(&l, 0);
    ck_assert_int_eq(count_of(l.output, "of 3: sum 3\n"), 6);
    launch_free(&l);
}
END_TEST

START_TEST(killing_the_launcher_takes_the_mpi_job_with_it) {
    launch l = START_WITH((launch_setup){.environment = mpi_environment}, "-n", "2", "--", mpi_program, "*",
                          "inside", "hang");
    launch_expect(&l, "up\nup\n");
    kill(l.pid, SIGKILL);
    launch_expect_no_survivors(&l);
    launch_free(&l);
}
END_TEST

TCase *mpi_cases(void) {
    TCase *tcase = tcase_create("any MPI");
    tcase_add_test(tcase, four_ranks_are_one_job);
    tcase_add_test(tcase, eight_ranks_share_few_cores);
    tcase_add_loop_test(tcase, a_rank_that_fails_ends_the_job_and_is_named, 0,
                        sizeof faults / sizeof *faults);
    tcase_add_test(tcase, leaving_with_0_after_mpi_finalize_is_well);
    tcase_add_test(tcase, mpi_abort_ends_the_job_whatever_the_script_does);
    tcase_add_test(tcase, the_report_says_what_mpi_made_of_it);
    tcase_add_test(tcase, jobs_at_the_same_time_do_not_meet);
    tcase_add_test(tcase, a_restart_is_a_new_mpi_job);
    tcase_add_test(tcase, its_own_launcher_works_inside_a_rank);
    tcase_add_test(tcase, tandem_run_works_inside_a_rank_of_tandem_run);
    tcase_add_test(tcase, killing_the_launcher_takes_the_mpi_job_with_it);
    return tcase;
}
