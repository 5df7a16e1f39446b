/* How fast things happen and how little memory it takes: the launcher's promises with twenty times their duration, and
 * the best of several tries, so that only what is broken fails here. scripts/bench/launch.py has the real figures. */
#include "base/clock.h"
#include "launch.h"

#include <stdio.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

enum { TRIES = 5 };

static double ms_since(int64_t then_ns) { return (double)(td_clock_ns() - then_ns) * 1e-6; }

/* The latest moment that a rank has said with "clock", in ms after `then`. */
static double last_clock(const launch *l, int64_t then_ns) {
    int64_t latest = then_ns;
    for (const char *at = l->output; (at = strstr(at, "clock ")); at++) {
        long long said = 0;
        sscanf(at, "clock %lld", &said);
        if (said > latest) latest = said;
    }
    ck_assert_msg(latest > then_ns, "no clock in:\n%s", l->output);
    return (double)(latest - then_ns) * 1e-6;
}

static double least(double a, double b) { return a < b ? a : b; }

/* 5 ms. */
START_TEST(the_first_rank_runs_at_once) {
    double best = 1e9;
    for (int i = 0; i < TRIES && best > 100; i++) {
        int64_t before = td_clock_ns();
        RUN(l, "--", RANKS, "0", "clock");
        best = least(best, last_clock(&l, before));
        launch_free(&l);
    }
    ck_assert_msg(best <= 100, "its main began after %g ms", best);
}
END_TEST

/* 150 ms. */
START_TEST(sixty_four_ranks_run_soon) {
    int64_t before = td_clock_ns();
    RUN(l, "-n", "64", "--", RANKS, "*", "clock");
    double took = last_clock(&l, before);
    ck_code(&l, 0);
    ck_assert_msg(took <= 3000, "the last one's main began after %g ms", took);
    launch_free(&l);
}
END_TEST

/* 10 ms: rank 1 says when it leaves, rank 0 when it is told. */
START_TEST(the_end_of_a_rank_is_seen_at_once) {
    double best = 1e9;
    for (int i = 0; i < TRIES && best > 200; i++) {
        RUN(l, "-n", "2", "--", RANKS, "0", "tell:15", "1", "sleep:100", "1", "say:left", "1", "clock", "1",
            "exit:3", "0", "hang");
        const char *left = strstr(l.output, "left\nclock "), *told = strstr(l.output, "told ");
        long long from = 0, to = 0;
        if (left && told && sscanf(left, "left\nclock %lld", &from) == 1 && sscanf(told, "told %lld", &to))
            best = least(best, (double)(to - from) * 1e-6);
        ck_code(&l, 3);
        launch_free(&l);
    }
    ck_assert_msg(best <= 200, "the other rank was told after %g ms", best);
}
END_TEST

/* The grace and 50 ms, even if nobody obeys. */
START_TEST(who_does_not_stop_is_gone_soon_after_the_grace) {
    enum { GRACE_MS = 200 };
    double best = 1e9;
    for (int i = 0; i < TRIES && best > GRACE_MS + 1000; i++) {
        launch l = START("-n", "8", "--shutdown-timeout", "200ms", "--", RANKS, "*", "ignore:15", "*",
                         "say:up", "*", "hang");
        launch_expect(&l, "up\nup\nup\nup\nup\nup\nup\nup\n");
        int64_t before = td_clock_ns();
        kill(l.pid, SIGTERM);
        launch_finish(&l);
        double took = ms_since(before);
        ck_assert_msg(took >= GRACE_MS, "there was no grace: %g ms", took);
        best = least(best, took);
        launch_free(&l);
    }
    ck_assert_msg(best <= GRACE_MS + 1000, "it took %g ms", best);
}
END_TEST

static long peak_kilobytes(pid_t pid) {
    char path[64], line[256];
    long kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) sscanf(line, "VmHWM: %ld", &kilobytes);
    fclose(file);
    return kilobytes;
}

START_TEST(the_launcher_stays_small_with_64_ranks) {
    launch l = START("-n", "64", "--prefix", "--", RANKS, "*", "lines:200", "*", "flush", "0", "sleep:100",
                     "0", "say:all", "0", "wait");
    launch_expect(&l, "[rank 0] all\n");
    long launcher = peak_kilobytes(l.pid);
    launch_finish(&l);
    ck_code(&l, 0);
    ck_assert_int_gt(launcher, 0);
    ck_assert_msg(launcher < 15000, "its peak is %ld kB", launcher);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("pace");
    TCase *tcase = tcase_create("pace");
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, the_first_rank_runs_at_once);
    tcase_add_test(tcase, sixty_four_ranks_run_soon);
    tcase_add_test(tcase, the_end_of_a_rank_is_seen_at_once);
    tcase_add_test(tcase, who_does_not_stop_is_gone_soon_after_the_grace);
    tcase_add_test(tcase, the_launcher_stays_small_with_64_ranks);
    suite_add_tcase(suite, tcase);
    return suite;
}
