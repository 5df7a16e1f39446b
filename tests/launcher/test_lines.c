/* Bytes into lines, lines into prefixed and folded ones, options into routes: what needs no process. */
#include "launcher/fold.h"
#include "launcher/lines.h"
#include "launcher/prefix.h"
#include "launcher/routes.h"
#include "support/check.h"

#include <stdio.h>
#include <unistd.h>

/* --- lines ---------------------------------------------------------------------------------------------- */

typedef struct runs {
    char text[4096]; /* what was taken, with | after each run */
    size_t n;
} runs;

static void keep(const char *bytes, size_t n, void *cookie) {
    runs *r = cookie;
    ck_assert_uint_gt(n, 0);
    memcpy(r->text + r->n, bytes, n);
    r->n += n;
    r->text[r->n++] = '|';
    r->text[r->n] = 0;
}

static void add(launcher_lines *lines, const char *text, bool eager, runs *r) {
    launcher_lines_add(lines, text, strlen(text), eager, keep, r);
}

START_TEST(lines_leave_whole_however_they_came) {
    launcher_lines lines = {0};
    runs r = {0};
    add(&lines, "on", false, &r);
    add(&lines, "e\ntwo\nth", false, &r);
    add(&lines, "ree", false, &r);
    ck_assert_str_eq(r.text, "one\n|two\n|");
    add(&lines, "\n\nfour\n", false, &r);
    add(&lines, "five", false, &r);
    launcher_lines_flush(&lines, keep, &r);
    launcher_lines_flush(&lines, keep, &r);
    ck_assert_str_eq(r.text, "one\n|two\n|three\n|\nfour\n|five|");
    launcher_lines_free(&lines);
}
END_TEST

START_TEST(an_eager_stream_keeps_nothing_back) {
    launcher_lines lines = {0};
    runs r = {0};
    add(&lines, "one\n10%", true, &r);
    add(&lines, "\r20%", true, &r);
    ck_assert_str_eq(r.text, "one\n|10%|\r20%|");
    launcher_lines_free(&lines);
}
END_TEST

static void count_bytes(const char *bytes, size_t n, void *cookie) {
    (void)bytes;
    *(size_t *)cookie += n;
}

START_TEST(a_line_without_end_leaves_in_pieces) {
    launcher_lines lines = {0};
    static char x[1 << 20];
    size_t taken = 0, given = 0;
    memset(x, 'x', sizeof x);
    for (; given <= LAUNCHER_LINE_MOST; given += sizeof x) {
        ck_assert_uint_eq(taken, 0);
        launcher_lines_add(&lines, x, sizeof x, false, count_bytes, &taken);
    }
    ck_assert_uint_eq(taken, given);
    launcher_lines_free(&lines);
}
END_TEST

/* --- prefixes ------------------------------------------------------------------------------------------- */

/* What Python's string.Template.safe_substitute gives. */
static const char *const templates[][2] = {
    {"[${role_name}${local_rank}]:", "[trainer3]:"},
    {"[rank $rank] ", "[rank 3] "},
    {"$rank$rank $stream$$ ", "33 stderr$ "},
    {"${unknown} $unknown $ ${ ${rank $1 100% $", "${unknown} $unknown $ ${ ${rank $1 100% $"},
    {"try ${attempt}: ", "try 1: "},
    {"", ""},
};

START_TEST(a_template_is_filled_in_as_pythons) {
    launcher_prefix p = {templates[_i][0], "trainer", "stderr", 3, 1};
    size_t n;
    const char *text = launcher_prefix_text(&p, &n);
    ck_assert_uint_eq(n, strlen(templates[_i][1]));
    if (n > 0) ck_assert(memcmp(text, templates[_i][1], n) == 0);
    launcher_prefix_free(&p);
}
END_TEST

START_TEST(host_and_time_are_those_of_now) {
    launcher_prefix p = {"${time} ${hostname}", "trainer", "stdout", 0, 0};
    char host[256], first[256], later[256];
    int year, ms, end = 0;
    size_t n;
    ck_assert_int_eq(gethostname(host, sizeof host), 0);
    const char *text = launcher_prefix_text(&p, &n);
    snprintf(first, sizeof first, "%.*s", (int)n, text);
    ck_assert(sscanf(first, "%d-%*d-%*dT%*d:%*d:%*d.%3d %n", &year, &ms, &end) == 2 && end == 24);
    ck_assert_str_eq(first + end, host);
    usleep(5000);
    text = launcher_prefix_text(&p, &n);
    snprintf(later, sizeof later, "%.*s", (int)n, text);
    ck_assert_str_ne(first, later);
    launcher_prefix_free(&p);
}
END_TEST

