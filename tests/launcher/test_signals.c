/* The user's signals, and violent ends. */
#include "base/clock.h"
#include "launch.h"

#include <stdio.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

/* The ranks get that very signal, and the launcher dies of it: a shell's loop ends with Ctrl-C. */
START_TEST(a_signal_reaches_the_ranks_and_ends_the_launcher) {
    int signal = stop_signals[_i];
    launch l = START("-n", "2", "--", RANKS, "*", "catch", "*", "say:up", "*", "hang");
    launch_expect(&l, "up\nup\n");
    kill(l.pid, signal);
    launch_finish(&l);
    ck_assert(WIFSIGNALED(l.status));
    ck_assert_int_eq(WTERMSIG(l.status), signal);
    char twice[32];
    snprintf(twice, sizeof twice, "got %s\ngot %s\n", sigabbrev_np(signal), sigabbrev_np(signal));
    ck_contains(l.output, twice);
    ck_contains(l.errors, "tandem: stopped by SIG");
    launch_free(&l);
}
END_TEST

/* A shell's background processes ignore SIGINT: what outlives a rank is asked with SIGTERM as well. */
START_TEST(after_ctrl_c_what_outlives_the_ranks_gets_sigterm) {
    launch l = START("--", RANKS, "0", "catch", "0", "child", "0", "say:up", "0", "hang");
    launch_expect(&l, "up\n");
    kill(l.pid, SIGINT);
    launch_finish(&l);
    ck_contains(l.output, "got INT\ngot TERM\n");
    launch_free(&l);
}
END_TEST

START_TEST(the_second_signal_kills_at_once) {
    launch l = START("-n", "2", "--shutdown-timeout", "10m", "--", RANKS, "*", "ignore:2", "*", "ignore:15",
                     "*", "say:up", "*", "hang");
    launch_expect(&l, "up\nup\n");
    kill(l.pid, SIGINT);
    usleep(50000);
    ck_assert_int_eq(waitpid(l.pid, &l.status, WNOHANG), 0); /* still in its grace */
    kill(l.pid, SIGINT);
    launch_finish(&l);
    ck_assert_int_eq(launch_code(&l), 130);
    ck_contains(l.errors, "ranks 0, 1 did not stop when told to, and had to be killed");
    launch_free(&l);
}
END_TEST

START_TEST(usr1_and_usr2_are_passed_on_and_the_job_goes_on) {
    launch l = START("-n", "2", "--", RANKS, "*", "note:10", "*", "leave:12", "*", "say:up", "*", "hang");
    launch_expect(&l, "up\nup\n");
    kill(l.pid, SIGUSR1);
    launch_expect(&l, "got USR1\ngot USR1\n");
    kill(l.pid, SIGUSR2);
    launch_finish(&l);
    ck_code(&l, 0);
    ck_contains(l.output, "got USR2\ngot USR2\n");
    launch_free(&l);
}
END_TEST

/* Nobody is told to stop, however long it takes; not even when one fails. */
START_TEST(after_the_preempt_signal_ranks_leave_by_themselves) {
    launch l = START("-n", "3", "--preempt-signal", "USR1", "--max-restarts", "3", "--", RANKS, "*",
                     "note:10", "0", "leave:10", "*", "say:up", "0", "hang", "*", "noted", "*", "sleep:200",
                     "1", _i ? "exit:3" : "exit:0", "2", "sleep:100", "2", "say:saved");
    launch_expect(&l, "up\nup\nup\n");
    kill(l.pid, SIGUSR1);
    launch_finish(&l);
    ck_code(&l, _i ? 3 : 0);
    ck_contains(l.output, "saved\n");
    ck_contains(l.errors, "tandem: SIGUSR1 passed on; waiting for the ranks to leave\n");
    ck_assert_ptr_null(strstr(l.errors, "restart"));
    launch_free(&l);
}
END_TEST

