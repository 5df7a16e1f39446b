/* Two hundred random faults. */
#include "chaos.h"
#include "support/check.h"

START_TEST(a_random_fault_is_told_right_and_leaves_nothing) { chaos_round((unsigned)_i); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("chaos_slow");
    TCase *tcase = tcase_create("chaos_slow");
    tcase_add_loop_test(tcase, a_random_fault_is_told_right_and_leaves_nothing, 1000, 1200);
    suite_add_tcase(suite, tcase);
    return suite;
}