/* --- folding -------------------------------------------------------------------------------------------- */

enum { RANKS = 4 };

typedef struct folded {
    char text[4096];
} folded;

static void keep_folded(const bool *said, int count, const char *line, size_t n, void *cookie) {
    folded *f = cookie;
    char prefix[64];
    size_t at = strlen(f->text);
    launcher_fold_prefix(said, RANKS, count, prefix, sizeof prefix);
    snprintf(f->text + at, sizeof f->text - at, "%s%.*s", prefix, (int)n, line);
}

static void say(launcher_fold *fold, int rank, const char *line, int64_t now) {
    launcher_fold_add(fold, rank, line, strlen(line), now);
}

START_TEST(what_all_say_is_said_once) {
    launcher_fold *fold;
    folded f = {""};
    ck_assert_int_eq(launcher_fold_open(RANKS, keep_folded, &f, &fold), TD_OK);
    for (int rank = 0; rank < RANKS; rank++) {
        ck_assert_str_eq(f.text, "");
        say(fold, rank, "hello\n", 0);
    }
    ck_assert_str_eq(f.text, "[4x, ranks 0-3] hello\n");
    launcher_fold_close(&fold);
}
END_TEST

START_TEST(what_differs_does_not_keep_the_rest_from_being_folded) {
    launcher_fold *fold;
    folded f = {""};
    ck_assert_int_eq(launcher_fold_open(RANKS, keep_folded, &f, &fold), TD_OK);
    for (int rank = 0; rank < RANKS; rank++) {
        char own[16];
        snprintf(own, sizeof own, "i am %d\n", rank);
        say(fold, rank, "a\n", 0);
        say(fold, rank, own, 0);
        say(fold, rank, "b\n", 0);
    }
    ck_assert_int_eq(launcher_fold_pass(fold, LAUNCHER_FOLD_MS), -1);
    ck_assert_str_eq(f.text, "[4x, ranks 0-3] a\n[1x, ranks 0] i am 0\n[1x, ranks 1] i am 1\n"
                             "[1x, ranks 2] i am 2\n[1x, ranks 3] i am 3\n[4x, ranks 0-3] b\n");
    launcher_fold_close(&fold);
}
END_TEST

START_TEST(a_line_waits_only_so_long) {
    launcher_fold *fold;
    folded f = {""};
    ck_assert_int_eq(launcher_fold_open(RANKS, keep_folded, &f, &fold), TD_OK);
    say(fold, 2, "x\n", 10);
    say(fold, 0, "x\n", 40);
    say(fold, 0, "y\n", 50);
    ck_assert_int_eq(launcher_fold_pass(fold, 60), LAUNCHER_FOLD_MS - 50);
    ck_assert_str_eq(f.text, "");
    ck_assert_int_eq(launcher_fold_pass(fold, 10 + LAUNCHER_FOLD_MS), 40);
    ck_assert_str_eq(f.text, "[2x, ranks 0, 2] x\n");
    say(fold, 1, "x\n", 200); /* too late */
    launcher_fold_flush(fold);
    ck_assert_str_eq(f.text, "[2x, ranks 0, 2] x\n[1x, ranks 0] y\n[1x, ranks 1] x\n");
    launcher_fold_close(&fold);
}
END_TEST

START_TEST(nobody_waits_for_a_rank_that_has_left) {
    launcher_fold *fold;
    folded f = {""};
    ck_assert_int_eq(launcher_fold_open(RANKS, keep_folded, &f, &fold), TD_OK);
    for (int rank = 0; rank < RANKS - 1; rank++) say(fold, rank, "x\n", 0);
    ck_assert_str_eq(f.text, "");
    launcher_fold_leave(fold, RANKS - 1);
    launcher_fold_leave(fold, RANKS - 1);
    ck_assert_str_eq(f.text, "[3x, ranks 0-2] x\n");
    launcher_fold_close(&fold);
}
END_TEST

/* The same line twice of one rank is two lines. */
START_TEST(a_rank_that_repeats_itself_is_heard_twice) {
    launcher_fold *fold;
    folded f = {""};
    ck_assert_int_eq(launcher_fold_open(RANKS, keep_folded, &f, &fold), TD_OK);
    for (int i = 0; i < 2; i++)
        for (int rank = 0; rank < 2; rank++) say(fold, rank, "x\n", 0);
    launcher_fold_flush(fold);
    ck_assert_str_eq(f.text, "[2x, ranks 0, 1] x\n[2x, ranks 0, 1] x\n");
    launcher_fold_close(&fold);
}
END_TEST

