/* Attempts: when all ranks start anew, when not, and what is said about it. */
#include "launch.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

static json_t *take_report(const char *path) {
    json_t *report = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(report);
    unlink(path);
    return report;
}

static const char *make_report_path(char path[64]) {
    snprintf(path, 64, "/tmp/tandem-restart-%d.json", (int)getpid());
    return path;
}

START_TEST(what_fails_twice_may_work_the_third_time) {
    char path[64];
    RUN(l, "-n", "2", "--max-restarts", "3", "--restart-backoff", "1ms", "--report", make_report_path(path),
        "--", RANKS, "1", "attempt:0:exit:3", "0", "attempt:1:kill:9", "1", "attempt:1:hang", "*",
        "attempt:2:say:done", "0", "attempt:0:hang");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "done\ndone\n");
    ck_contains(l.errors, "tandem: rank 1 (pid ");
    ck_contains(l.errors, "(restart 1 of 3)\n");
    ck_contains(l.errors, "tandem: rank 0 (pid ");
    ck_contains(l.errors, "(restart 2 of 3)\n");
    json_t *report = take_report(path), *earlier = json_object_get(report, "earlier_attempts");
    ck_assert_str_eq(json_string_value(json_object_get(report, "status")), "ok");
    ck_assert_int_eq(json_integer_value(json_object_get(report, "attempt")), 2);
    ck_assert_uint_eq(json_array_size(earlier), 2);
    static const int codes[] = {3, 137}, culprits[] = {1, 0};
    for (size_t i = 0; i < 2; i++) {
        json_t *attempt = json_array_get(earlier, i);
        ck_assert_int_eq(json_integer_value(json_object_get(attempt, "exit_code")), codes[i]);
        json_t *culprit = json_object_get(attempt, "culprit");
        ck_assert_int_eq(json_integer_value(json_object_get(culprit, "rank")), culprits[i]);
        ck_assert_uint_eq(json_array_size(json_object_get(attempt, "victims")), 1);
    }
    json_decref(report);
    launch_free(&l);
}
END_TEST

START_TEST(when_restarts_are_used_up_the_last_status_counts) {
    RUN(l, "-n", "2", "--max-restarts", "1", "--restart-backoff", "0", "--", RANKS, "1", "attempt:0:exit:3",
        "1", "attempt:1:exit:4", "0", "hang");
    ck_code(&l, 4);
    ck_contains(l.errors, "tandem: not restarted again: --max-restarts is 1\n");
    launch_free(&l);
}
END_TEST

/* torchrun's counters; numbers are kept, the port is new. */
START_TEST(ranks_are_told_which_attempt_it_is) {
    RUN(l, "-n", "2", "--max-restarts", "5", "--restart-backoff", "0", "--prefix", "--", RANKS, "1",
        "variable:TORCHELASTIC_RESTART_COUNT", "1", "variable:TORCHELASTIC_MAX_RESTARTS", "1",
        "variable:TORCHELASTIC_RUN_ID", "1", "attempt:0:exit:1", "0", "attempt:0:hang");
    ck_code(&l, 0);
    char first[64], second[64];
    ck_assert_int_eq(sscanf(l.output,
                            "[rank 1] TORCHELASTIC_RESTART_COUNT=0\n[rank 1] TORCHELASTIC_MAX_RESTARTS=5\n"
                            "[rank 1] TORCHELASTIC_RUN_ID=%63s [rank 1] TORCHELASTIC_RESTART_COUNT=1\n"
                            "[rank 1] TORCHELASTIC_MAX_RESTARTS=5\n[rank 1] TORCHELASTIC_RUN_ID=%63s",
                            first, second),
                     2);
    ck_assert_str_eq(first, second);
    launch_free(&l);
}
END_TEST

START_TEST(what_was_not_up_long_enough_is_not_restarted) {
    RUN(l, "--max-restarts", "3", "--restart-min-uptime", "1m", "--", RANKS, "0", "exit:3");
    ck_code(&l, 3);
    ck_contains(l.errors, "less than --restart-min-uptime");
    launch_free(&l);
}
END_TEST

START_TEST(what_was_up_long_enough_is_restarted) {
    RUN(l, "--max-restarts", "3", "--restart-min-uptime", "10ms", "--restart-backoff", "0", "--", RANKS, "0",
        "sleep:100", "0", "attempt:0:exit:3");
    ck_code(&l, 0);
    ck_contains(l.errors, "(restart 1 of 3)\n");
    launch_free(&l);
}
END_TEST

