/* Log files: where they are, what is in them, and what happens when they cannot be written. */
#include "launch.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

static char folder[64]; /* for each test a new one; a test has a process of its own */

static void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/tandem_logs_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* The one path that the pattern, relative to the folder, matches; "" when there is none. */
static const char *find(const char *pattern) {
    static char path[512];
    glob_t found;
    snprintf(path, sizeof path, "%s/%s", folder, pattern);
    int error = glob(path, 0, NULL, &found);
    snprintf(path, sizeof path, "%s", error == 0 && found.gl_pathc == 1 ? found.gl_pathv[0] : "");
    if (error == 0) globfree(&found);
    return path;
}

/* The text of the file; "(none)" when there is none. */
static const char *text_of(const char *pattern) {
    static char texts[4][65536];
    static int next;
    char *text = texts[next++ % 4];
    FILE *file = fopen(find(pattern), "r");
    if (!file) return "(none)";
    text[fread(text, 1, sizeof texts[0] - 1, file)] = 0;
    fclose(file);
    return text;
}

#define ck_file(pattern, text) ck_assert_str_eq(text_of("none_*/attempt_0/" pattern), text)

#define SPEAK "echo out $RANK; echo err $RANK >&2"

START_TEST(redirects_go_to_files_and_nowhere_else) {
    RUN(l, "-n", "2", "--log-dir", folder, "-r", "3", "--", "sh", "-c", SPEAK);
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "");
    ck_assert_str_eq(l.errors, "");
    ck_file("0/stdout.log", "out 0\n");
    ck_file("0/stderr.log", "err 0\n");
    ck_file("1/stdout.log", "out 1\n");
    ck_file("1/stderr.log", "err 1\n");
    launch_free(&l);
}
END_TEST

START_TEST(redirects_and_tee_are_told_by_rank) {
    RUN(l, "-n", "3", "--log-dir", folder, "--redirects", "0:1,2:3", "--tee", "1:1", "--", "sh", "-c", SPEAK);
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, "[default1]:out 1\n");
    ck_contains(l.errors, "err 0\n");
    ck_contains(l.errors, "err 1\n");
    ck_assert_uint_eq(l.errors_n, 12);
    ck_file("0/stdout.log", "out 0\n");
    ck_file("0/stderr.log", "(none)");
    ck_file("1/stdout.log", "out 1\n");
    ck_file("1/stderr.log", "(none)");
    ck_file("2/stdout.log", "out 2\n");
    ck_file("2/stderr.log", "err 2\n");
    launch_free(&l);
}
END_TEST

/* torchrun makes the folders too, and nothing in them. */
START_TEST(a_log_folder_alone_redirects_nothing) {
    RUN(l, "--log-dir", folder, "--", "sh", "-c", SPEAK);
    ck_assert_str_eq(l.output, "out 0\n");
    ck_assert_str_eq(l.errors, "err 0\n");
    ck_assert_str_ne(find("none_*/attempt_0/0"), "");
    ck_file("0/*", "(none)");
    launch_free(&l);
}
END_TEST

START_TEST(folders_on_the_way_are_made) {
    char deep[128];
    snprintf(deep, sizeof deep, "%s/a/b/", folder);
    RUN(l, "--log-dir", deep, "-r", "1", "--", "echo", "x");
    ck_code(&l, 0);
    ck_assert_str_eq(text_of("a/b/none_*/attempt_0/0/stdout.log"), "x\n");
    launch_free(&l);
}
END_TEST

START_TEST(without_a_folder_one_is_made_and_named) {
    char tmpdir[96];
    snprintf(tmpdir, sizeof tmpdir, "TMPDIR=%s", folder);
    const char *environment[] = {tmpdir, NULL};
    RUN_WITH(l, (launch_setup){.environment = environment}, "-r", "1", "--", "echo", "x");
    ck_code(&l, 0);
    ck_assert_str_eq(text_of("tandem_*/none_*/attempt_0/0/stdout.log"), "x\n");
    char wanted[600];
    snprintf(wanted, sizeof wanted, "tandem: log files are in %s\n", find("tandem_*/none_*"));
    ck_assert_str_eq(l.errors, wanted);
    launch_free(&l);
}
END_TEST

