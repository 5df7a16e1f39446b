/* The ranks' output and input. */
#include "base/clock.h"
#include "launch.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

/* Each rank's lines whole, all there, in their order. */
START_TEST(lines_are_never_torn_and_keep_their_order) {
    enum { N = 8, LINES = 2000 };
    long next[N] = {0};
    RUN(l, "-n", "8", "--", RANKS, "*", "lines:2000");
    ck_code(&l, 0);
    for (char *line = strtok(l.output, "\n"); line; line = strtok(NULL, "\n")) {
        int rank = -1, end = 0;
        long number = -1;
        sscanf(line, "rank %d line %ld ............................%n", &rank, &number, &end);
        ck_assert_msg(end > 0 && line[end] == 0 && rank >= 0 && rank < N, "a torn line: %s", line);
        ck_assert_int_eq(number, next[rank]++);
    }
    for (int rank = 0; rank < N; rank++) ck_assert_int_eq(next[rank], LINES);
    launch_free(&l);
}
END_TEST

START_TEST(a_last_line_without_newline_appears_unchanged) {
    RUN(l, "--", "printf", "one\\ntwo");
    ck_assert_str_eq(l.output, "one\ntwo");
    launch_free(&l);
}
END_TEST

START_TEST(unfinished_last_lines_of_two_ranks_stay_apart) {
    RUN(l, "-n", "2", "--", "printf", "end");
    ck_assert_str_eq(l.output, "end\nend");
    launch_free(&l);
}
END_TEST

START_TEST(any_bytes_pass_through) {
    RUN(l, "--", "printf", "a\\r\\377\\376 \\000b\\033[0m\\n");
    ck_assert_uint_eq(l.output_n, 12);
    ck_assert(memcmp(l.output, "a\r\xff\xfe \0b\033[0m\n", 12) == 0);
    launch_free(&l);
}
END_TEST

START_TEST(a_line_of_a_megabyte_stays_whole) {
    RUN(l, "-n", "2", "--", "sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' $RANK; echo");
    ck_assert_uint_eq(l.output_n, 2000002);
    for (int half = 0; half < 2; half++) {
        const char *line = l.output + half * 1000001;
        ck_assert(line[1000000] == '\n');
        ck_assert(memcmp(line, line + 1, 999999) == 0);
    }
    launch_free(&l);
}
END_TEST

START_TEST(prefix_tags_each_line_with_its_rank) {
    RUN(l, "-n", "2", "--prefix", "--", "sh", "-c", "[ $RANK = 1 ] && printf 'a\\n\\nb' || true");
    ck_assert_str_eq(l.output, "[rank 1] a\n[rank 1] \n[rank 1] b");
    launch_free(&l);
}
END_TEST

START_TEST(both_streams_go_where_they_belong) {
    RUN(l, "--", RANKS, "0", "say:out", "0", "complain:err");
    ck_assert_str_eq(l.output, "out\n");
    ck_assert_str_eq(l.errors, "err\n");
    launch_free(&l);
}
END_TEST

START_TEST(only_rank_0_has_our_input) {
    launch l = START("-n", "3", "--", "sh", "-c", "sed \"s/^/$RANK /\"");
    ck_assert_int_eq(write(l.in, "x\ny", 3), 3);
    launch_finish(&l);
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "0 x\n0 y");
    launch_free(&l);
}
END_TEST

/* The end never waits for a pipe that someone else holds: a daemon that has both outputs is killed, not
 * awaited. */
START_TEST(a_daemon_that_holds_the_pipes_does_not_delay_the_failure) {
    int64_t begin = td_clock_ns();
    RUN(l, "-n", "2", "--shutdown-timeout", "200ms", "--", RANKS, "0", "daemon", "0", "say:before", "0",
        "exit:2");
    ck_code(&l, 2);
    ck_assert_str_eq(l.output, "before\n");
    ck_assert_int_lt(td_clock_ns() - begin, 5000000000);
    launch_free(&l);
}
END_TEST

START_TEST(a_reader_that_leaves_stops_the_job) {
    launch l = START("-n", "2", "--", "sh", "-c", "while echo line; do :; done; sleep 60");
    launch_expect(&l, "line\n");
    close(l.out);
    l.out = -1;
    launch_finish(&l);
    ck_code(&l, 141);
    ck_contains(l.errors, "whoever read the output has closed it");
    launch_free(&l);
}
END_TEST

