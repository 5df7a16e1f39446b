/* A few random faults, on every run of the tests; test_chaos_slow has two hundred. */
#include "chaos.h"
#include "support/check.h"

START_TEST(a_random_fault_is_told_right_and_leaves_nothing) { chaos_round((unsigned)_i); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("chaos");
    TCase *tcase = tcase_create("chaos");
    tcase_add_loop_test(tcase, a_random_fault_is_told_right_and_leaves_nothing, 0, 34);
    suite_add_tcase(suite, tcase);
    return suite;
}