START_TEST(each_attempt_has_files_of_its_own) {
    RUN(l, "--log-dir", folder, "-r", "1", "--max-restarts", "1", "--restart-backoff", "0", "--", "sh", "-c",
        "echo try $TORCHELASTIC_RESTART_COUNT; [ $TORCHELASTIC_RESTART_COUNT = 1 ]");
    ck_code(&l, 0);
    ck_assert_str_eq(text_of("none_*/attempt_0/0/stdout.log"), "try 0\n");
    ck_assert_str_eq(text_of("none_*/attempt_1/0/stdout.log"), "try 1\n");
    launch_free(&l);
}
END_TEST

START_TEST(two_jobs_in_one_folder_do_not_meet) {
    RUN(first, "--log-dir", folder, "-r", "1", "--", "echo", "x");
    RUN(second, "--log-dir", folder, "-r", "1", "--", "echo", "x");
    ck_file("0/stdout.log", "(none)"); /* which of the two? */
    launch_free(&first);
    launch_free(&second);
}
END_TEST

/* A file has the bytes as they are; the prefix is only on the way to us. */
START_TEST(a_teed_file_has_every_byte_as_it_was) {
    RUN(l, "--log-dir", folder, "-t", "1", "--", "printf", "a\\r\\377b\\n\\nend");
    ck_assert_str_eq(l.output, "[default0]:a\r\377b\n[default0]:\n[default0]:end");
    ck_file("0/stdout.log", "a\r\377b\n\nend");
    launch_free(&l);
}
END_TEST

START_TEST(the_template_of_the_prefix_is_the_users) {
    RUN(l, "-n", "2", "--log-line-prefix-template", "<${role_name} $rank ${stream}> ", "--", "sh", "-c",
        "if [ $RANK = 1 ]; then " SPEAK "; fi");
    ck_assert_str_eq(l.output, "<default 1 stdout> out 1\n");
    ck_assert_str_eq(l.errors, "<default 1 stderr> err 1\n");
    launch_free(&l);
}
END_TEST

START_TEST(the_template_may_come_from_torchruns_variable) {
    const char *environment[] = {"TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE=$rank:", NULL};
    RUN_WITH(l, (launch_setup){.environment = environment}, "--", "echo", "x");
    ck_assert_str_eq(l.output, "0:x\n");
    launch_free(&l);
}
END_TEST

START_TEST(ranks_that_are_filtered_out_are_not_shown_but_logged) {
    RUN(l, "-n", "3", "--log-dir", folder, "-t", "1", "--local-ranks-filter", "1", "--", "sh", "-c", SPEAK);
    ck_assert_str_eq(l.output, "[default1]:out 1\n");
    ck_assert_str_eq(l.errors, "err 1\n");
    ck_file("0/stdout.log", "out 0\n");
    ck_file("2/stdout.log", "out 2\n");
    launch_free(&l);
}
END_TEST

/* What is not shown is still known when it matters. */
START_TEST(a_crash_of_a_rank_that_is_not_shown_is_reported_with_its_last_lines) {
    const char *const hidden[][2] = {{"--local-ranks-filter", "0"}, {"--redirects", "1:2"}};
    RUN(l, "-n", "2", "--log-dir", folder, hidden[_i][0], hidden[_i][1], "--", RANKS, "0", "hang", "1",
        "complain:why", "1", "exit:3");
    ck_code(&l, 3);
    ck_contains(l.errors, "  | why\n");
    launch_free(&l);
}
END_TEST

