/* What every test file includes: Check, and what a test program hands to the runner. */
#ifndef TANDEM_TESTS_CHECK_H
#define TANDEM_TESTS_CHECK_H

#include "base/status.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Given by each test file. */
Suite *make_suite(void);

/* Given by a test file that cannot run everywhere: why it cannot run here, or NULL. */
const char *skip_reason(void) __attribute__((weak));

/* An assertion for loops: Check writes to a pipe at each of its own, passed or not. */
#define ck_quietly(condition)                                                                                \
    do {                                                                                                     \
        if (!(condition)) ck_abort_msg("not so: %s", #condition);                                            \
    } while (0)

/* The same with a message of its own; also before the tests run, while a suite is made. */
#define ck_expect(condition, ...)                                                                            \
    do {                                                                                                     \
        if (!(condition)) ck_abort_msg(__VA_ARGS__);                                                         \
    } while (0)

/* The call succeeds; the message is Tandem's own otherwise. Costs nothing when it does. */
#define ck_ok(call)                                                                                          \
    do {                                                                                                     \
        td_status ck_status = (call);                                                                        \
        if (ck_status != TD_OK)                                                                              \
            ck_abort_msg("%s gave %s: %s", #call, td_status_name(ck_status), td_error_last()->text);         \
    } while (0)

/* The call fails with `status` and the record's text contains `part`. */
#define ck_fails(call, status_, part)                                                                        \
    do {                                                                                                     \
        td_error_clear();                                                                                    \
        td_status ck_status = (call);                                                                        \
        ck_assert_msg(ck_status == (status_), "%s gave %s, not %s: %s", #call, td_status_name(ck_status),    \
                      td_status_name(status_), td_error_last()->text);                                       \
        ck_assert_msg(strstr(td_error_last()->text, part), "%s says '%s', without '%s'", #call,              \
                      td_error_last()->text, part);                                                          \
    } while (0)

/* A suite of one case with these tests. */
Suite *suite_of(const char *name, const TTest *const *tests, size_t count);
#define SUITE(name, ...)                                                                                     \
    Suite *make_suite(void) {                                                                                \
        const TTest *const tests[] = {__VA_ARGS__};                                                          \
        return suite_of(name, tests, sizeof tests / sizeof *tests);                                          \
    }

#endif
