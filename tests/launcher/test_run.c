/* How jobs end, and what is said about it. */
#include "launch.h"

#include <errno.h>
#include <jansson.h>
#include <libgen.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

static char *make_folder(char path[64]) {
    strcpy(path, "/tmp/tandem-launcher-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(path));
    return path;
}

static json_t *read_report(const char *path) {
    json_error_t error;
    json_t *report = json_load_file(path, 0, &error);
    ck_assert_msg(report, "%s: %s", path, error.text);
    return report;
}

static const char *text_of(const json_t *o, const char *key) {
    return json_string_value(json_object_get(o, key));
}
static int number_of(const json_t *o, const char *key) {
    return (int)json_integer_value(json_object_get(o, key));
}

START_TEST(all_is_well_and_silent) {
    RUN(l, "-n", "3", "--", RANKS, "*", "say:hello");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "hello\nhello\nhello\n");
    ck_assert_str_eq(l.errors, "");
    launch_free(&l);
}
END_TEST

/* What goes wrong in rank 1 of 3 while the others hang, and what it comes to. */
static const struct fault {
    const char *what[2];
    int code;
    const char *said;
} faults[] = {
    {{"exit:3"}, 3, ") exited with 3 after "},
    {{"exit:255"}, 255, ") exited with 255 after "},
    {{"kill:9"}, 137, ") was killed by SIGKILL"},
    {{"kill:11"}, 139, ") was killed by SIGSEGV"},
    {{"kill:6"}, 134, ") was killed by SIGABRT"},
    {{"complain:out of cheese", "exit:4"}, 4, "  | out of cheese\n"},
};

START_TEST(the_first_failure_stops_the_others_and_gives_the_status) {
    const struct fault *f = &faults[_i];
    RUN(l, "-n", "3", "--", RANKS, "1", f->what[0], "1", f->what[1] ? f->what[1] : "hang", "*", "hang");
    ck_code(&l, f->code);
    ck_contains(l.errors, "tandem: rank 1 (pid ");
    ck_contains(l.errors, f->said);
    ck_contains(l.errors, "ranks 0, 2 stopped because of that\n");
    launch_free(&l);
}
END_TEST

/* The guardian sleeps while both fail, and must still know which was first: not the lower rank or pid. */
START_TEST(of_two_failures_the_first_is_the_culprit) {
    launch l = START("-n", "4", "--", RANKS, "*", "say:up", "0", "wait", "0", "sleep:100", "0", "exit:6", "2",
                     "sleep:150", "2", "exit:5", "*", "hang");
    launch_expect(&l, "up\nup\nup\nup\n");
    pid_t guardian = launch_guardian(&l);
    if (guardian > 0) kill(guardian, SIGSTOP);
    usleep(200000); /* rank 2 has failed */
    close(l.in);
    l.in = -1;
    usleep(200000); /* so has rank 0 */
    if (guardian > 0) kill(guardian, SIGCONT);
    launch_finish(&l);
    ck_code(&l, 5);
    ck_contains(l.errors, "tandem: rank 2 (pid ");
    ck_contains(l.errors, "  rank 0 (pid ");
    ck_contains(l.errors, ") exited with 6, ");
    launch_free(&l);
}
END_TEST

/* Rank 0 leaves by itself because the other is gone, and may even be seen first; it is not to blame. */
START_TEST(a_rank_that_lost_the_culprit_is_a_victim) {
    RUN(l, "-n", "2", "--", RANKS, "1", "kill:9", "0", "sleep:5", "0", "lost:1:all_reduce", "0", "exit:1");
    ck_code(&l, 137);
    ck_contains(l.errors, "tandem: rank 1 (pid ");
    ck_contains(l.errors, ") was killed by SIGKILL after ");
    launch_free(&l);

    /* The victim fails first. */
    RUN(late, "-n", "2", "--", RANKS, "1", "ignore:15", "0", "sleep:150", "0", "lost:1:all_reduce", "0",
        "exit:1", "1", "sleep:200", "1", "exit:7");
    ck_code(&late, 7);
    ck_contains(late.errors, "tandem: rank 1 (pid ");
    ck_contains(late.errors, "lost rank 1 in all_reduce and exited with 1");
    launch_free(&late);
}
END_TEST

