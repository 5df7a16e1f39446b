#include "launcher/tail.h"
#include "support/check.h"

#include <stdio.h>

typedef struct lines {
    int count;
    char text[8][64];
} lines;

static void keep_line(const char *line, void *cookie) {
    lines *l = cookie;
    snprintf(l->text[l->count++ % 8], sizeof l->text[0], "%s", line);
}

static lines last_lines(launcher_tail *tail, int most) {
    lines l = {0};
    launcher_tail_lines(tail, most, keep_line, &l);
    launcher_tail_free(tail);
    return l;
}

static void add(launcher_tail *tail, const char *text) { launcher_tail_add(tail, text, strlen(text)); }

START_TEST(the_last_lines_are_kept_in_order) {
    launcher_tail tail = {0};
    add(&tail, "one\ntwo\nthr");
    add(&tail, "ee\nfour");
    lines l = last_lines(&tail, 3);
    ck_assert_int_eq(l.count, 3);
    ck_assert_str_eq(l.text[0], "two");
    ck_assert_str_eq(l.text[1], "three");
    ck_assert_str_eq(l.text[2], "four");
}
END_TEST

START_TEST(an_empty_stream_has_no_lines) {
    launcher_tail tail = {0};
    ck_assert_int_eq(last_lines(&tail, 5).count, 0);
    add(&tail, "\n\n");
    ck_assert_int_eq(last_lines(&tail, 5).count, 0);
}
END_TEST

START_TEST(a_line_whose_beginning_is_gone_is_left_out) {
    launcher_tail tail = {0};
    for (int i = 0; i < 1000; i++) add(&tail, "0123456789abcde\n"); /* a whole number of them fits */
    add(&tail, "x");
    add(&tail, "yz\n");
    lines l = last_lines(&tail, 1000000);
    ck_assert_int_eq(l.count, LAUNCHER_TAIL_BYTES / 16);
    ck_assert_str_eq(l.text[(l.count - 1) % 8], "xyz");
    ck_assert_str_eq(l.text[0], "0123456789abcde");
}
END_TEST

START_TEST(one_endless_line_shows_its_end) {
    launcher_tail tail = {0};
    static char long_line[3 * LAUNCHER_TAIL_BYTES];
    memset(long_line, 'a', sizeof long_line);
    launcher_tail_add(&tail, long_line, sizeof long_line);
    ck_assert_int_eq(last_lines(&tail, 5).count, 1);
}
END_TEST

START_TEST(of_a_progress_bar_the_last_state_is_a_line) {
    launcher_tail tail = {0};
    add(&tail, "\r10%\r20%\r30%\n");
    lines l = last_lines(&tail, 1);
    ck_assert_int_eq(l.count, 1);
    ck_assert_str_eq(l.text[0], "30%");
}
END_TEST

/* Truncated, overlong, surrogate, beyond the last code point, zero; and what is valid stays. */
static const char *const invalid[][2] = {
    {"a\xff z", "a\xef\xbf\xbd z"},
    {"\xc3", "\xef\xbf\xbd"},
    {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
};

START_TEST(lines_are_valid_utf8) {
    launcher_tail tail = {0};
    add(&tail, invalid[_i][0]);
    lines l = last_lines(&tail, 5);
    ck_assert_int_eq(l.count, 1);
    ck_assert_str_eq(l.text[0], invalid[_i][1]);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("tail");
    TCase *tcase = tcase_create("tail");
    tcase_add_test(tcase, the_last_lines_are_kept_in_order);
    tcase_add_test(tcase, an_empty_stream_has_no_lines);
    tcase_add_test(tcase, a_line_whose_beginning_is_gone_is_left_out);
    tcase_add_test(tcase, one_endless_line_shows_its_end);
    tcase_add_test(tcase, of_a_progress_bar_the_last_state_is_a_line);
    tcase_add_loop_test(tcase, lines_are_valid_utf8, 0, (int)(sizeof invalid / sizeof *invalid));
    suite_add_tcase(suite, tcase);
    return suite;
}
