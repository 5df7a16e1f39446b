/* --pty: ranks that have a terminal, and our own terminal's keys on their way to one of them. */
#include "terminal.h"

#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

START_TEST(each_rank_has_a_terminal_of_our_size) {
    terminal t = TERMINAL("-n", "2", "--pty", "--", "sh", "-c",
                          "tty -s <&1 && tty -s <&2 && echo $RANK $(stty size </dev/tty)");
    ck_assert_int_eq(terminal_finish(&t), 0);
    ck_contains(t.text, "0 24 77\r\n");
    ck_contains(t.text, "1 24 77\r\n");
}
END_TEST

START_TEST(a_prefix_leaves_fewer_columns) {
    terminal t = TERMINAL("--pty", "--prefix", "--", "sh", "-c", "stty size <&1");
    terminal_expect(&t, "[rank 0] 24 68\r\n");
    ck_assert_int_eq(terminal_finish(&t), 0);
}
END_TEST

START_TEST(it_is_their_controlling_terminal) {
    RUN(l, "-n", "2", "--pty", "--", "sh", "-c", "echo $RANK > /dev/tty");
    ck_code(&l, 0);
    ck_contains(l.output, "0\n");
    ck_contains(l.output, "1\n");
    launch_free(&l);
}
END_TEST

START_TEST(bytes_are_not_changed_by_the_terminal) {
    RUN(l, "--pty", "--", "printf", "a\\nb\\r\\nc\\td\\377\\n");
    ck_assert_str_eq(l.output, "a\nb\r\nc\td\377\n");
    ck_assert_str_eq(l.errors, "");
    launch_free(&l);
}
END_TEST

/* What a C program prints without flushing comes line by line. */
START_TEST(output_is_line_buffered) {
    launch l = START("-n", "2", "--pty", "--", RANKS, "*", "lines:1", "*", "hang");
    launch_expect(&l, "rank 1 line 0 ............................\n");
    launch_expect(&l, "rank 0 line 0 ............................\n");
    kill(l.pid, SIGTERM);
    launch_finish(&l);
    launch_free(&l);
}
END_TEST

START_TEST(the_last_lines_of_a_crash_are_there) {
    RUN(l, "-n", "2", "--pty", "--", RANKS, "0", "hang", "1", "say:last words", "1", "complain:why", "1",
        "kill:9");
    ck_code(&l, 137);
    ck_contains(l.output, "last words\nwhy\n");
    ck_contains(l.errors, "  | why\n");
    launch_free(&l);
}
END_TEST

/* One stream to a file, the other on the terminal. */
START_TEST(what_is_redirected_is_not_on_the_terminal) {
    RUN(l, "--pty", "--log-dir", "/tmp", "--rdzv-id", "tandem_test_pty", "-r", "2", "--", "sh", "-c",
        "tty -s <&1 && echo out; tty -s <&2 || echo err >&2; cat "
        "/tmp/tandem_test_pty_*/attempt_0/0/stderr.log;"
        "rm -r /tmp/tandem_test_pty_*");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "out\nerr\n");
    launch_free(&l);
}
END_TEST

START_TEST(a_new_size_is_passed_on) {
    terminal t = TERMINAL("-n", "2", "--pty", "--", "sh", "-c",
                          "trap 'echo $RANK: $(stty size </dev/tty); exit' WINCH; echo ready $RANK; while :; "
                          "do sleep 0.05; done");
    while (!strstr(t.text, "ready 0") || !strstr(t.text, "ready 1")) terminal_expect(&t, "ready ");
    terminal_resize(&t, 50, 132);
    ck_assert_int_eq(terminal_finish(&t), 0);
    ck_contains(t.text, "0: 50 132");
    ck_contains(t.text, "1: 50 132");
}
END_TEST

/* The rank's terminal echoes, once, and edits the line; the other ranks read nothing. */
START_TEST(keys_go_to_rank_0) {
    terminal t =
        TERMINAL("-n", "2", "--pty", "--", "sh", "-c", "printf \"$RANK? \"; read x; echo \"got $x.\"");
    terminal_expect_cooked(&t, false);
    terminal_expect(&t, "0? ");
    terminal_type(&t, "helpo\177\177lo\n");
    terminal_expect(&t, "got hello.\r\n");
    ck_assert_int_eq(terminal_finish(&t), 0);
    ck_contains(t.text, "helpo\b \b\b \blo");
    ck_contains(t.text, "1? got .\r\n");
}
END_TEST