START_TEST(leaving_with_0_in_the_middle_is_status_1) {
    RUN(l, "-n", "2", "--", RANKS, "0", "sleep:50", "0", "lost:1:all_reduce", "0", "exit:9");
    ck_code(&l, 1);
    ck_contains(l.errors, "tandem: rank 1 (pid ");
    ck_contains(l.errors, "exited with 0 after ");
    ck_contains(l.errors, "in the middle of all_reduce of rank 0");
    launch_free(&l);
}
END_TEST

START_TEST(a_stopped_rank_is_status_124) {
    RUN(l, "-n", "2", "--", RANKS, "1", "kill:19", "1", "hang", "0", "sleep:50", "0", "waited:1:barrier", "0",
        "exit:1");
    ck_code(&l, 124);
    ck_contains(l.errors, "did not come to barrier, where rank 0 waited for it");
    launch_free(&l);
}
END_TEST

/* Rank 1 is stopped and would not see SIGTERM before the grace is over, but for the SIGCONT behind it. */
START_TEST(a_stopped_rank_can_still_end_cleanly) {
    RUN(l, "-n", "2", "--shutdown-timeout", "10s", "--", "sh", "-c",
        "trap 'echo cleaned up; exit 0' TERM; if [ $RANK = 1 ]; then kill -STOP $$; sleep 60 & wait; fi;"
        "sleep 0.1; exit 3");
    ck_code(&l, 3);
    ck_contains(l.output, "cleaned up");
    launch_free(&l);
}
END_TEST

START_TEST(who_ignores_sigterm_is_killed_after_the_grace) {
    RUN(l, "-n", "2", "--shutdown-timeout", "100ms", "--", RANKS, "1", "ignore:15", "1", "hang", "0",
        "sleep:100", "0", "exit:3");
    ck_code(&l, 3);
    ck_contains(l.errors, "rank 1 did not stop when told to, and had to be killed");
    launch_free(&l);
}
END_TEST

/* The option, then PET_'s variable, then torchrun's own. */
START_TEST(the_grace_may_come_from_torchruns_variables) {
    static const struct {
        const char *own, *pet, *option;
        int code;
    } graces[] = {
        {"0", NULL, NULL, 3}, {"1000", "0", NULL, 3}, {"soon", "0", "0", 125}, {"600", "600", "0", 3}};
    for (size_t i = 0; i < sizeof graces / sizeof *graces; i++) {
        char own[64], pet[64];
        snprintf(own, sizeof own, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT=%s", graces[i].own);
        snprintf(pet, sizeof pet, "PET_SHUTDOWN_TIMEOUT=%s", graces[i].pet ? graces[i].pet : "");
        const char *outer[] = {own, graces[i].pet ? pet : NULL, NULL};
        const char *option = graces[i].option ? "--shutdown-timeout=0" : "--oversubscribe";
        RUN_WITH(l, (launch_setup){.environment = outer}, option, "-n", "2", "--", RANKS, "1", "ignore:15",
                 "1", "hang", "0", "sleep:100", "0", "exit:3");
        ck_code(&l, graces[i].code);
        if (graces[i].code == 3) ck_contains(l.errors, "rank 1 did not stop when told to");
        launch_free(&l);
    }
}
END_TEST

/* What cannot be started, and what is no usage. */
static const struct refusal {
    const char *arguments[5];
    int code;
    const char *said;
} refusals[] = {
    {{"-n", "2", "--", "no-such-program"}, 127, "no-such-program is in no folder of PATH"},
    {{"--", "/no/such/program"}, 127, "/no/such/program: No such file"},
    {{"--", "/etc/passwd"}, 126, "/etc/passwd cannot be executed: Permission denied"},
    {{"--", "/tmp"}, 126, "/tmp cannot be executed: Is a directory"},
    {{"-n", "0", "--", "true"}, 125, "--nproc-per-node: 0 is not between 1 and 4096"},
    {{"-n", "two", "--", "true"}, 125, "two"},
    {{"-n", "2"}, 125, "which program?"},
    {{"--shutdown-timeut", "3", "true"}, 125, "did you mean --shutdown-timeout?"},
    {{"--shutdown-timeout", "-1", "true"}, 125, "--shutdown-timeout"},
};

START_TEST(what_cannot_be_done_is_refused) {
    const struct refusal *r = &refusals[_i];
    const char *argv[8] = {TANDEM, "run"};
    for (int i = 0; r->arguments[i]; i++) argv[2 + i] = r->arguments[i];
    launch l = launch_start_with((launch_setup){0}, argv);
    launch_finish(&l);
    ck_code(&l, r->code);
    ck_contains(l.errors, r->said);
    launch_free(&l);
}
END_TEST

START_TEST(a_script_without_interpreter_runs_in_the_shell) {
    char folder[64], path[96];
    snprintf(path, sizeof path, "%s/script", make_folder(folder));
    FILE *file = fopen(path, "w");
    fputs("echo from the shell $1\n", file);
    fclose(file);
    chmod(path, 0755);
    RUN(l, "--", path, "ok");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "from the shell ok\n");
    launch_free(&l);
    unlink(path);
    rmdir(folder);
}
END_TEST

