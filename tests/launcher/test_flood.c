/* A million lines of 16 ranks at once: all of them come, whole, each rank's in order, and in bounded memory. */
#include "launch.h"

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define RANKS_PROGRAM TD_TEST_BUILD "/tests/ranks"

enum { RANKS = 16, LINES = 62500 };

#define LINES_EACH "lines:62500"

static char folder[64]; /* for each test a new one */

static void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/tandem_flood_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* What has come of a text that is read piece by piece. */
typedef struct reading {
    char line[256];
    size_t n;
    long next[RANKS];
    long lines;
    const char *prefix; /* of each line, with the rank's place in it; NULL: none */
} reading;

/* The prefix is that of the rank which the line names. */
static const char *skip_prefix(const reading *r) {
    const char *line = strstr(r->line, "rank "); /* after the prefix's, if that has one */
    char wanted[32];
    int rank = -1;
    if (!r->prefix) return r->line;
    if (strstr(r->prefix, "rank ") && line) line = strstr(line + 1, "rank ");
    sscanf(line ? line : "", "rank %d", &rank);
    snprintf(wanted, sizeof wanted, r->prefix, rank);
    size_t n = strlen(wanted);
    ck_expect(line == r->line + n && strncmp(r->line, wanted, n) == 0, "not with '%s': %s", wanted, r->line);
    return line;
}

static void take_line(reading *r) {
    const char *line = skip_prefix(r);
    int rank = -1, end = 0;
    long number = -1;
    sscanf(line, "rank %d line %ld ............................%n", &rank, &number, &end);
    ck_expect(end > 0 && line[end] == 0 && rank >= 0 && rank < RANKS, "a torn line: %s", r->line);
    ck_expect(number == r->next[rank], "rank %d: line %ld came, not %ld", rank, number, r->next[rank]);
    r->next[rank]++;
    r->lines++;
}

static void take_bytes(reading *r, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        r->line[r->n++] = bytes[i];
        ck_expect(r->n < sizeof r->line, "a line of more than %zu bytes: %.80s", r->n, r->line);
        if (bytes[i] != '\n') continue;
        r->line[r->n - 1] = 0;
        take_line(r);
        r->n = 0;
    }
}

/* Read from a descriptor until so many lines have come, first with `pauses` naps of a millisecond between reads. */
static void read_lines(int fd, reading *r, long lines, int pauses) {
    static char chunk[65536];
    while (r->lines < lines) {
        struct pollfd p = {fd, POLLIN, 0};
        if (pauses-- > 0) usleep(1000);
        ck_expect(poll(&p, 1, 60000) > 0, "nothing more after %ld lines", r->lines);
        ssize_t got = read(fd, chunk, sizeof chunk);
        ck_expect(got > 0, "the end came after %ld lines", r->lines);
        take_bytes(r, chunk, (size_t)got);
    }
    ck_assert_uint_eq(r->n, 0);
    for (int rank = 0; rank < RANKS; rank++) ck_quietly(r->next[rank] == LINES);
}

/* Left out under the address sanitizer, whose memory it would be. */
static void expect_small(const launch *l) {
#ifndef __SANITIZE_ADDRESS__
    char path[64], line[256];
    long kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)l->pid);
    FILE *status = fopen(path, "r");
    while (fgets(line, sizeof line, status)) sscanf(line, "VmHWM: %ld", &kilobytes);
    fclose(status);
    ck_assert_int_lt(kilobytes, 15000);
#else
    (void)l;
#endif
}

/* Rank 0 waits for the end of its input, so that the launcher is still there to be measured. */
static void expect_all(launch *l, const char *prefix, int pauses) {
    reading r = {.prefix = prefix};
    read_lines(l->out, &r, RANKS * LINES, pauses);
    expect_small(l);
    launch_finish(l);
    ck_code(l, 0);
    ck_assert_str_eq(l->output, "");
}

static void expect_files(void) {
    char pattern[128];
    glob_t found;
    reading r = {0};
    snprintf(pattern, sizeof pattern, "%s/none_*/attempt_0/*/stdout.log", folder);
    ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
    ck_assert_uint_eq(found.gl_pathc, RANKS);
    for (int i = 0; i < RANKS; i++) {
        int fd = open(found.gl_pathv[i], O_RDONLY);
        static char bytes[4 << 20];
        ssize_t got = read(fd, bytes, sizeof bytes);
        ck_quietly(got > 0);
        take_bytes(&r, bytes, (size_t)got);
        close(fd);
    }
    globfree(&found);
    ck_assert_int_eq(r.lines, RANKS * LINES);
}

START_TEST(a_million_lines_come_whole_and_in_order) {
    launch l = START("-n", "16", "--", RANKS_PROGRAM, "*", LINES_EACH, "*", "flush", "0", "wait");
    expect_all(&l, NULL, 0);
    launch_free(&l);
}
END_TEST

START_TEST(each_of_a_million_lines_has_its_prefix) {
    launch l = START("-n", "16", "--prefix", "--", RANKS_PROGRAM, "*", LINES_EACH, "*", "flush", "0", "wait");
    expect_all(&l, "[rank %d] ", 0);
    launch_free(&l);
}
END_TEST

/* Nobody reads for the first half second, and then slowly: far more than fits into all pipes has to wait. */
START_TEST(a_million_lines_for_a_slow_reader_wait_in_bounded_memory) {
    launch l = START("-n", "16", "--prefix", "--", RANKS_PROGRAM, "*", LINES_EACH, "*", "flush", "0", "wait");
    usleep(500000);
    expect_all(&l, "[rank %d] ", 500);
    launch_free(&l);
}
END_TEST

START_TEST(a_million_lines_are_all_in_the_files_too) {
    launch l = START("-n", "16", "--log-dir", folder, "--tee", "1", "--", RANKS_PROGRAM, "*", LINES_EACH, "*",
                     "flush", "0", "wait");
    expect_all(&l, "[default%d]:", 0);
    expect_files();
    launch_free(&l);
}
END_TEST

START_TEST(a_million_lines_go_straight_into_files) {
    RUN(l, "-n", "16", "--log-dir", folder, "--redirects", "1", "--", RANKS_PROGRAM, "*", LINES_EACH);
    ck_code(&l, 0);
    expect_files();
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("flood");
    TCase *tcase = tcase_create("flood");
    tcase_add_checked_fixture(tcase, make_folder, remove_folder);
    tcase_add_test(tcase, a_million_lines_come_whole_and_in_order);
    tcase_add_test(tcase, each_of_a_million_lines_has_its_prefix);
    tcase_add_test(tcase, a_million_lines_for_a_slow_reader_wait_in_bounded_memory);
    tcase_add_test(tcase, a_million_lines_are_all_in_the_files_too);
    tcase_add_test(tcase, a_million_lines_go_straight_into_files);
    suite_add_tcase(suite, tcase);
    return suite;
}
