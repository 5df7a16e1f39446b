#include "launcher/restart.h"
#include "support/check.h"

#include <errno.h>
#include <signal.h>

/* Wait statuses as the kernel makes them. */
#define EXITED(code)     ((code) << 8)
#define KILLED(sig)      (sig)
#define LEFT(status, at) .life = LAUNCHER_ENDED, .wait_status = (status), .ended_ns = (at)

static const struct judged {
    const char *name;
    int n;
    launcher_rank ranks[4];
    launcher_ending ending;
    launcher_verdict expected;
} cases[] = {
    {"all left with 0", 2, {{LEFT(0, 1), .lost = -1}, {LEFT(0, 2), .lost = -1}}, {0}, {"ok", 0, -1}},
    {"the first failure by time, not by rank",
     3,
     {{LEFT(EXITED(7), 9), .lost = -1}, {LEFT(0, 1), .lost = -1}, {LEFT(EXITED(3), 8), .lost = -1}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 3, 2}},
    {"a signal is 128 and its number",
     2,
     {{LEFT(KILLED(SIGSEGV), 5), .lost = -1}, {LEFT(KILLED(SIGTERM), 6), .lost = -1, .told_to_stop = true}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 139, 0}},
    {"who was told to stop is no culprit, though its time came first",
     2,
     {{LEFT(KILLED(SIGTERM), 5), .lost = -1, .told_to_stop = true}, {LEFT(EXITED(4), 6), .lost = -1}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 4, 1}},
    {"the one that was lost, not the one that noticed first",
     2,
     {{LEFT(EXITED(1), 5), .lost = 1}, {LEFT(KILLED(SIGKILL), 6), .lost = -1}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 137, 1}},
    {"lost and dead, though we learnt of it after telling it to stop",
     2,
     {{LEFT(EXITED(1), 5), .lost = 1}, {LEFT(KILLED(SIGKILL), 6), .lost = -1, .told_to_stop = true}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 137, 1}},
    {"left with 0 in the middle",
     2,
     {{LEFT(EXITED(9), 5), .lost = 1}, {LEFT(0, 3), .lost = -1}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 1, 1}},
    {"alive and silent",
     2,
     {{LEFT(EXITED(9), 5), .lost = 1, .lost_to_silence = true},
      {LEFT(KILLED(SIGKILL), 8), .lost = -1, .told_to_stop = true}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 124, 1}},
    {"along a chain",
     3,
     {{LEFT(EXITED(1), 3), .lost = 1},
      {LEFT(EXITED(1), 2), .lost = 2},
      {LEFT(KILLED(SIGABRT), 1), .lost = -1}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 134, 2}},
    {"two that lost each other",
     2,
     {{LEFT(EXITED(5), 3), .lost = 1}, {LEFT(EXITED(6), 2), .lost = 0}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 6, 1}},
    {"a rank that is none",
     2,
     {{LEFT(EXITED(5), 3), .lost = 77}, {LEFT(0, 2), .lost = -1}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 5, 0}},
    {"no interpreter",
     1,
     {{.life = LAUNCHER_UNSTARTED, .stage = LAUNCHER_STAGE_EXEC, .error = ENOENT, .lost = -1}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 127, 0}},
    {"no permission",
     1,
     {{.life = LAUNCHER_UNSTARTED, .stage = LAUNCHER_STAGE_EXEC, .error = EACCES, .lost = -1}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 126, 0}},
    {"no process",
     2,
     {{LEFT(KILLED(SIGTERM), 3), .lost = -1, .told_to_stop = true},
      {.life = LAUNCHER_UNSTARTED, .stage = LAUNCHER_STAGE_FORK, .error = EAGAIN, .lost = -1}},
     {.stop = LAUNCHER_STOP_FAILURE},
     {"failed", 125, 1}},
    {"the user's signal",
     1,
     {{LEFT(KILLED(SIGINT), 3), .lost = -1, .told_to_stop = true}},
     {.stop = LAUNCHER_STOP_SIGNAL, .signal = SIGINT},
     {"interrupted", 130, -1}},
    {"a reader that has gone",
     1,
     {{LEFT(KILLED(SIGTERM), 3), .lost = -1, .told_to_stop = true}},
     {.stop = LAUNCHER_STOP_OUTPUT},
     {"closed", 141, -1}},
    {"trouble of our own", 1, {{LEFT(0, 3), .lost = -1}}, {.stop = LAUNCHER_STOP_OWN}, {"error", 125, -1}},
};

START_TEST(each_ending_has_its_verdict) {
    const struct judged *c = &cases[_i];
    launcher_verdict got = launcher_judge(c->ranks, c->n, &c->ending);
    ck_assert_msg(strcmp(got.status, c->expected.status) == 0 && got.exit_code == c->expected.exit_code &&
                      got.culprit == c->expected.culprit,
                  "%s: %s, status %d, culprit %d", c->name, got.status, got.exit_code, got.culprit);
}
END_TEST

START_TEST(the_pause_before_a_restart_has_a_limit) {
    static const double pauses[] = {0.5, 1, 2, 4, 8, 16, 30, 30, 30};
    launcher_options options = {.max_restarts = 100, .restart_backoff = 0.5};
    launcher_rank rank = {.life = LAUNCHER_ENDED, .wait_status = EXITED(3), .step = -1, .lost = -1};
    launcher_verdict verdict = {"failed", 3, 0};
    launcher_ending ending = {.stop = LAUNCHER_STOP_FAILURE};
    launcher_history history = {0};
    for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
        launcher_next next = launcher_decide_next(&history, &options, &verdict, &rank, 1, &ending);
        ck_assert(next.again);
        ck_assert_double_eq(next.pause, pauses[i]);
    }
    options.restart_backoff = 60; /* the user wants more */
    ck_assert_double_eq(launcher_decide_next(&history, &options, &verdict, &rank, 1, &ending).pause, 60);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("verdict");
    TCase *tcase = tcase_create("verdict");
    tcase_add_loop_test(tcase, each_ending_has_its_verdict, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, the_pause_before_a_restart_has_a_limit);
    suite_add_tcase(suite, tcase);
    return suite;
}