START_TEST(a_bare_tandem_is_the_launchers_own_program) {
    const char *path[] = {"PATH=/usr/bin:/bin", NULL};
    RUN_WITH(l, (launch_setup){.environment = path}, "--", "tandem", "--version");
    ck_code(&l, 0);
    ck_contains(l.output, "tandem 0.");
    launch_free(&l);
}
END_TEST

START_TEST(the_report_is_complete_json) {
    char folder[64], path[96];
    snprintf(path, sizeof path, "%s/report.json", make_folder(folder));
    RUN(l, "-n", "3", "--report", path, "--", RANKS, "0", "hang", "2", "sleep:200", "1", "complain:caf\xe9",
        "1", "complain:last", "1", "kill:9");
    ck_code(&l, 137);
    json_t *report = read_report(path), *culprit = json_object_get(report, "culprit");
    ck_assert_str_eq(text_of(report, "status"), "failed");
    ck_assert_int_eq(number_of(report, "exit_code"), 137);
    ck_assert_int_eq(number_of(culprit, "rank"), 1);
    ck_assert_int_gt(number_of(culprit, "pid"), 1);
    ck_assert(json_is_null(json_object_get(culprit, "exit_code")));
    ck_assert_str_eq(text_of(culprit, "signal"), "SIGKILL");
    ck_assert_double_gt(json_real_value(json_object_get(culprit, "seconds")), 0);
    json_t *tail = json_object_get(culprit, "stderr_tail");
    ck_assert_uint_eq(json_array_size(tail), 2);
    ck_assert_str_eq(json_string_value(json_array_get(tail, 0)), "caf\xef\xbf\xbd");
    ck_assert_str_eq(json_string_value(json_array_get(tail, 1)), "last");
    json_t *victims = json_object_get(report, "victims");
    ck_assert_uint_eq(json_array_size(victims), 2);
    ck_assert_int_eq(number_of(json_array_get(victims, 0), "rank"), 0);
    ck_assert_str_eq(text_of(json_array_get(victims, 0), "cause"), "stopped");
    ck_assert_str_eq(text_of(json_array_get(victims, 0), "signal"), "SIGTERM");
    json_decref(report);
    launch_free(&l);
    unlink(path);
    rmdir(folder);
}
END_TEST