START_TEST(matching_lines_of_all_teed_ranks_are_gathered) {
    RUN(l, "-n", "2", "--log-dir", folder, "-t", "1:3", "--duplicate-stdout-filters", "loss,a,,b", "--", "sh",
        "-c", "printf 'loss 1\\nnews\\na,b\\na b\\nthe loss'; echo loss >&2");
    ck_code(&l, 0);
    ck_assert_str_eq(text_of("none_*/attempt_0/filtered_stdout.log"),
                     "[default1]:loss 1\n[default1]:a,b\n[default1]:the loss");
    ck_assert_str_eq(text_of("none_*/attempt_0/filtered_stderr.log"), "(none)");
    launch_free(&l);
}
END_TEST

START_TEST(folded_lines_are_shown_once_and_logged_by_each) {
    RUN(l, "-n", "4", "--log-dir", folder, "--fold", "-t", "1", "--", "sh", "-c",
        "echo same; echo own $RANK; echo done");
    ck_assert_int_eq(strncmp(l.output, "[4x, ranks 0-3] same\n", 21), 0);
    ck_contains(l.output, "[default2]:own 2\n");
    ck_assert_str_eq(l.output + l.output_n - 21, "[4x, ranks 0-3] done\n");
    ck_file("3/stdout.log", "same\nown 3\ndone\n");
    launch_free(&l);
}
END_TEST

/* Three ranks have said it; the fourth does not come. */
START_TEST(a_folded_line_does_not_wait_for_ever) {
    launch l = START("-n", "4", "--fold", "--", RANKS, "0", "say:x", "1", "say:x", "2", "say:x", "*", "wait",
                     "*", "hang");
    launch_expect(&l, "[3x, ranks 0-2] x\n");
    kill(l.pid, SIGTERM);
    launch_finish(&l);
    launch_free(&l);
}
END_TEST

/* --- what cannot be written ----------------------------------------------------------------------------- */

START_TEST(a_folder_that_cannot_be_made_is_told_before_anything_starts) {
    char path[96], part[160];
    int file;
    snprintf(path, sizeof path, "%s/file", folder);
    ck_assert_int_ge(file = creat(path, 0600), 0);
    close(file);
    RUN(l, "--log-dir", path, "-r", "1", "--", "sh", "-c", "echo started >&2");
    ck_code(&l, 125);
    snprintf(part, sizeof part, "tandem: --log-dir %s is not a folder\n", path);
    ck_assert_str_eq(l.errors, part);
    launch_free(&l);
}
END_TEST

START_TEST(a_place_that_takes_no_folder_is_told_before_anything_starts) {
    RUN(l, "--log-dir", "/proc/tandem", "-r", "1", "--", "sh", "-c", "echo started >&2");
    ck_code(&l, 125);
    ck_assert_str_eq(l.errors,
                     "tandem: cannot make the log folder /proc/tandem: No such file or directory\n");
    launch_free(&l);
}
END_TEST

/* A teed file is ours to write: its failure is told once, the job goes on, and what it shows is whole. */
START_TEST(a_full_disk_is_told_once_and_the_job_goes_on) {
    RUN_WITH(l, (launch_setup){.file_size_limit = 4096}, "-n", "2", "--log-dir", folder, "-t", "1", "--",
             RANKS, "*", "lines:1000");
    ck_code(&l, 125);
    ck_contains(l.errors, "/stdout.log: File too large; the job goes on without it\n");
    ck_assert_ptr_null(strstr(strstr(l.errors, "the job goes on") + 1, "the job goes on"));
    int lines = 0;
    for (const char *c = l.output; *c; c++) lines += *c == '\n';
    ck_assert_int_eq(lines, 2000);
    launch_free(&l);
}
END_TEST