typedef struct order {
    long next[RANKS];
    long lines;
} order;

static void check_order(const bool *said, int count, const char *line, size_t n, void *cookie) {
    order *o = cookie;
    long number;
    (void)count, (void)n;
    ck_assert_int_eq(sscanf(line, "%ld", &number), 1);
    for (int rank = 0; rank < RANKS; rank++) {
        if (!said[rank]) continue;
        ck_assert_int_ge(number, o->next[rank]);
        o->next[rank] = number + 1;
        o->lines++;
    }
}

/* Ranks that say rising numbers, each some of them, at random moments: rising they come out, and all of them. */
START_TEST(the_order_of_each_rank_is_kept_and_nothing_is_lost) {
    launcher_fold *fold;
    order o = {{0}, 0};
    long at[RANKS] = {0}, said = 0;
    unsigned random = 1;
    ck_assert_int_eq(launcher_fold_open(RANKS, check_order, &o, &fold), TD_OK);
    for (int64_t now = 0; now < 20000; now++) {
        random = random * 1664525u + 1013904223u;
        int rank = (int)(random >> 30);
        char line[32];
        at[rank] += 1 + (long)(random >> 20 & 1);
        snprintf(line, sizeof line, "%ld\n", at[rank]);
        say(fold, rank, line, now / 10);
        said++;
        if (random >> 16 & 1) launcher_fold_pass(fold, now / 10);
    }
    launcher_fold_flush(fold);
    ck_assert_int_eq(o.lines, said);
    launcher_fold_close(&fold);
}
END_TEST

static void count_folded(const bool *said, int count, const char *line, size_t n, void *cookie) {
    (void)said, (void)count, (void)line;
    *(size_t *)cookie += n;
}

/* Few long lines or many short ones that nobody else says: they do not all wait for their time. */
START_TEST(what_is_held_is_bounded) {
    enum { TOTAL = 4 << 20 };
    static char line[64 << 10];
    static const size_t sizes[] = {sizeof line, 16};
    launcher_fold *fold;
    size_t gone = 0, given = 0, n = sizes[_i];
    ck_assert_int_eq(launcher_fold_open(RANKS, count_folded, &gone, &fold), TD_OK);
    memset(line, 'x', sizeof line);
    line[n - 1] = '\n';
    for (; given < TOTAL; given += n) {
        snprintf(line, 12, "%010zu", given);
        launcher_fold_add(fold, 0, line, n, 0);
        ck_expect(given + n - gone <= 1 << 20, "%zu bytes are held", given + n - gone);
    }
    launcher_fold_flush(fold);
    ck_assert_uint_eq(gone, given);
    launcher_fold_close(&fold);
}
END_TEST

/* --- routes --------------------------------------------------------------------------------------------- */

/* Per rank and stream: c on the console, f in a file, d duplicated, t on the rank's terminal. */
static const struct {
    launcher_log_options options;
    const char *expected; /* three ranks: out,err of each; with --pty also the terminal's */
} routes[] = {
    {{0}, "c,c c,c c,c"},
    {{.redirects = "3"}, "f,f f,f f,f"},
    {{.redirects = "1"}, "f,c f,c f,c"},
    {{.redirects = "0:1,2:2,17:3"}, "f,c c,c c,f"},
    {{.tee = "3"}, "cf,cf cf,cf cf,cf"},
    {{.tee = "1:3", .redirects = "1"}, "f,c cf,cf f,c"},
    {{.tee = "1", .redirects = "3", .ranks_filter = "1"}, "f,f cf,f f,f"},
    {{.ranks_filter = "0, 2"}, "c,c , c,c"},
    {{.tee = "1", .stdout_filters = "x"}, "cfd,c cfd,c cfd,c"},
    {{.tee = "1", .stdout_filters = "x", .ranks_filter = "2"}, "f, f, cfd,c"},
    {{.stdout_filters = "x"}, "c,c c,c c,c"},
    {{.dir = "/dev/null", .tee = "3"}, "c,c c,c c,c"},
    {{.pty = true}, "ct,ct,c ct,ct,c ct,ct,c"},
    {{.pty = true, .redirects = "0:2,1:1,2:3"}, "ct,f,c f,ct,c f,f,"},
    {{.pty = true, .tee = "0:1"}, "cft,ct,cf ct,ct,c ct,ct,c"},
};

