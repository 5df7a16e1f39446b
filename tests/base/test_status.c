#include "support/check.h"

#include <errno.h>
#include <pthread.h>

START_TEST(every_status_has_a_name_and_a_meaning) {
    const char *last = "";
    for (int number = 1; number >= TD_ERR_INTERNAL; number--) {
        ck_assert_str_ne(td_status_name((td_status)number), "unknown status");
        ck_assert_str_ne(td_status_meaning((td_status)number), "unknown status");
        ck_assert_str_ne(td_status_meaning((td_status)number), last);
        last = td_status_meaning((td_status)number);
    }
    ck_assert_str_eq(td_status_name((td_status)99), "unknown status");
}
END_TEST

START_TEST(a_failure_is_recorded_with_its_values) {
    ck_assert_int_eq(td_fail(TD_ERR_ARG, 5, "dist", "root %d of %d", 7, 2), TD_ERR_ARG);
    ck_assert_int_eq(td_error_last()->status, TD_ERR_ARG);
    ck_assert_int_eq(td_error_last()->foreign, 5);
    ck_assert_str_eq(td_error_last()->origin, "dist");
    ck_assert_str_eq(td_error_last()->text, "root 7 of 2");
    td_error_clear();
    ck_assert_int_eq(td_error_last()->status, TD_OK);
    ck_assert_str_eq(td_error_last()->text, "");
}
END_TEST

START_TEST(a_message_may_quote_the_one_before) {
    td_fail(TD_ERR_ARG, 0, "base", "inner");
    td_fail(TD_ERR_ARG, 0, "base", "outer: %s", td_error_last()->text);
    ck_assert_str_eq(td_error_last()->text, "outer: inner");
}
END_TEST

START_TEST(an_errno_brings_its_text) {
    ck_fails(td_fail_errno(ENOENT, "base", "open %s", "x"), TD_ERR_SYSTEM, "open x: No such file");
    ck_assert_int_eq(td_error_last()->foreign, ENOENT);
}
END_TEST

START_TEST(long_text_is_cut) {
    char text[2000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    td_fail_errno(ENOENT, "base", "%s", text);
    ck_assert_uint_eq(strlen(td_error_last()->text), sizeof td_error_last()->text - 1);
}
END_TEST

static void *fail_elsewhere(void *cookie) {
    td_fail(TD_ERR_PEER, 0, "dist", "elsewhere");
    *(td_error *)cookie = *td_error_last();
    return NULL;
}

START_TEST(records_belong_to_their_thread_and_can_be_carried_over) {
    td_error carried;
    pthread_t thread;
    td_fail(TD_ERR_ARG, 0, "base", "here");
    pthread_create(&thread, NULL, fail_elsewhere, &carried);
    pthread_join(thread, NULL);
    ck_assert_str_eq(td_error_last()->text, "here");
    td_error_restore(&carried);
    ck_assert_int_eq(td_error_last()->status, TD_ERR_PEER);
    ck_assert_str_eq(td_error_last()->text, "elsewhere");
}
END_TEST

SUITE("status", every_status_has_a_name_and_a_meaning, a_failure_is_recorded_with_its_values,
      a_message_may_quote_the_one_before, an_errno_brings_its_text, long_text_is_cut,
      records_belong_to_their_thread_and_can_be_carried_over)