/* As Python's @record would: an exception with its traceback, or a text. */
static const struct error_file {
    const char *json, *line;
} error_files[] = {
    {"{\"message\": {\"message\": \"ValueError: short\", \"extraInfo\": {\"py_callstack\": \"Traceback\\n  "
     "File "
     "x\\nValueError: two\\n\", \"timestamp\": \"1\"}}}",
     "ValueError: two"},
    {"{\"message\": {\"message\": \"ValueError: short\"}}", "ValueError: short"},
    {"{\"message\": \"out of cheese\\n\"}", "out of cheese"},
    {"{\"message\": \"\"}", NULL},
    {"{\"message\": 3}", NULL},
    {"[]", NULL},
    {"{\"message\":", NULL},
    {"", NULL},
};

START_TEST(what_a_rank_wrote_into_its_error_file_is_reported) {
    const struct error_file *e = &error_files[_i];
    char folder[64], path[96], setting[512];
    snprintf(path, sizeof path, "%s/report.json", make_folder(folder));
    snprintf(setting, sizeof setting, "ERROR=%s", e->json);
    const char *outer[] = {setting, NULL};
    RUN_WITH(l, (launch_setup){.environment = outer}, "-n", "2", "--report", path, "--", "sh", "-c",
             "[ $RANK = 1 ] || exec sleep 60; printf %s \"$ERROR\" > $TORCHELASTIC_ERROR_FILE;"
             "echo $TORCHELASTIC_ERROR_FILE; exit 3");
    ck_code(&l, 3);
    json_t *report = read_report(path), *culprit = json_object_get(report, "culprit");
    if (e->line) {
        ck_contains(l.errors, "  error: ");
        ck_contains(l.errors, e->line);
        ck_assert_str_eq(text_of(culprit, "error"), e->line);
    } else {
        ck_assert_ptr_null(strstr(l.errors, "  error: "));
        ck_assert(json_is_null(json_object_get(culprit, "error")));
    }
    if (_i == 0) ck_contains(text_of(culprit, "traceback"), "File x");
    l.output[strcspn(l.output, "\n")] = 0;
    ck_assert_int_eq(access(dirname(l.output), F_OK), -1);
    json_decref(report);
    launch_free(&l);
    unlink(path);
    rmdir(folder);
}
END_TEST

START_TEST(error_files_are_in_the_log_tree) {
    char folder[64], command[256];
    RUN(l, "-n", "2", "--log-dir", make_folder(folder), "--rdzv-id", "job", "--", "sh", "-c",
        "[ $RANK = 1 ] || exit 0; echo '{\"message\": \"out of cheese\"}' > $TORCHELASTIC_ERROR_FILE; exit "
        "3");
    ck_code(&l, 3);
    ck_contains(l.errors, "  error: out of cheese\n");
    snprintf(command, sizeof command, "test -s %s/job_*/attempt_0/1/error.json && rm -r %s", folder, folder);
    ck_assert_int_eq(system(command), 0);
    launch_free(&l);
}
END_TEST

/* The launcher cannot remove it then; the guardian does. */
START_TEST(no_error_folder_outlives_a_killed_launcher) {
    launch l = START("-n", "2", "--", "sh", "-c",
                     "echo $TORCHELASTIC_ERROR_FILE; echo x > $TORCHELASTIC_ERROR_FILE;"
                     "echo up; exec sleep 60");
    launch_expect(&l, "up\n");
    kill(l.pid, SIGKILL);
    while (waitpid(l.pid, &l.status, 0) < 0) continue;
    launch_expect_no_survivors(&l);
    char path[64];
    ck_assert_int_eq(sscanf(l.output, "%63[^\n]", path), 1);
    ck_assert_int_eq(access(dirname(path), F_OK), -1);
    launch_free(&l);
}
END_TEST

START_TEST(without_a_place_for_error_files_the_job_goes_on) {
    const char *outer[] = {"TMPDIR=/no/such/folder", "TORCHELASTIC_ERROR_FILE=/tmp/outer.json", NULL};
    RUN_WITH(l, (launch_setup){.environment = outer}, "--", "sh", "-c",
             "echo ${TORCHELASTIC_ERROR_FILE-none}");
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "none\n");
    launch_free(&l);
}
END_TEST