START_TEST(options_give_the_routes_that_torchrun_gives) {
    launcher_routes r;
    char text[256] = "";
    ck_assert_int_eq(launcher_routes_make(&routes[_i].options, 3, &r), TD_OK);
    for (int rank = 0; rank < 3; rank++)
        for (int stream = 0; stream < (r.pty ? LAUNCHER_STREAMS : LAUNCHER_TERMINAL); stream++) {
            launcher_route route = r.of[rank][stream];
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s%s%s%s",
                     stream     ? ","
                     : rank > 0 ? " "
                                : "",
                     route.console ? "c" : "", route.file ? "f" : "", route.duplicate ? "d" : "",
                     route.on_terminal ? "t" : "");
        }
    ck_assert_str_eq(text, routes[_i].expected);
    launcher_routes_free(&r);
}
END_TEST

static const struct {
    launcher_log_options options;
    const char *part;
} refused[] = {
    {{.redirects = "4"}, "--redirects 4: give 0 (none)"},
    {{.redirects = ""}, "--redirects"},
    {{.tee = "0:3,"}, "--tee 0:3,: "},
    {{.tee = "0:4"}, "--tee 0:4: "},
    {{.tee = "a"}, "--tee a: "},
    {{.tee = "99999999999:1"}, "--tee"},
    {{.ranks_filter = "0,x"}, "--local-ranks-filter 0,x: "},
    {{.input = "3"}, "--stdin 3: the job has 3 ranks, 0 to 2"},
    {{.input = "all"}, "--stdin all: "},
    {{.dir = "/dev/null", .stderr_filters = "x"}, "--duplicate-stderr-filters writes a file"},
};

START_TEST(wrong_words_are_refused_with_the_option) {
    launcher_routes r;
    ck_assert_int_eq(launcher_routes_make(&refused[_i].options, 3, &r), TD_ERR_ARG);
    ck_assert_msg(strstr(td_error_last()->text, refused[_i].part), "%s", td_error_last()->text);
}
END_TEST

START_TEST(a_double_comma_in_a_filter_is_a_comma) {
    launcher_routes r;
    ck_assert_int_eq(launcher_routes_make(
                         &(launcher_log_options){.stdout_filters = "a,,b,c", .stderr_filters = ""}, 1, &r),
                     TD_OK);
    ck_assert_str_eq(r.filters[0][0], "a,b");
    ck_assert_str_eq(r.filters[0][1], "c");
    ck_assert_ptr_null(r.filters[0][2]);
    ck_assert(launcher_filters_match(r.filters[0], "xxa,b", 5));
    ck_assert(!launcher_filters_match(r.filters[0], "xxa,b", 4));
    ck_assert(launcher_filters_match(r.filters[1], "\n", 1)); /* an empty text is in every line */
    launcher_routes_free(&r);
}
END_TEST

#define COUNT(table) (int)(sizeof table / sizeof *table)

Suite *make_suite(void) {
    Suite *suite = suite_create("lines");
    TCase *tcase = tcase_create("lines");
    tcase_add_test(tcase, lines_leave_whole_however_they_came);
    tcase_add_test(tcase, an_eager_stream_keeps_nothing_back);
    tcase_add_test(tcase, a_line_without_end_leaves_in_pieces);
    tcase_add_loop_test(tcase, a_template_is_filled_in_as_pythons, 0, COUNT(templates));
    tcase_add_test(tcase, host_and_time_are_those_of_now);
    tcase_add_test(tcase, what_all_say_is_said_once);
    tcase_add_test(tcase, what_differs_does_not_keep_the_rest_from_being_folded);
    tcase_add_test(tcase, a_line_waits_only_so_long);
    tcase_add_test(tcase, nobody_waits_for_a_rank_that_has_left);
    tcase_add_test(tcase, a_rank_that_repeats_itself_is_heard_twice);
    tcase_add_test(tcase, the_order_of_each_rank_is_kept_and_nothing_is_lost);
    tcase_add_loop_test(tcase, what_is_held_is_bounded, 0, 2);
    tcase_add_loop_test(tcase, options_give_the_routes_that_torchrun_gives, 0, COUNT(routes));
    tcase_add_loop_test(tcase, wrong_words_are_refused_with_the_option, 0, COUNT(refused));
    tcase_add_test(tcase, a_double_comma_in_a_filter_is_a_comma);
    suite_add_tcase(suite, tcase);
    return suite;
}
