/* What people see: lines elsewhere, a bar on a terminal. */
#include "support/check.h"
#include "worker/display.h"
#include "worker/platform.h"

#include <stdio.h>
#include <time.h>

typedef struct screen {
    FILE *file;
    char *text;
    size_t size;
    worker_display *display;
} screen;

/* Check runs each test in a process of its own, so one is enough. */
static screen s;

static void open_screen(int columns) {
    s.file = open_memstream(&s.text, &s.size);
    fflush(s.file); /* gives s.text its first, empty, text */
    s.display = worker_display_open(s.file, columns);
    ck_assert_ptr_nonnull(s.display);
}
static void close_screen(void) {
    worker_display_close(&s.display);
    fclose(s.file);
    free(s.text);
}
static void wait_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static worker_progress at(int64_t step) {
    return (worker_progress){.epoch = 1,
                             .epochs = 1,
                             .step = step,
                             .steps = 1000,
                             .loss = 0.5,
                             .accuracy = 0.875,
                             .samples_per_second = 4871,
                             .seconds_left = 8.4};
}

static int count(const char *text, const char *part) {
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

START_TEST(elsewhere_each_tenth_is_a_line) {
    open_screen(0);
    for (int64_t step = 1; step <= 1000; step++) {
        worker_progress p = at(step);
        worker_display_progress(s.display, &p);
    }
    ck_assert_int_eq(count(s.text, "\n"), 10);
    ck_assert_msg(strstr(s.text, "epoch 1/1  100 %  loss 0.5000  accuracy 87.50 %  4,871 samples/s"), "%s",
                  s.text);
    ck_assert_ptr_null(strchr(s.text, '\r'));
    ck_assert_ptr_null(strchr(s.text, '\033'));
    close_screen();
}
END_TEST

START_TEST(elsewhere_silence_ends_within_two_seconds) {
    open_screen(0);
    worker_progress p = at(1);
    worker_display_progress(s.display, &p);
    ck_assert_int_eq(count(s.text, "\n"), 0);
    wait_ms(2000 - (long)(1000 * worker_display_beat(s.display)));
    worker_display_progress(s.display, &p);
    ck_assert_int_eq(count(s.text, "\n"), 1);
    close_screen();
}
END_TEST

/* The widest text between two rewrites; escapes take no room. */
static size_t widest_line(const char *text) {
    size_t widest = 0, width = 0;
    for (; *text; text++) {
        if (*text == '\033') {
            text = strpbrk(text, "mK");
            continue;
        }
        width = *text == '\r' || *text == '\n' ? 0 : width + 1;
        if (width > widest) widest = width;
    }
    return widest;
}

START_TEST(a_bar_never_wraps) {
    static const int columns[] = {1, 2, 20, 60, 79, 80, 81, 120, 400};
    open_screen(columns[_i]);
    for (int64_t step = 1; step <= 1000; step += 333) {
        worker_progress p = at(step);
        worker_display_progress(s.display, &p);
        wait_ms(120);
    }
    ck_assert_uint_lt(widest_line(s.text), (size_t)columns[_i] + 1);
    if (columns[_i] >= 120) ck_assert_msg(strstr(s.text, "=>"), "no gauge in '%s'", s.text);
    close_screen();
}
END_TEST

START_TEST(lines_stand_above_the_bar) {
    open_screen(120);
    worker_progress p = at(500);
    worker_display_progress(s.display, &p);
    worker_display_line(s.display, "a line");
    char *line = strstr(s.text, "\r\033[Ka line\n");
    ck_assert_msg(line, "%s", s.text);
    ck_assert_msg(strstr(line, "epoch 1/1"), "the bar is not drawn again: %s", s.text);
    worker_display_drop_bar(s.display);
    ck_assert_str_eq(s.text + s.size - 4, "\r\033[K");
    worker_display_line(s.display, "another");
    ck_assert_str_eq(s.text + s.size - 8, "another\n");
    close_screen();
}
END_TEST

START_TEST(colours_are_for_terminals_that_want_them) {
    unsetenv("NO_COLOR");
    setenv("TERM", "xterm", 1);
    open_screen(80);
    ck_assert_str_ne(worker_display_bold(s.display), "");
    close_screen();
    setenv("NO_COLOR", "1", 1);
    open_screen(80);
    ck_assert_str_eq(worker_display_bold(s.display), "");
    close_screen();
    unsetenv("NO_COLOR");
    open_screen(0);
    ck_assert_str_eq(worker_display_bold(s.display), "");
    close_screen();
}
END_TEST

START_TEST(without_a_display_nothing_is_said) {
    worker_progress p = at(1);
    worker_display *none = NULL;
    worker_display_progress(none, &p);
    worker_display_testing(none, 1, 2);
    worker_display_line(none, "nothing");
    worker_display_finish_bar(none);
    worker_display_drop_bar(none);
    worker_display_close(&none);
}
END_TEST

/* --- the machine ---------------------------------------------------------------------------------------- */

static const struct {
    int64_t wanted;
    const char *environment;
    int share, threads, excess;
} choices[] = {
    {0, NULL, 4, 4, 0},  {3, "8", 4, 3, 0},    {0, "2", 4, 2, 0}, {0, "8", 4, 8, 8},
    {0, "8,2", 4, 8, 8}, {0, "many", 4, 4, 0}, {0, "0", 4, 4, 0}, {0, "", 4, 4, 0},
};

START_TEST(threads_are_the_options_then_the_users_then_the_share) {
    int excess = -1;
    ck_assert_int_eq(
        worker_choose_threads(choices[_i].wanted, choices[_i].environment, choices[_i].share, &excess),
        choices[_i].threads);
    ck_assert_int_eq(excess, choices[_i].excess);
}
END_TEST

START_TEST(peak_memory_is_of_this_program) {
    int64_t before = worker_peak_memory();
    ck_assert_int_gt(before, 100000);
    volatile char *block = malloc(32 << 20);
    for (int i = 0; i < 32 << 20; i += 4096) block[i] = 1;
    ck_assert_int_ge(worker_peak_memory(), before + (30 << 20));
    free((void *)block);
    ck_assert_int_ge(worker_peak_memory(), before + (30 << 20));
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("display");
    TCase *tcase = tcase_create("display");
    tcase_add_test(tcase, elsewhere_each_tenth_is_a_line);
    tcase_add_test(tcase, elsewhere_silence_ends_within_two_seconds);
    tcase_add_loop_test(tcase, a_bar_never_wraps, 0, 9);
    tcase_add_test(tcase, lines_stand_above_the_bar);
    tcase_add_test(tcase, colours_are_for_terminals_that_want_them);
    tcase_add_test(tcase, without_a_display_nothing_is_said);
    tcase_add_loop_test(tcase, threads_are_the_options_then_the_users_then_the_share, 0,
                        (int)(sizeof choices / sizeof *choices));
    tcase_add_test(tcase, peak_memory_is_of_this_program);
    suite_add_tcase(suite, tcase);
    return suite;
}
