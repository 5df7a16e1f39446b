#include "base/number.h"
#include "support/check.h"

#include <locale.h>
#include <math.h>

START_TEST(whole_numbers_take_the_whole_text) {
    int64_t i;
    uint64_t u;
    ck_ok(td_parse_i64("-12", &i));
    ck_assert_int_eq(i, -12);
    ck_ok(td_parse_u64("18446744073709551615", &u));
    ck_assert(u == UINT64_MAX);
    const char *const bad[] = {"", " 1", "1 ", "1x", "x", "0x10", "1.5", "--1"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        ck_fails(td_parse_i64(bad[k], &i), TD_ERR_ARG, bad[k]);
        ck_fails(td_parse_u64(bad[k], &u), TD_ERR_ARG, bad[k]);
    }
    ck_fails(td_parse_u64("-1", &u), TD_ERR_ARG, "0 or more");
    ck_fails(td_parse_i64("9223372036854775808", &i), TD_ERR_ARG, "too large");
    ck_assert_int_eq(i, -12);
}
END_TEST

START_TEST(reals_do_not_follow_the_locale) {
    double d;
    setlocale(LC_ALL, "de_DE.UTF-8");
    ck_ok(td_parse_f64("1e-3", &d));
    ck_assert_double_eq(d, 1e-3);
    ck_ok(td_parse_f64("0.5", &d));
    ck_assert_double_eq(d, 0.5);
    ck_fails(td_parse_f64("0,5", &d), TD_ERR_ARG, "not a number");
    ck_assert_str_eq(td_format_bytes(1234567).text, "1.2 MB");
}
END_TEST

START_TEST(sizes_and_durations_have_units) {
    int64_t bytes;
    double seconds;
    ck_ok(td_parse_bytes("25M", &bytes));
    ck_assert_int_eq(bytes, 25 << 20);
    ck_ok(td_parse_bytes("1.5k", &bytes));
    ck_assert_int_eq(bytes, 1536);
    ck_fails(td_parse_bytes("3 apples", &bytes), TD_ERR_ARG, "unit of size");
    ck_fails(td_parse_bytes("-1", &bytes), TD_ERR_ARG, "no size");
    ck_ok(td_parse_seconds("500ms", &seconds));
    ck_assert_double_eq(seconds, 0.5);
    ck_ok(td_parse_seconds("2m", &seconds));
    ck_assert_double_eq(seconds, 120);
    ck_ok(td_parse_seconds("inf", &seconds));
    ck_assert(isinf(seconds));
    ck_fails(td_parse_seconds("nan", &seconds), TD_ERR_ARG, "no duration");
    ck_fails(td_parse_seconds("5 weeks", &seconds), TD_ERR_ARG, "unit of time");
}
END_TEST

START_TEST(people_read_groups_of_three_and_three_digits) {
    ck_assert_str_eq(td_format_count(1199882).text, "1,199,882");
    ck_assert_str_eq(td_format_count(999).text, "999");
    ck_assert_str_eq(td_format_count(-1000).text, "-1,000");
    ck_assert_str_eq(td_format_count(-100).text, "-100");
    ck_assert_str_eq(td_format_bytes(999).text, "999 B");
    ck_assert_str_eq(td_format_bytes(61200000).text, "61.2 MB");
    ck_assert_str_eq(td_format_bytes(999999).text, "1.0 MB");
    ck_assert_str_eq(td_format_bytes(INT64_MAX).text, "9.2 EB");
    ck_assert_str_eq(td_format_seconds(0.0000123).text, "12.3 us");
    ck_assert_str_eq(td_format_seconds(0.0034).text, "3.4 ms");
    ck_assert_str_eq(td_format_seconds(12.34).text, "12.3 s");
    ck_assert_str_eq(td_format_seconds(245).text, "4m05s");
    ck_assert_str_eq(td_format_seconds(7400).text, "2h03m");
    ck_assert_str_eq(td_format_seconds(INFINITY).text, "for ever");
}
END_TEST

SUITE("number", whole_numbers_take_the_whole_text, reals_do_not_follow_the_locale,
      sizes_and_durations_have_units, people_read_groups_of_three_and_three_digits)