START_TEST(a_full_disk_is_told_and_the_job_goes_on) {
    RUN_WITH(l, (launch_setup){.output_path = "/dev/full"}, "-n", "2", "--", RANKS, "*", "say:x", "*",
             "complain:done");
    ck_code(&l, 125);
    ck_contains(l.errors, "cannot write the ranks' standard output: No space left on device");
    ck_contains(l.errors, "done\n");
    launch_free(&l);
}
END_TEST

/* The arena or a pipe that got number 0 or 1 would be lost to the ranks' own. */
START_TEST(without_standard_descriptors_nothing_goes_astray) {
    RUN_WITH(l, (launch_setup){.closed = true}, "-n", "2", "--", RANKS, "*", "join", "*", "reduce:1", "*",
             "leave", "*", "complain:kept");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "");
    ck_assert_str_eq(l.errors, "kept\nkept\n");
    launch_free(&l);
}
END_TEST

/* More than all queues hold, while nobody reads: it must wait, not grow, and lose nothing. */
START_TEST(a_slow_reader_slows_the_ranks) {
    launch l = START("-n", "2", "--", "sh", "-c", "head -c 8000000 /dev/zero | tr '\\0' '\\n'");
    usleep(200000);
    char path[64], line[256];
    long kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)l.pid);
    FILE *status = fopen(path, "r");
    while (fgets(line, sizeof line, status)) sscanf(line, "VmRSS: %ld", &kilobytes);
    fclose(status);
#ifndef __SANITIZE_ADDRESS__
    ck_assert_int_lt(kilobytes, 8000);
#endif
    launch_finish(&l);
    ck_code(&l, 0);
    ck_assert_uint_eq(l.output_n, 16000000);
    launch_free(&l);
}
END_TEST

/* Writing to a pipe, and to what is neither pipe nor file, never keeps the launcher from its work. */
START_TEST(while_nobody_reads_the_job_can_still_be_stopped) {
    launch l = START_WITH((launch_setup){.socket = _i == 1}, "-n", "2", "--", RANKS, "*", "lines:60000");
    pid_t guardian = 0;
    for (int i = 0; i < 1000 && launch_child(guardian = launch_guardian(&l)) == 0; i++) usleep(5000);
    usleep(200000); /* all is full now */
    kill(l.pid, SIGTERM);
    for (int i = 0; i < 1000 && launch_child(guardian) != 0; i++) usleep(5000);
    ck_assert_int_eq(launch_child(guardian), 0);
    launch_finish(&l);
    ck_code(&l, 143);
    long lines = 0;
    for (const char *c = l.output; *c; c++) lines += *c == '\n';
    ck_assert(lines > 1000 && lines < 120000);
    launch_free(&l);
}
END_TEST

START_TEST(a_socket_gets_every_line_too) {
    launch l = START_WITH((launch_setup){.socket = true}, "-n", "2", "--", RANKS, "*", "lines:40000");
    usleep(100000);
    launch_finish(&l);
    ck_code(&l, 0);
    long lines = 0;
    for (const char *c = l.output; *c; c++) lines += *c == '\n';
    ck_assert_int_eq(lines, 80000);
    launch_free(&l);
}
END_TEST

/* Others have the same pipe open, and most programs cannot write to one that does not block. */
START_TEST(our_output_is_not_made_non_blocking) {
    launch l = launch_start_with(
        (launch_setup){0}, (const char *[]){"sh", "-c",
                                            TANDEM " run -- head -c 1000000 /dev/zero; sed -n s/flags:.//p "
                                                   "/proc/self/fdinfo/1",
                                            NULL});
    usleep(100000);
    launch_finish(&l);
    ck_assert_uint_gt(l.output_n, 1000000);
    ck_assert_int_eq(strtol(l.output + 1000000, NULL, 8) & (O_NONBLOCK | O_ACCMODE), O_WRONLY);
    launch_free(&l);
}
END_TEST

/* --- with a terminal behind us -------------------------------------------------------------------------- */

