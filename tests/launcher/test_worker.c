/* Ranks that exchange data through the library, under the real launcher: what they lose decides who is to
 * blame. */
#include "launch.h"

#include <pty.h>
#include <stdio.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

static const int sizes[] = {1, 2, 3, 8};

START_TEST(ranks_find_each_other) {
    char n[8], sum[16];
    snprintf(n, sizeof n, "%d", sizes[_i]);
    snprintf(sum, sizeof sum, "sum %d\n", sizes[_i]);
    RUN(l, "-n", n, "--", RANKS, "*", "join", "*", "reduce:20", "*", "leave");
    ck_code(&l, 0);
    ck_assert_str_eq(l.errors, "");
    const char *at = l.output;
    for (int rank = 0; rank < sizes[_i]; rank++, at += strlen(sum))
        ck_assert_int_eq(strncmp(at, sum, strlen(sum)), 0);
    launch_free(&l);
}
END_TEST

/* What rank 1 of 3 does while the others reduce. */
static const struct loss {
    const char *arguments[4];
    int code;
    const char *said;
} losses[] = {
    {{"kill:9"}, 137, ") was killed by SIGKILL after "},
    {{"kill:11"}, 139, ") was killed by SIGSEGV after "},
    {{"exit:3"}, 3, ") exited with 3 after "},
    {{"exit:0"}, 1, ", in the middle of all_reduce"},
    {{"leave", "exit:0"}, 1, ", in the middle of all_reduce"},
    {{"kill:19", "hang"}, 124, " did not come to all_reduce"},
};

START_TEST(the_lost_rank_is_the_culprit) {
    const struct loss *c = &losses[_i];
    RUN(l, "-n", "3", "--stall-timeout", "400ms", "--", RANKS, "*", "join", "*", "reduce:5", "1",
        c->arguments[0], "1", c->arguments[1] ? c->arguments[1] : "hang", "*", "reduce:1000000", "*", "hang");
    ck_code(&l, c->code);
    ck_contains(l.errors, "tandem: rank 1 (pid ");
    ck_contains(l.errors, c->said);
    launch_free(&l);
}
END_TEST

START_TEST(no_terminal_has_no_columns) {
    RUN(l, "-n", "2", "--", RANKS, "*", "columns");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "0 columns\n0 columns\n");
    launch_free(&l);
}
END_TEST

START_TEST(ranks_learn_the_width_of_the_terminal) {
    struct winsize size = {.ws_row = 24, .ws_col = 77};
    int terminal;
    char text[256] = "";
    size_t n = 0;
    pid_t pid = forkpty(&terminal, NULL, NULL, &size);
    if (pid == 0) {
        execl(TANDEM, TANDEM, "run", "-n", "2", "--", RANKS, "*", "columns", NULL);
        _exit(99);
    }
    for (ssize_t got; (got = read(terminal, text + n, sizeof text - 1 - n)) > 0;) n += (size_t)got;
    waitpid(pid, NULL, 0);
    close(terminal);
    ck_assert_str_eq(text, "77 columns\r\n77 columns\r\n");
}
END_TEST

/* -n of any sub-command is `tandem run -n N -- tandem NAME ...`; options of run may stand among its own. */
START_TEST(any_command_launches_itself) {
    launch l =
        launch_start_with((launch_setup){0}, (const char *[]){TANDEM, "sampler", "--size", "4", "-n", "2",
                                                              "--prefix", "--world-size", "2", NULL});
    launch_finish(&l);
    ck_code(&l, 0);
    ck_contains(l.output, "[rank 0] ");
    ck_contains(l.output, "[rank 1] ");
    launch_free(&l);
    launch wrong = launch_start_with((launch_setup){0}, (const char *[]){TANDEM, "sampler", "-n", "0", NULL});
    launch_finish(&wrong);
    ck_code(&wrong, 125);
    launch_free(&wrong);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("worker");
    TCase *tcase = tcase_create("worker");
    tcase_add_loop_test(tcase, ranks_find_each_other, 0, (int)(sizeof sizes / sizeof *sizes));
    tcase_add_loop_test(tcase, the_lost_rank_is_the_culprit, 0, (int)(sizeof losses / sizeof *losses));
    tcase_add_test(tcase, no_terminal_has_no_columns);
    tcase_add_test(tcase, ranks_learn_the_width_of_the_terminal);
    tcase_add_test(tcase, any_command_launches_itself);
    suite_add_tcase(suite, tcase);
    return suite;
}