START_TEST(a_job_that_went_well_reports_ok) {
    char folder[64], path[96];
    snprintf(path, sizeof path, "%s/report.json", make_folder(folder));
    RUN(l, "-n", "2", "--report", path, "--", "true");
    ck_code(&l, 0);
    json_t *report = read_report(path);
    ck_assert_str_eq(text_of(report, "status"), "ok");
    ck_assert_int_eq(number_of(report, "exit_code"), 0);
    ck_assert(json_is_null(json_object_get(report, "culprit")));
    ck_assert_uint_eq(json_array_size(json_object_get(report, "victims")), 0);
    json_decref(report);
    launch_free(&l);
    unlink(path);
    rmdir(folder);
}
END_TEST

/* An unwritable report is an error, and takes nothing from the job's own status. */
START_TEST(an_unwritable_report_is_an_error_of_its_own) {
    RUN(l, "--report", "/no/such/folder/report.json", "--", RANKS, "0", "exit:3");
    ck_code(&l, 3);
    ck_contains(l.errors, "the report is not written: ");
    launch_free(&l);
    RUN(well, "--report", "/no/such/folder/report.json", "--", "true");
    ck_code(&well, 125);
    launch_free(&well);
}
END_TEST

/* The disk is full in the middle of the report: the older one is still whole. */
START_TEST(a_report_that_does_not_fit_leaves_the_old_one) {
    char folder[64], path[96], text[8] = {0};
    snprintf(path, sizeof path, "%s/report.json", make_folder(folder));
    FILE *file = fopen(path, "w");
    fputs("old", file);
    fclose(file);
    RUN_WITH(l, (launch_setup){.file_size_limit = 20}, "--report", path, "--", RANKS, "0", "exit:3");
    ck_code(&l, 3);
    ck_contains(l.errors, "the report is not written: ");
    file = fopen(path, "r");
    ck_assert_uint_eq(fread(text, 1, sizeof text - 1, file), 3);
    fclose(file);
    ck_assert_str_eq(text, "old");
    launch_free(&l);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* and no half file beside it */
}
END_TEST

START_TEST(what_ranks_leave_behind_is_stopped_and_told) {
    RUN(l, "-n", "2", "--", RANKS, "0", "daemon");
    ck_code(&l, 0);
    ck_contains(l.errors, "tandem: 1 process left behind by the ranks had to be stopped");
    launch_free(&l);
    RUN(obedient, "-n", "2", "--", RANKS, "0", "child");
    ck_code(&obedient, 0);
    ck_assert_str_eq(obedient.output, "got TERM\n"); /* asked before it would have been killed */
    launch_free(&obedient);
}
END_TEST

/* Rank 0 binds and listens as PyTorch's store does; before that, nobody who asks for any port gets this one.
 */
static bool can_listen(int port) {
    int s = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool can = bind(s, (struct sockaddr *)&address, sizeof address) == 0 && listen(s, 8) == 0;
    close(s);
    return can;
}

static bool can_bind_unasked(int port) {
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    bool can = bind(s, (struct sockaddr *)&address, sizeof address) == 0;
    close(s);
    return can;
}

START_TEST(the_port_is_kept_for_rank_0) {
    launch l = START("-n", "2", "--", "sh", "-c", "[ $RANK = 1 ] || { echo port $MASTER_PORT.; cat; }");
    launch_expect(&l, ".\n");
    int port = 0;
    ck_assert_int_eq(sscanf(l.output, "port %d", &port), 1);
    ck_assert(!can_bind_unasked(port));
    ck_assert(can_listen(port));
    launch_finish(&l);
    launch_free(&l);
}
END_TEST