START_TEST(the_pause_doubles_with_each_restart) {
    RUN(l, "--max-restarts", "3", "--restart-backoff", "20ms", "--", RANKS, "0", "attempt:3:exit:0", "0",
        "exit:3");
    ck_code(&l, 0);
    ck_contains(l.errors, "all ranks start anew in 20.0 ms (restart 1 of 3)\n");
    ck_contains(l.errors, "all ranks start anew in 40.0 ms (restart 2 of 3)\n");
    ck_contains(l.errors, "all ranks start anew in 80.0 ms (restart 3 of 3)\n");
    launch_free(&l);
}
END_TEST

/* Whatever it is, it will happen again. */
START_TEST(what_fails_twice_at_the_same_step_is_not_restarted) {
    RUN(l, "-n", "2", "--max-restarts", "5", "--restart-backoff", "0", "--", RANKS, "1", "attempt:0:step:7",
        "1", "attempt:0:exit:3", "1", "step:9", "1", "exit:4", "0", "hang");
    ck_code(&l, 4);
    ck_contains(l.errors, "(restart 2 of 5)\n");
    ck_assert_ptr_null(strstr(l.errors, "(restart 3 of 5)"));
    ck_contains(l.errors, ", training, at step 9\n");
    ck_contains(l.errors, "tandem: not restarted: it failed at step 9 as it did before\n");
    launch_free(&l);
}
END_TEST

START_TEST(what_cannot_be_started_is_not_restarted) {
    char path[] = "/tmp/tandem-broken-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, "\177ELF", 4), 4);
    fchmod(fd, 0700);
    close(fd);
    RUN(l, "--max-restarts", "3", "--", path);
    ck_code(&l, 126);
    ck_assert_ptr_null(strstr(l.errors, "restart"));
    unlink(path);
    launch_free(&l);
}
END_TEST

START_TEST(a_signal_ends_the_pause) {
    launch l = START("--max-restarts", "3", "--restart-backoff", "10m", "--", RANKS, "0", "exit:3");
    char seen[4096];
    size_t n = 0;
    while (n < sizeof seen - 1 && !(seen[n] = 0, strstr(seen, "(restart 1 of 3)"))) {
        ssize_t got = read(l.err, seen + n, sizeof seen - 1 - n);
        ck_assert_int_gt(got, 0);
        n += (size_t)got;
    }
    kill(l.pid, SIGTERM);
    launch_finish(&l);
    ck_assert(WIFSIGNALED(l.status) && WTERMSIG(l.status) == SIGTERM);
    ck_contains(l.errors, "tandem: stopped by SIGTERM\n");
    launch_free(&l);
}
END_TEST

/* Nothing of an attempt is left to the next: not its daemons, not its descriptors. */
START_TEST(each_attempt_begins_clean) {
    launch l = START("-n", "2", "--max-restarts", "20", "--restart-backoff", "0", "--shutdown-timeout",
                     "20ms", "--", RANKS, "0", "daemon", "0", "attempt:20:say:up", "0", "attempt:20:wait",
                     "0", "attempt:20:exit:0", "0", "exit:5", "1", "attempt:20:exit:0", "1", "hang");
    launch_expect(&l, "up\n");
    char path[64], link[64];
    int open_fds = 0;
    for (int fd = 0; fd < 200; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)l.pid, fd);
        open_fds += access(path, F_OK) == 0 || readlink(path, link, sizeof link) > 0;
    }
    ck_assert_int_lt(open_fds, 40);
    launch_finish(&l);
    ck_code(&l, 0);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("restart");
    TCase *tcase = tcase_create("restart");
    tcase_add_test(tcase, what_fails_twice_may_work_the_third_time);
    tcase_add_test(tcase, when_restarts_are_used_up_the_last_status_counts);
    tcase_add_test(tcase, ranks_are_told_which_attempt_it_is);
    tcase_add_test(tcase, what_was_not_up_long_enough_is_not_restarted);
    tcase_add_test(tcase, what_was_up_long_enough_is_restarted);
    tcase_add_test(tcase, the_pause_doubles_with_each_restart);
    tcase_add_test(tcase, what_fails_twice_at_the_same_step_is_not_restarted);
    tcase_add_test(tcase, what_cannot_be_started_is_not_restarted);
    tcase_add_test(tcase, a_signal_ends_the_pause);
    tcase_add_test(tcase, each_attempt_begins_clean);
    suite_add_tcase(suite, tcase);
    return suite;
}
