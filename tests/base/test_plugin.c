#include "base/plugin.h"
#include "support/check.h"

#include <stdio.h>
#include <unistd.h>

START_TEST(an_absent_plugin_is_unsupported_and_says_where_it_was_sought) {
    const void *table = NULL;
    ck_fails(td_plugin_load("none", &table), TD_ERR_UNSUPPORTED, "TANDEM_PLUGIN_PATH");
    ck_assert_ptr_null(table);
}
END_TEST

START_TEST(a_file_that_is_no_plugin_is_refused) {
    char folder[] = "/tmp/tandem-plugin-XXXXXX", file[64];
    const void *table = NULL;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/tandem-broken.so", folder);
    FILE *out = fopen(file, "w");
    fputs("not a library", out);
    fclose(out);
    setenv("TANDEM_PLUGIN_PATH", folder, 1);
    ck_fails(td_plugin_load("broken", &table), TD_ERR_UNSUPPORTED, "plug-in broken:");
    unlink(file);
    rmdir(folder);
}
END_TEST

START_TEST(data_can_be_put_elsewhere) {
    char path[4096];
    setenv("TANDEM_DATA", "/nowhere", 1);
    ck_fails(td_data_path("mnist/x", path, sizeof path), TD_ERR_SYSTEM, "/nowhere/mnist/x");
    setenv("TANDEM_DATA", "/proc", 1);
    ck_ok(td_data_path("self/status", path, sizeof path));
    ck_assert_str_eq(path, "/proc/self/status");
    ck_fails(td_data_path("self/status", path, 5), TD_ERR_ARG, "too long");
}
END_TEST

SUITE("plugin", an_absent_plugin_is_unsupported_and_says_where_it_was_sought,
      a_file_that_is_no_plugin_is_refused, data_can_be_put_elsewhere)