START_TEST(the_set_of_stop_signals_can_be_chosen) {
    launch l =
        START("--signals-to-handle", "SIGUSR1,usr2", "--", RANKS, "0", "note:10", "0", "say:up", "0", "hang");
    launch_expect(&l, "up\n");
    kill(l.pid, SIGUSR1);
    launch_expect(&l, "got USR1\n");
    kill(l.pid, SIGUSR2); /* the second: kills */
    launch_finish(&l);
    ck_assert(WIFSIGNALED(l.status) && WTERMSIG(l.status) == SIGUSR1);
    launch_free(&l);
}
END_TEST

static const char *const no_signals[] = {"KILL", "SIGSEGV", "SIGFOO", "0", "TERM,,INT", "99"};
START_TEST(what_is_no_signal_to_handle_is_refused) {
    RUN(l, "--signals-to-handle", no_signals[_i], "--", "true");
    ck_code(&l, 125);
    launch_free(&l);
}
END_TEST

static char state_of(pid_t pid) {
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = '?';
    if (file) fclose(file);
    return state;
}

/* Wait until that process is in one of these states. */
static bool come_to(pid_t pid, const char *states) {
    for (int tries = 0; tries < 500; tries++, usleep(10000))
        if (strchr(states, state_of(pid))) return true;
    return false;
}

START_TEST(ctrl_z_suspends_ranks_and_launcher_and_all_deadlines_begin_anew) {
    launch l = START("-n", "2", "--shutdown-timeout", "3500ms", "--", "sh", "-c",
                     "trap '' TERM; [ $RANK = 1 ] || echo $$; sed -n '/nothing/p'; sleep 0.2");
    pid_t rank;
    while (sscanf(l.output, "%d", &rank) != 1 || l.output[l.output_n - 1] != '\n') launch_expect_more(&l);
    kill(l.pid, SIGTERM); /* rank 1 leaves; rank 0 reads on */
    usleep(100000);
    kill(l.pid, SIGTSTP);
    ck_assert_int_eq(waitpid(l.pid, &l.status, WUNTRACED), l.pid);
    ck_assert(WIFSTOPPED(l.status));
    ck_assert(come_to(rank, "T"));
    sleep(4); /* longer than the grace */
    kill(l.pid, SIGCONT);
    ck_assert(come_to(rank, "SRD"));
    launch_finish(&l); /* its input ends */
    ck_assert_ptr_null(strstr(l.errors, "had to be killed"));
    launch_free(&l);
}
END_TEST

START_TEST(an_ignored_hangup_stays_ignored) {
    launch l = START_WITH((launch_setup){.ignored_signal = SIGHUP}, "--", "sh", "-c",
                          "grep SigIgn /proc/$$/status; echo up; cat");
    launch_expect(&l, "up\n");
    kill(l.pid, SIGHUP);
    launch_finish(&l);
    ck_code(&l, 0);
    unsigned long long ignored = 0;
    ck_assert_int_eq(sscanf(l.output, "SigIgn: %llx", &ignored), 1);
    ck_assert_uint_eq(ignored, 1ull << (SIGHUP - 1)); /* for the rank too, and nothing else is */
    launch_free(&l);
}
END_TEST