START_TEST(keys_go_to_the_rank_that_was_chosen) {
    terminal t =
        TERMINAL("-n", "2", "--pty", "--stdin", "1", "--", "sh", "-c", "read x; echo \"$RANK got $x.\"");
    terminal_expect(&t, "0 got .\r\n");
    terminal_type(&t, "hello\n");
    terminal_expect(&t, "1 got hello.\r\n");
    ck_assert_int_eq(terminal_finish(&t), 0);
}
END_TEST

START_TEST(ctrl_d_ends_the_input) {
    terminal t = TERMINAL("--pty", "--", "sh", "-c", "echo go; cat; echo end");
    terminal_expect(&t, "go\r\n");
    terminal_type(&t, "x\n\004");
    terminal_expect(&t, "end\r\n");
    ck_assert_int_eq(terminal_finish(&t), 0);
}
END_TEST

START_TEST(more_keys_than_the_rank_takes_wait) {
    terminal t =
        TERMINAL("--pty", "--", "sh", "-c", "stty -icanon -echo; echo go; sleep 0.3; head -c 20000 | wc -c");
    char keys[1001];
    memset(keys, 'x', sizeof keys - 1);
    keys[sizeof keys - 1] = 0;
    terminal_expect(&t, "go\r\n");
    for (int i = 0; i < 20; i++) terminal_type(&t, keys);
    terminal_expect(&t, "20000\r\n");
    ck_assert_int_eq(terminal_finish(&t), 0);
}
END_TEST

/* A program that reads raw keys, as an editor does, gets those that otherwise make signals. */
START_TEST(a_raw_program_gets_ctrl_c_as_a_key) {
    terminal t =
        TERMINAL("--pty", "--", "sh", "-c",
                 "stty raw -echo; printf go; dd bs=1 count=1 2>/dev/null | od -An -tx1; stty sane; echo sane;"
                 "sleep 60");
    terminal_expect(&t, "go");
    usleep(100000); /* its modes are followed when something is shown */
    terminal_type(&t, "\003");
    terminal_expect(&t, "03");
    terminal_expect(&t, "sane");
    usleep(100000);
    terminal_type(&t, "\003");
    int status = terminal_finish(&t);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}
END_TEST

START_TEST(a_debugger_works_on_rank_0) {
    if (system("python3 -c ''") != 0) return;
    terminal t = TERMINAL(
        "-n", "2", "--pty", "--", "python3", "-c",
        "import os\nif os.environ['RANK'] == '0': breakpoint()\nprint('went on', os.environ['RANK'])");
    terminal_expect(&t, "(Pdb) ");
    terminal_type(&t, "p 6*7\n");
    terminal_expect(&t, "42\r\n");
    terminal_expect(&t, "(Pdb) ");
    terminal_type(&t, "c\n");
    terminal_expect(&t, "went on 0\r\n");
    ck_assert_int_eq(terminal_finish(&t), 0);
}
END_TEST

/* --- our terminal afterwards ---------------------------------------------------------------------------- */

/* `tandem run ARGS; echo END`, so that the terminal outlives it. */
static terminal start_in_shell(const char *arguments) {
    char command[1024];
    snprintf(command, sizeof command, "trap : INT; %s run %s; echo \"END $?\"; exec sleep 60", TANDEM,
             arguments);
    return terminal_start((const char *[]){"/bin/sh", "-c", command, NULL});
}

START_TEST(the_terminal_is_put_back_at_every_end) {
    static const struct {
        const char *program, *keys, *end;
        int signal;
    } ends[] = {
        {"true", "", "END 0", 0},
        {"sh -c 'exit 3'", "", "END 3", 0},
        {"sh -c 'echo go; exec sleep 60'", "\003", "END 130", 0},
        {"sh -c 'echo go; exec sleep 60'", "", "END 143", SIGTERM},
        {"sh -c 'echo go; exec 0<&- 1>&- 2>&-; sleep 0.3'", "", "END 0", 0},
        {"sh -c 'echo go; exec sleep 60'", "", "END 137", SIGKILL},
        {"no_such_program", "", "END 127", 0},
    };
    char arguments[256];
    snprintf(arguments, sizeof arguments, "--pty -- %s", ends[_i].program);
    terminal t = start_in_shell(arguments);
    if (*ends[_i].keys || ends[_i].signal) {
        terminal_expect(&t, "go");
        terminal_expect_cooked(&t, false);
    }
    terminal_type(&t, ends[_i].keys);
    if (ends[_i].signal) kill(launch_child(t.pid), ends[_i].signal);
    terminal_expect(&t, ends[_i].end);
    terminal_expect_cooked(&t, true);
    kill(t.pid, SIGKILL);
    terminal_finish(&t);
}
END_TEST