START_TEST(with_log_files_the_job_outlives_its_reader) {
    launch l = START("--log-dir", folder, "-t", "1", "--", "sh", "-c",
                     "echo first; read x; echo second; echo third; echo last >&2");
    launch_expect(&l, "first\n");
    close(l.out);
    l.out = -1;
    ck_assert_int_eq(write(l.in, "\n", 1), 1);
    launch_finish(&l);
    ck_code(&l, 0);
    ck_contains(l.errors,
                "tandem: whoever read the output has closed it; the job goes on, its log files are in ");
    ck_contains(l.errors, "last\n");
    ck_file("0/stdout.log", "first\nsecond\nthird\n");
    launch_free(&l);
}
END_TEST

/* --- input ---------------------------------------------------------------------------------------------- */

START_TEST(the_rank_that_reads_is_chosen) {
    static const char *const expected[][2] = {{"2", "2 x\n"}, {"none", ""}};
    launch l = START("-n", "3", "--stdin", expected[_i][0], "--", "sh", "-c", "sed \"s/^/$RANK /\"");
    ssize_t wrote = write(l.in, "x\n", 2);
    ck_assert_int_eq(wrote, 2);
    launch_finish(&l);
    ck_code(&l, 0);
    ck_assert_str_eq(l.output, expected[_i][1]);
    launch_free(&l);
}
END_TEST

/* Not a copy of it: what the rank leaves unread is there for whoever comes after us. */
START_TEST(the_rank_has_our_input_itself) {
    char path[96];
    snprintf(path, sizeof path, "%s/input", folder);
    FILE *file = fopen(path, "w");
    fputs("one\ntwo\n", file);
    fclose(file);
    char command[512];
    snprintf(command, sizeof command, "{ %s run -n 2 -- sh -c '[ $RANK = 1 ] || read line'; cat; } < %s",
             TANDEM, path);
    launch l = launch_start_with((launch_setup){0}, (const char *[]){"sh", "-c", command, NULL});
    launch_finish(&l);
    ck_assert_str_eq(l.output, "two\n");
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("logs");
    TCase *tcase = tcase_create("logs");
    tcase_add_checked_fixture(tcase, make_folder, remove_folder);
    tcase_add_test(tcase, redirects_go_to_files_and_nowhere_else);
    tcase_add_test(tcase, redirects_and_tee_are_told_by_rank);
    tcase_add_test(tcase, a_log_folder_alone_redirects_nothing);
    tcase_add_test(tcase, folders_on_the_way_are_made);
    tcase_add_test(tcase, without_a_folder_one_is_made_and_named);
    tcase_add_test(tcase, each_attempt_has_files_of_its_own);
    tcase_add_test(tcase, two_jobs_in_one_folder_do_not_meet);
    tcase_add_test(tcase, a_teed_file_has_every_byte_as_it_was);
    tcase_add_test(tcase, the_template_of_the_prefix_is_the_users);
    tcase_add_test(tcase, the_template_may_come_from_torchruns_variable);
    tcase_add_test(tcase, ranks_that_are_filtered_out_are_not_shown_but_logged);
    tcase_add_loop_test(tcase, a_crash_of_a_rank_that_is_not_shown_is_reported_with_its_last_lines, 0, 2);
    tcase_add_test(tcase, matching_lines_of_all_teed_ranks_are_gathered);
    tcase_add_test(tcase, folded_lines_are_shown_once_and_logged_by_each);
    tcase_add_test(tcase, a_folded_line_does_not_wait_for_ever);
    tcase_add_test(tcase, a_folder_that_cannot_be_made_is_told_before_anything_starts);
    tcase_add_test(tcase, a_place_that_takes_no_folder_is_told_before_anything_starts);
    tcase_add_test(tcase, a_full_disk_is_told_once_and_the_job_goes_on);
    tcase_add_test(tcase, with_log_files_the_job_outlives_its_reader);
    tcase_add_loop_test(tcase, the_rank_that_reads_is_chosen, 0, 2);
    tcase_add_test(tcase, the_rank_has_our_input_itself);
    suite_add_tcase(suite, tcase);
    return suite;
}
