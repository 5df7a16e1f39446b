/* Time limits, and what makes their clocks stand still. */
#include "base/clock.h"
#include "launch.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

static bool is_on_path(const char *program) {
    char command[128];
    snprintf(command, sizeof command, "command -v %s > /dev/null", program);
    return system(command) == 0;
}

/* A program that is not ours: its output is its progress. */
START_TEST(a_silent_job_is_ended_with_a_notice_and_stacks) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/tandem-stall-%d.json", (int)getpid());
    RUN(l, "-n", "2", "--stall-timeout", "1s", "--report", path, "--", RANKS, "1", "say:hi", "0", "sleep:300",
        "0", "say:hi", "0", "sleep:300", "0", "say:last", "*", "hang");
    ck_code(&l, 124);
    ck_contains(l.errors, "tandem: no rank has got on for ");
    ck_contains(l.errors, "silent for longest: rank 1 (pid ");
    ck_contains(l.errors, "tandem: rank 1 (pid ");
    ck_contains(l.errors, ") did not get on for ");
    json_t *report = json_load_file(path, 0, NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(report, "exit_code")), 124);
    if (is_on_path("gdb")) {
        ck_contains(l.errors, "tandem: where rank 1 (pid ");
        ck_contains(l.errors, "pause");
        json_t *stack = json_array_get(json_object_get(report, "stacks"), 0);
        ck_assert_int_eq(json_integer_value(json_object_get(stack, "rank")), 1);
    }
    json_decref(report);
    unlink(path);
    launch_free(&l);
}
END_TEST

/* Whoever says that it gets on is not silent. */
START_TEST(progress_keeps_a_job_alive) {
    RUN(l, "-n", "2", "--stall-timeout", "1s", "--", RANKS, "0", "step:1", "0", "sleep:700", "0", "step:2",
        "0", "sleep:700", "1", "step:1", "1", "sleep:700", "1", "step:2", "1", "sleep:700");
    ck_code(&l, 0);
    ck_assert_ptr_null(strstr(l.errors, "did not"));
    launch_free(&l);
}
END_TEST

/* No rank waits for another, so only the launcher can know. The step is told. */
START_TEST(a_rank_of_ours_that_hangs_is_named_with_its_step) {
    RUN(l, "--stall-timeout", "500ms", "--", RANKS, "0", "step:7", "0", "hang");
    ck_code(&l, 124);
    ck_contains(l.errors, ") did not get on for ");
    ck_contains(l.errors, ", training, at step 7\n");
    launch_free(&l);
}
END_TEST

START_TEST(a_rank_that_never_came_is_looked_at) {
    RUN(l, "-n", "3", "--stall-timeout", "1s", "--", RANKS, "2", "join", "1", "join", "0", "hang", "*",
        "reduce:1");
    ck_code(&l, 124);
    ck_contains(l.errors, "tandem: rank 0 (pid ");
    if (is_on_path("gdb")) ck_contains(l.errors, "tandem: where rank 0 (pid ");
    launch_free(&l);
}
END_TEST

START_TEST(a_stalled_job_starts_anew_when_it_may) {
    RUN(l, "-n", "2", "--stall-timeout", "500ms", "--max-restarts", "1", "--restart-backoff", "0", "--",
        RANKS, "*", "attempt:0:hang", "*", "say:done");
    ck_code(&l, 0);
    ck_contains(l.errors, "(restart 1 of 1)\n");
    launch_free(&l);
}
END_TEST

START_TEST(the_whole_job_has_a_limit_restarts_included) {
    int64_t began = td_clock_ns();
    RUN(l, "--timeout", "500ms", "--max-restarts", "1000000", "--restart-backoff", "10ms", "--", RANKS, "0",
        "exit:3");
    ck_code(&l, 124);
    ck_contains(l.errors, "tandem: stopped, because --timeout is over\n");
    ck_assert_int_lt(td_clock_ns() - began, 20 * INT64_C(1000000000));
    launch_free(&l);
    RUN(hanging, "-n", "2", "--timeout", "300ms", "--", RANKS, "*", "hang");
    ck_code(&hanging, 124);
    launch_free(&hanging);
}
END_TEST