START_TEST(ranks_start_with_clean_signals) {
    RUN_WITH(l, (launch_setup){.blocked_signal = SIGTERM}, "--", "grep", "-E", "Sig(Blk|Ign)",
             "/proc/self/status");
    ck_assert_str_eq(l.output, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    launch_free(&l);
}
END_TEST

/* With SIGCHLD ignored by whoever started us the kernel would throw exit statuses away. */
START_TEST(an_ignored_sigchld_does_not_lose_the_status) {
    RUN_WITH(l, (launch_setup){.ignored_signal = SIGCHLD}, "-n", "2", "--", RANKS, "1", "exit:7", "0",
             "hang");
    ck_code(&l, 7);
    launch_free(&l);
}
END_TEST

/* Two ranks that ignore everything, one with a daemon in a session of its own. */
static launch start_stubborn_job(void) {
    launch l = START("-n", "2", "--", RANKS, "*", "ignore:15", "*", "ignore:1", "0", "daemon", "*", "say:up",
                     "*", "hang");
    launch_expect(&l, "up\nup\n");
    ck_assert_int_eq(launch_survivors(&l), 5); /* launcher, guardian, ranks, daemon */
    return l;
}

START_TEST(a_killed_launcher_leaves_nothing) {
    launch l = start_stubborn_job();
    kill(l.pid, SIGKILL);
    waitpid(l.pid, &l.status, 0);
    launch_expect_no_survivors(&l);
    launch_free(&l);
}
END_TEST

START_TEST(a_killed_guardian_takes_the_job_with_it) {
    launch l = start_stubborn_job();
    pid_t guardian = launch_guardian(&l);
    if (guardian > 0) {
        kill(guardian, SIGKILL);
        launch_finish(&l);
        ck_code(&l, 125);
        ck_contains(l.errors, "the guardian process was killed");
    } else {
        kill(l.pid, SIGKILL);
    }
    launch_free(&l);
}
END_TEST

START_TEST(the_guardian_minds_nobody_elses_signals) {
    launch l = START("--", "sh", "-c", "echo up; cat");
    launch_expect(&l, "up\n");
    pid_t guardian = launch_guardian(&l);
    for (int sig = 1; guardian > 0 && sig < 32; sig++)
        if (sig != SIGKILL && sig != SIGSTOP) kill(guardian, sig);
    ck_assert_int_eq(write(l.in, "still here\n", 11), 11);
    launch_finish(&l);
    ck_code(&l, 0);
    ck_contains(l.output, "still here\n");
    launch_free(&l);
}
END_TEST

/* Deep and wide: every level in a session of its own. */
START_TEST(a_tree_of_sessions_is_killed_whole) {
    launch l = START(
        "--", "sh", "-c",
        "setsid sh -c 'setsid sh -c \"setsid sleep 60 & setsid sleep 60 & echo up; wait\" & wait' & wait");
    launch_expect(&l, "up\n");
    kill(l.pid, SIGKILL);
    waitpid(l.pid, &l.status, 0);
    launch_expect_no_survivors(&l);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("signals");
    TCase *tcase = tcase_create("signals");
    tcase_add_loop_test(tcase, a_signal_reaches_the_ranks_and_ends_the_launcher, 0, 4);
    tcase_add_test(tcase, after_ctrl_c_what_outlives_the_ranks_gets_sigterm);
    tcase_add_test(tcase, the_second_signal_kills_at_once);
    tcase_add_test(tcase, usr1_and_usr2_are_passed_on_and_the_job_goes_on);
    tcase_add_loop_test(tcase, after_the_preempt_signal_ranks_leave_by_themselves, 0, 2);
    tcase_add_test(tcase, the_set_of_stop_signals_can_be_chosen);
    tcase_add_loop_test(tcase, what_is_no_signal_to_handle_is_refused, 0, 6);
    tcase_add_test(tcase, ctrl_z_suspends_ranks_and_launcher_and_all_deadlines_begin_anew);
    tcase_add_test(tcase, an_ignored_hangup_stays_ignored);
    tcase_add_test(tcase, ranks_start_with_clean_signals);
    tcase_add_test(tcase, an_ignored_sigchld_does_not_lose_the_status);
    tcase_add_test(tcase, a_killed_launcher_leaves_nothing);
    tcase_add_test(tcase, a_killed_guardian_takes_the_job_with_it);
    tcase_add_test(tcase, the_guardian_minds_nobody_elses_signals);
    tcase_add_test(tcase, a_tree_of_sessions_is_killed_whole);
    suite_add_tcase(suite, tcase);
    return suite;
}
