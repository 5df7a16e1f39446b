/* main of every test program: runs its suite, prints TAP, exits 77 when it cannot run here. */
#include "support/check.h"

#include <stdio.h>

Suite *suite_of(const char *name, const TTest *const *tests, size_t count) {
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    for (size_t i = 0; i < count; i++) tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void) {
    const char *reason = skip_reason ? skip_reason() : NULL;
    if (reason) {
        printf("1..0 # SKIP %s\n", reason);
        return 0;
    }
    SRunner *runner = srunner_create(make_suite());
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