START_TEST(ctrl_z_puts_the_terminal_back_and_fg_takes_it_again) {
    int status;
    terminal t = TERMINAL("--pty", "--", "sh", "-c", "echo go; read x; echo \"got $x.\"");
    terminal_expect(&t, "go\r\n");
    terminal_expect_cooked(&t, false);
    terminal_type(&t, "\032");
    ck_assert_int_eq(waitpid(t.pid, &status, WUNTRACED), t.pid);
    ck_assert(WIFSTOPPED(status));
    ck_assert(terminal_is_cooked(&t));
    kill(t.pid, SIGCONT);
    terminal_expect_cooked(&t, false);
    terminal_type(&t, "hello\n");
    terminal_expect(&t, "got hello.\r\n");
    ck_assert_int_eq(terminal_finish(&t), 0);
}
END_TEST

/* Two bars would be none, so only the rank that has the keys draws; the prefix is put again with each state. */
START_TEST(a_progress_bar_keeps_its_prefix) {
    terminal t =
        TERMINAL("-n", "2", "--pty", "--prefix", "--", "sh", "-c",
                 "if [ $RANK = 0 ]; then printf '\\r10%%'; printf '\\r20%%'; read x; printf '\\r30%%\\n';"
                 " else sleep 0.2; echo news; fi");
    terminal_expect(&t, "\r[rank 0] 10%\r[rank 0] 20%");
    terminal_expect(&t, "\r\033[K[rank 1] news\r\n[rank 0] 20%");
    terminal_type(&t, "\n");
    terminal_expect(&t, "[rank 0] 30%\r\n");
    ck_assert_int_eq(terminal_finish(&t), 0);
}
END_TEST

/* Each shell at the keyboard; what it must run first. */
static const struct shell {
    const char *name, *flag, *first;
} shells[] = {
    {"bash", "--norc", ":"},
    {"zsh", "-f", "autoload -U compinit; compinit -D -u"},
    {"tcsh", "-f", ":"},
};

START_TEST(the_tabulator_completes_in_each_shell) {
    const struct shell *s = &shells[_i];
    char path[] = "/tmp/tandem-completion-XXXXXX", command[256];
    snprintf(command, sizeof command, "command -v %s > /dev/null", s->name);
    if (system(command) != 0) return; /* not installed */
    close(mkstemp(path));
    snprintf(command, sizeof command, "'%s' run --print-completion %s > %s", TANDEM, s->name, path);
    ck_assert_int_eq(system(command), 0);
    terminal t = terminal_start(
        (const char *[]){"/usr/bin/env", "TERM=xterm", "HISTFILE=/dev/null", s->name, s->flag, "-i", NULL});
    snprintf(command, sizeof command, "%s; source %s; echo rea''dy\n", s->first, path);
    terminal_type(&t, command);
    terminal_expect(&t, "ready\r\n");
    terminal_type(&t, "tandem run --stand\t");
    terminal_expect(&t, "--standalone");
    terminal_type(&t, " --start-method forks\t");
    terminal_expect(&t, "forkserver");
    terminal_type(&t, "\025exit\n"); /* Ctrl-U: not that command */
    terminal_finish(&t);
    unlink(path);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("terminal");
    TCase *tcase = tcase_create("terminal");
    tcase_add_test(tcase, each_rank_has_a_terminal_of_our_size);
    tcase_add_test(tcase, a_prefix_leaves_fewer_columns);
    tcase_add_test(tcase, it_is_their_controlling_terminal);
    tcase_add_test(tcase, bytes_are_not_changed_by_the_terminal);
    tcase_add_test(tcase, output_is_line_buffered);
    tcase_add_test(tcase, the_last_lines_of_a_crash_are_there);
    tcase_add_test(tcase, what_is_redirected_is_not_on_the_terminal);
    tcase_add_test(tcase, a_new_size_is_passed_on);
    tcase_add_test(tcase, keys_go_to_rank_0);
    tcase_add_test(tcase, keys_go_to_the_rank_that_was_chosen);
    tcase_add_test(tcase, ctrl_d_ends_the_input);
    tcase_add_test(tcase, more_keys_than_the_rank_takes_wait);
    tcase_add_test(tcase, a_raw_program_gets_ctrl_c_as_a_key);
    tcase_add_test(tcase, a_debugger_works_on_rank_0);
    tcase_add_loop_test(tcase, the_terminal_is_put_back_at_every_end, 0, 7);
    tcase_add_test(tcase, ctrl_z_puts_the_terminal_back_and_fg_takes_it_again);
    tcase_add_test(tcase, a_progress_bar_keeps_its_prefix);
    tcase_add_loop_test(tcase, the_tabulator_completes_in_each_shell, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