/* Once for long, or often: what is counted wrongly adds up. */
START_TEST(clocks_stand_still_while_the_job_is_suspended) {
    static const struct { int times, ms; } pauses[] = {{1, 2500}, {3, 900}};
    launch l =
        START("-n", "2", "--timeout", "2s", "--stall-timeout", "1s", "--", RANKS, "*", "say:up", "0", "wait");
    launch_expect(&l, "up\nup\n");
    for (int i = 0; i < pauses[_i].times; i++) {
        kill(l.pid, SIGTSTP);
        ck_assert_int_eq(waitpid(l.pid, &l.status, WUNTRACED), l.pid);
        usleep((useconds_t)pauses[_i].ms * 1000);
        kill(l.pid, SIGCONT);
        usleep(20000);
    }
    launch_finish(&l);
    ck_code(&l, 0);
    launch_free(&l);
}
END_TEST

static bool write_to(const char *group, const char *name, const char *text) {
    char path[192];
    snprintf(path, sizeof path, "%s/%s", group, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool wrote = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) close(fd);
    return wrote;
}

/* As a batch system does to a whole job, or a laptop to everything: no signal tells of it. Where we may make a group. */
START_TEST(clocks_stand_still_while_everything_is_frozen) {
    char group[96], command[512];
    bool old = access("/sys/fs/cgroup/freezer", F_OK) == 0;
    snprintf(group, sizeof group, "/sys/fs/cgroup/%standem-frozen-%d", old ? "freezer/" : "", (int)getpid());
    if (mkdir(group, 0700) != 0) return;
    const char *state = old ? "freezer.state" : "cgroup.freeze";
    snprintf(command, sizeof command,
             "echo $$ > %s/cgroup.procs || exit 99; exec " TANDEM
             " run -n 2 --timeout 2s --stall-timeout 1s -- " RANKS " '*' say:up 0 wait",
             group);
    launch l = launch_start_with((launch_setup){0}, (const char *[]){"sh", "-c", command, NULL});
    launch_expect(&l, "up\nup\n");
    if (write_to(group, state, old ? "FROZEN" : "1")) {
        usleep(2500000);
        ck_assert(write_to(group, state, old ? "THAWED" : "0"));
        usleep(200000);
    }
    launch_finish(&l);
    for (int tries = 0; tries < 100 && rmdir(group) != 0; tries++) usleep(10000);
    ck_code(&l, 0);
    launch_free(&l);
}
END_TEST

/* Rank 0 waits for rank 1 in an all-reduce, with a deadline of its own. */
START_TEST(clocks_stand_still_while_a_rank_is_debugged) {
    launch l =
        START("-n", "2", "--timeout", "5s", "--stall-timeout", "1s", "--", "sh", "-c",
              "[ $RANK = 0 ] || echo $$; exec " RANKS " '*' join '*' sleep:300 '*' reduce:1 '*' leave");
    while (!strchr(l.output, '\n')) launch_expect_more(&l);
    pid_t rank = atoi(l.output);
    ck_assert_int_eq(ptrace(PTRACE_SEIZE, rank, NULL, NULL), 0);
    ptrace(PTRACE_INTERRUPT, rank, NULL, NULL);
    ck_assert_int_eq(waitpid(rank, NULL, __WALL), rank);
    usleep(2500000);
    ck_assert_int_eq(ptrace(PTRACE_DETACH, rank, NULL, NULL), 0);
    launch_finish(&l);
    ck_code(&l, 0);
    launch_free(&l);
}
END_TEST

/* More than all pipes between rank 0 and us hold, and we do not read: then rank 0 cannot come to the all-reduce. */
START_TEST(clocks_stand_still_while_nobody_reads_our_output) {
    launch l = START("-n", "2", "--timeout", "5s", "--stall-timeout", "1s", "--", RANKS, "*", "join", "0",
                     "lines:40000", "0", "flush", "*", "reduce:1", "*", "leave");
    usleep(2500000);
    launch_finish(&l);
    ck_code(&l, 0);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("stall");
    TCase *tcase = tcase_create("stall");
    tcase_add_test(tcase, a_silent_job_is_ended_with_a_notice_and_stacks);
    tcase_add_test(tcase, progress_keeps_a_job_alive);
    tcase_add_test(tcase, a_rank_of_ours_that_hangs_is_named_with_its_step);
    tcase_add_test(tcase, a_rank_that_never_came_is_looked_at);
    tcase_add_test(tcase, a_stalled_job_starts_anew_when_it_may);
    tcase_add_test(tcase, the_whole_job_has_a_limit_restarts_included);
    tcase_add_loop_test(tcase, clocks_stand_still_while_the_job_is_suspended, 0, 2);
    tcase_add_test(tcase, clocks_stand_still_while_everything_is_frozen);
    tcase_add_test(tcase, clocks_stand_still_while_a_rank_is_debugged);
    tcase_add_test(tcase, clocks_stand_still_while_nobody_reads_our_output);
    suite_add_tcase(suite, tcase);
    return suite;
}