/* Run in a terminal of 77 columns; everything that it shows until `wanted` comes or all has ended. */
static void read_terminal(int terminal, char *text, size_t size, const char *wanted) {
    size_t n = strlen(text);
    int64_t deadline = td_clock_ns() + INT64_C(10000000000);
    while (n + 1 < size && !(wanted && strstr(text, wanted))) {
        struct pollfd p = {terminal, POLLIN, 0};
        ck_assert_msg(td_clock_ns() < deadline, "the terminal shows: %s", text);
        if (poll(&p, 1, 100) == 0) continue;
        ssize_t got = read(terminal, text + n, size - 1 - n);
        if (got <= 0) return;
        n += (size_t)got;
        text[n] = 0;
    }
}

static pid_t start_in_terminal(int *terminal, const char *const *argv) {
    struct winsize size = {.ws_row = 24, .ws_col = 77};
    pid_t pid = forkpty(terminal, NULL, NULL, &size);
    if (pid == 0) {
        execv(argv[0], (char *const *)argv);
        _exit(99);
    }
    return pid;
}

/* Rank 0's half line is seen before it ends; rank 1's line is put above it, and it is drawn again. */
START_TEST(a_progress_bar_of_rank_0_lives_on_a_terminal) {
    int terminal, status;
    char text[4096] = "";
    pid_t pid = start_in_terminal(
        &terminal, (const char *const[]){
                       TANDEM, "run", "-n", "2", "--", "sh", "-c",
                       "if [ $RANK = 0 ]; then printf '\\r10%%'; head -n 1 >/dev/null; printf '\\r20%%\\n';"
                       " else sleep 0.2; echo news; sleep 60; fi; kill -9 $$",
                       NULL});
    read_terminal(terminal, text, sizeof text, "news\r\n10%");
    ck_contains(text, "10%\r\033[Knews\r\n10%");
    ck_assert_int_eq(write(terminal, "\n", 1), 1);
    read_terminal(terminal, text, sizeof text, "20%");
    read_terminal(terminal, text, sizeof text, NULL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(WEXITSTATUS(status), 137);
    close(terminal);
}
END_TEST

START_TEST(ctrl_c_in_a_terminal_ends_the_launcher_by_sigint) {
    int terminal, status;
    char text[4096] = "";
    pid_t pid = start_in_terminal(&terminal, (const char *const[]){TANDEM, "run", "-n", "2", "--", RANKS, "*",
                                                                   "say:up", "*", "hang", NULL});
    read_terminal(terminal, text, sizeof text, "up\r\nup\r\n");
    ck_assert_int_eq(write(terminal, "\003", 1), 1);
    read_terminal(terminal, text, sizeof text, NULL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    ck_contains(text, "tandem: stopped by SIGINT");
    close(terminal);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("output");
    TCase *tcase = tcase_create("output");
    tcase_add_test(tcase, lines_are_never_torn_and_keep_their_order);
    tcase_add_test(tcase, a_last_line_without_newline_appears_unchanged);
    tcase_add_test(tcase, unfinished_last_lines_of_two_ranks_stay_apart);
    tcase_add_test(tcase, any_bytes_pass_through);
    tcase_add_test(tcase, a_line_of_a_megabyte_stays_whole);
    tcase_add_test(tcase, prefix_tags_each_line_with_its_rank);
    tcase_add_test(tcase, both_streams_go_where_they_belong);
    tcase_add_test(tcase, only_rank_0_has_our_input);
    tcase_add_test(tcase, a_daemon_that_holds_the_pipes_does_not_delay_the_failure);
    tcase_add_test(tcase, a_reader_that_leaves_stops_the_job);
    tcase_add_test(tcase, a_full_disk_is_told_and_the_job_goes_on);
    tcase_add_test(tcase, without_standard_descriptors_nothing_goes_astray);
    tcase_add_test(tcase, a_slow_reader_slows_the_ranks);
    tcase_add_loop_test(tcase, while_nobody_reads_the_job_can_still_be_stopped, 0, 2);
    tcase_add_test(tcase, a_socket_gets_every_line_too);
    tcase_add_test(tcase, our_output_is_not_made_non_blocking);
    tcase_add_test(tcase, a_progress_bar_of_rank_0_lives_on_a_terminal);
    tcase_add_test(tcase, ctrl_c_in_a_terminal_ends_the_launcher_by_sigint);
    suite_add_tcase(suite, tcase);
    return suite;
}