START_TEST(twenty_jobs_at_once_have_twenty_ports) {
    enum { JOBS = 20 };
    launch jobs[JOBS];
    int ports[JOBS];
    for (int i = 0; i < JOBS; i++)
        jobs[i] = START("-n", "2", "--", "sh", "-c", "echo $MASTER_PORT.; exec cat");
    for (int i = 0; i < JOBS; i++) {
        launch_expect(&jobs[i], ".\n");
        ports[i] = atoi(jobs[i].output);
        for (int k = 0; k < i; k++) ck_assert_int_ne(ports[i], ports[k]);
    }
    for (int i = 0; i < JOBS; i++) {
        launch_finish(&jobs[i]);
        ck_code(&jobs[i], 0);
        launch_free(&jobs[i]);
    }
}
END_TEST

/* --- the program's own command line -------------------------------------------------------------------- */

static launch run_tandem(const char *a, const char *b) {
    launch l = launch_start_with((launch_setup){0}, (const char *[]){TANDEM, a, b, NULL});
    launch_finish(&l);
    return l;
}

START_TEST(help_fits_a_screen_and_leads_with_an_example) {
    static const char *const asked[][2] = {{"--help", NULL}, {"run", "--help"}};
    launch l = run_tandem(asked[_i][0], asked[_i][1]);
    ck_code(&l, 0);
    int lines = 0;
    for (const char *p = l.output; (p = strchr(p, '\n')); p++) lines++;
    ck_assert_int_le(lines, 40);
    ck_assert(strstr(l.output, "Example") < strstr(l.output, "Usage"));
    launch_free(&l);
}
END_TEST

START_TEST(an_unknown_command_is_answered_with_the_nearest) {
    launch l = run_tandem("rum", NULL);
    ck_code(&l, 125);
    ck_contains(l.errors, "did you mean run?");
    launch_free(&l);
    launch none = run_tandem(NULL, NULL);
    ck_code(&none, 125);
    ck_contains(none.errors, "Usage");
    launch_free(&none);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("run");
    TCase *tcase = tcase_create("run");
    tcase_add_test(tcase, all_is_well_and_silent);
    tcase_add_loop_test(tcase, the_first_failure_stops_the_others_and_gives_the_status, 0,
                        (int)(sizeof faults / sizeof *faults));
    tcase_add_test(tcase, of_two_failures_the_first_is_the_culprit);
    tcase_add_test(tcase, a_rank_that_lost_the_culprit_is_a_victim);
    tcase_add_test(tcase, leaving_with_0_in_the_middle_is_status_1);
    tcase_add_test(tcase, a_stopped_rank_is_status_124);
    tcase_add_test(tcase, a_stopped_rank_can_still_end_cleanly);
    tcase_add_test(tcase, who_ignores_sigterm_is_killed_after_the_grace);
    tcase_add_test(tcase, the_grace_may_come_from_torchruns_variables);
    tcase_add_loop_test(tcase, what_cannot_be_done_is_refused, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(tcase, a_script_without_interpreter_runs_in_the_shell);
    tcase_add_test(tcase, a_bare_tandem_is_the_launchers_own_program);
    tcase_add_test(tcase, the_report_is_complete_json);
    tcase_add_loop_test(tcase, what_a_rank_wrote_into_its_error_file_is_reported, 0,
                        (int)(sizeof error_files / sizeof *error_files));
    tcase_add_test(tcase, error_files_are_in_the_log_tree);
    tcase_add_test(tcase, no_error_folder_outlives_a_killed_launcher);
    tcase_add_test(tcase, without_a_place_for_error_files_the_job_goes_on);
    tcase_add_test(tcase, a_job_that_went_well_reports_ok);
    tcase_add_test(tcase, an_unwritable_report_is_an_error_of_its_own);
    tcase_add_test(tcase, a_report_that_does_not_fit_leaves_the_old_one);
    tcase_add_test(tcase, what_ranks_leave_behind_is_stopped_and_told);
    tcase_add_test(tcase, the_port_is_kept_for_rank_0);
    tcase_add_test(tcase, twenty_jobs_at_once_have_twenty_ports);
    tcase_add_loop_test(tcase, help_fits_a_screen_and_leads_with_an_example, 0, 2);
    tcase_add_test(tcase, an_unknown_command_is_answered_with_the_nearest);
    suite_add_tcase(suite, tcase);
    return suite;
}
