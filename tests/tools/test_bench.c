/* Each bench runs, launches its ranks itself, and prints what the front page documents. */
#include "launcher/launch.h"
#include "support/check.h"

#include <jansson.h>
#include <stdio.h>

static const struct {
    const char *arguments[14];
    const char *keys[14]; /* numbers that every row has */
    int rows;
} benches[] = {
    {{"allreduce", "--bytes", "64K", "--repeat", "5"},
     {"ranks", "bytes", "min_us", "median_us", "p99_us", "algbw_gbps", "busbw_gbps", "foreign_cpu"},
     1},
    {{"broadcast", "-b", "8", "-e", "64K", "-f", "8192", "--private", "--backend", "shm", "--repeat", "3"},
     {"ranks", "bytes", "min_us", "median_us", "p99_us", "algbw_gbps", "busbw_gbps", "foreign_cpu"},
     2},
    {{"allreduce", "--dtype", "bf16", "-b", "8", "-e", "64K", "-f", "8192", "--repeat", "3"},
     {"ranks", "bytes", "median_us", "busbw_gbps", "foreign_cpu"},
     2},
    {{"reduce_scatter", "--dtype", "i8", "--bytes", "4K", "--repeat", "3"},
     {"ranks", "bytes", "median_us"},
     1},
    {{"all_to_all", "--dtype", "f64", "--bytes", "4K", "--repeat", "3"}, {"ranks", "bytes", "median_us"}, 1},
    {{"update", "--bytes", "3M", "--repeat", "3"},
     {"ranks", "bytes", "min_us", "median_us", "p99_us", "algbw_gbps", "busbw_gbps", "foreign_cpu"},
     1},
    {{"update", "--sync", "replicated", "--bytes", "1K", "--repeat", "3"},
     {"ranks", "bytes", "median_us"},
     1},
    {{"update", "--sync", "zero1", "--bytes", "5M", "--repeat", "3"}, {"ranks", "bytes", "median_us"}, 1},
    {{"latency", "--repeat", "3"}, {"ranks", "min_us", "median_us", "p99_us", "foreign_cpu"}, 3},
    {{"step", "--model", "mlp", "--batch-size", "8", "--repeat", "3"},
     {"ranks", "threads", "batch_size", "min_us", "median_us", "p99_us", "samples_per_second", "foreign_cpu"},
     1},
    {{"loader", "--batch-size", "256", "--repeat", "1"},
     {"batch_size", "samples", "min_us", "median_us", "p99_us", "samples_per_second", "foreign_cpu"},
     1},
    {{"launch", "--repeat", "2"}, {"ranks", "min_us", "median_us", "p99_us", "foreign_cpu"}, 1},
    {{"noop"}, {NULL}, 0},
};

START_TEST(a_bench_prints_its_rows) {
    const char *argv[18] = {TANDEM, "bench"};
    int n = 2;
    for (int i = 0; benches[_i].arguments[i]; i++) argv[n++] = benches[_i].arguments[i];
    argv[n] = "--json";
    launch l = launch_start_with((launch_setup){0}, argv);
    launch_finish(&l);
    ck_code(&l, 0);
    int rows = 0;
    char *state;
    for (char *line = strtok_r(l.output, "\n", &state); line; line = strtok_r(NULL, "\n", &state), rows++) {
        json_t *row = json_loads(line, 0, NULL);
        if (!row) ck_abort_msg("this is no JSON: %s", line);
        ck_assert_str_eq(json_string_value(json_object_get(row, "bench")), benches[_i].arguments[0]);
        for (int k = 0; benches[_i].keys[k]; k++)
            if (!json_is_number(json_object_get(row, benches[_i].keys[k])))
                ck_abort_msg("no %s in: %s", benches[_i].keys[k], line);
        json_t *ranks = json_object_get(row, "ranks");
        if (ranks) ck_assert_int_eq(json_integer_value(ranks), 2);
        json_decref(row);
    }
    ck_assert_int_eq(rows, benches[_i].rows);
    launch_free(&l);
}
END_TEST

START_TEST(under_a_launcher_a_bench_is_one_of_the_ranks) {
    RUN(l, "-n", "3", "--", "tandem", "bench", "allreduce", "--bytes", "1K", "--repeat", "2", "--json");
    ck_code(&l, 0);
    ck_contains(l.output, "\"ranks\":3,");
    ck_assert_ptr_eq(strchr(l.output, '\n') + 1, l.output + l.output_n); /* one row, from rank 0 */
    launch_free(&l);
}
END_TEST

START_TEST(one_rank_needs_no_launcher) {
    launch l =
        launch_start_with((launch_setup){0}, (const char *[]){TANDEM, "bench", "step", "-n", "1", "--model",
                                                              "mlp", "--repeat", "2", "--json", NULL});
    launch_finish(&l);
    ck_code(&l, 0);
    ck_contains(l.output, "\"backend\":\"self\"");
    launch_free(&l);
}
END_TEST

static const struct {
    const char *arguments[4];
    const char *says;
} wrong[] = {
    {{NULL}, "name one of allreduce"},
    {{"alreduce"}, "did you mean allreduce"},
    {{"step", "loader"}, "name one of"},
    {{"step", "--batch-size", "0"}, "--batch-size"},
};

START_TEST(wrong_usage_is_told) {
    const char *argv[8] = {TANDEM, "bench"};
    for (int i = 0; wrong[_i].arguments[i]; i++) argv[2 + i] = wrong[_i].arguments[i];
    launch l = launch_start_with((launch_setup){0}, argv);
    launch_finish(&l);
    ck_code(&l, 2);
    ck_contains(l.errors, wrong[_i].says);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("bench");
    TCase *tcase = tcase_create("bench");
    tcase_add_loop_test(tcase, a_bench_prints_its_rows, 0, (int)(sizeof benches / sizeof *benches));
    tcase_add_test(tcase, under_a_launcher_a_bench_is_one_of_the_ranks);
    tcase_add_test(tcase, one_rank_needs_no_launcher);
    tcase_add_loop_test(tcase, wrong_usage_is_told, 0, (int)(sizeof wrong / sizeof *wrong));
    suite_add_tcase(suite, tcase);
    return suite;
}
