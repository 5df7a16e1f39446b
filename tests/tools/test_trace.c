/* Jobs that really hang, die or disagree, and what `tandem trace` makes of them; records that are damaged. */
#include "base/file.h"
#include "base/memory.h"
#include "launcher/launch.h"
#include "support/check.h"
#include "tools/trace.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

static char folder[64], chrome[80];

static void make_folder(void) {
    strcpy(folder, "/tmp/tandem-trace-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(chrome, sizeof chrome, "%s/chrome.json", folder);
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* `tandem trace FOLDER --json`; gives the lines, in one array. */
static json_t *trace(int code) {
    launch l = launch_start_with(
        (launch_setup){0}, (const char *[]){TANDEM, "trace", folder, "--json", "--chrome", chrome, NULL});
    launch_finish(&l);
    ck_code(&l, code);
    json_t *rows = json_array();
    char *state;
    for (char *line = strtok_r(l.output, "\n", &state); line; line = strtok_r(NULL, "\n", &state))
        ck_assert_int_eq(json_array_append_new(rows, json_loads(line, 0, NULL)), 0);
    launch_free(&l);
    return rows;
}

static int64_t number_in(const json_t *row, const char *key) {
    return json_integer_value(json_object_get(row, key));
}
static const char *text_in(const json_t *row, const char *key) {
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static int count_rows(const json_t *rows, const char *kind) {
    int count = 0;
    for (size_t i = 0; i < json_array_size(rows); i++)
        count += strcmp(text_in(json_array_get(rows, i), "trace"), kind) == 0;
    return count;
}

static json_t *find_row(const json_t *rows, const char *kind) {
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (strcmp(text_in(json_array_get(rows, i), "trace"), kind) == 0) return json_array_get(rows, i);
    ck_abort_msg("there is no row of %s", kind);
    return NULL;
}

/* --- real jobs ------------------------------------------------------------------------------------------ */

static void check_missing(const json_t *rows, int rank, int last) {
    const json_t *row = find_row(rows, "missing");
    ck_assert_int_eq(count_rows(rows, "missing"), 1);
    ck_assert_int_eq(number_in(row, "rank"), rank);
    ck_assert_int_eq(number_in(row, "last_number"), last);
    ck_assert_int_eq(number_in(row, "number"), last + 1);
    ck_assert_str_eq(text_in(row, "call"), "all_reduce(sum) of 5 f64");
    ck_assert_int_eq((int)json_array_size(json_object_get(row, "waiting")), 2);
}

START_TEST(a_rank_that_hangs_is_named_with_the_call_it_should_have_made) {
    RUN(l, "-n", "3", "--trace-dir", folder, "--stall-timeout", "700ms", "--shutdown-timeout", "1s", "--",
        RANKS, "*", "join", "*", "reduce:4", "2", "hang", "*", "sum:5");
    ck_contains(l.errors, "tandem trace /tmp/tandem-trace-");
    launch_free(&l);
    json_t *rows = trace(1);
    check_missing(rows, 2, 4);
    ck_assert_int_eq(count_rows(rows, "rank"), 3);
    ck_assert_int_eq(count_rows(rows, "mismatch"), 0);
    ck_assert_ptr_nonnull(strstr(text_in(find_row(rows, "broken"), "cause"), "for rank 2"));
    json_decref(rows);
}
END_TEST

START_TEST(a_killed_rank_is_named_from_what_it_left_in_shared_memory) {
    RUN(l, "-n", "3", "--trace-dir", folder, "--", RANKS, "*", "join", "*", "reduce:4", "1", "sleep:100", "1",
        "kill:9", "*", "sum:5");
    ck_code(&l, 137);
    launch_free(&l);
    json_t *rows = trace(1);
    check_missing(rows, 1, 4);
    json_decref(rows);
}
END_TEST

START_TEST(calls_that_differ_are_told_with_both_ranks) {
    RUN(l, "-n", "3", "--trace-dir", folder, "--", RANKS, "*", "join", "*", "reduce:4", "1", "sum:6", "0",
        "sum:5", "2", "sum:5");
    launch_free(&l);
    json_t *rows = trace(1);
    const json_t *row = find_row(rows, "mismatch");
    ck_assert_int_eq(number_in(row, "number"), 5);
    ck_assert_int_eq(number_in(row, "rank"), 0);
    ck_assert_int_eq(number_in(row, "other_rank"), 1);
    ck_assert_str_eq(text_in(row, "call"), "all_reduce(sum) of 5 f64");
    ck_assert_str_eq(text_in(row, "other_call"), "all_reduce(sum) of 6 f64");
    json_decref(rows);
}
END_TEST

/* Slices of one track must lie in one another or apart; Perfetto drops others. */
static void check_chrome(int ranks, int calls) {
    json_t *all = json_load_file(chrome, 0, NULL), *event;
    double begins[16] = {0}, ends[16] = {0}; /* of the last slice of each rank that is no "waiting" */
    int slices = 0, named = 0, waits = 0;
    size_t i;
    json_array_foreach(json_object_get(all, "traceEvents"), i, event) {
        int rank = (int)number_in(event, "pid");
        const char *phase = text_in(event, "ph");
        named += strcmp(text_in(event, "name"), "process_name") == 0;
        if (strcmp(phase, "X") != 0) continue;
        double at = json_real_value(json_object_get(event, "ts")),
               took = json_real_value(json_object_get(event, "dur"));
        ck_assert_double_ge(took, 0);
        if (strcmp(text_in(event, "name"), "waiting") == 0) {
            waits++;
            ck_assert(at >= begins[rank] && at + took <= ends[rank] + 0.001);
        } else {
            slices++;
            ck_assert_double_ge(at, ends[rank] - 0.001);
            begins[rank] = at;
            ends[rank] = at + took;
        }
    }
    ck_assert_int_eq(named, ranks);
    ck_assert_int_eq(slices, calls);
    ck_assert_int_gt(waits, 0);
    json_decref(all);
}

START_TEST(a_running_job_is_looked_at_without_disturbing_it) {
    char pid[16];
    launch l = START("-n", "3", "--", RANKS, "*", "join", "*", "reduce:4", "0", "sleep:60", "*", "reduce:1",
                     "*", "hang");
    for (int i = 0; i < 6; i++) launch_expect(&l, "sum 3");
    usleep(200000);
    snprintf(pid, sizeof pid, "%d", (int)l.pid);
    launch look = launch_start_with((launch_setup){0},
                                    (const char *[]){TANDEM, "trace", "--live", pid, "--into", folder, NULL});
    launch_finish(&look);
    ck_code(&look, 0);
    ck_contains(look.output, "all ranks made the same calls");
    ck_contains(look.output, "one rank alone:\n  rank 0: "); /* it came some 60 ms late */
    launch_free(&look);
    kill(l.pid, SIGTERM);
    launch_finish(&l);
    launch_free(&l);
    json_t *rows = trace(0);
    const json_t *row = find_row(rows, "straggler");
    ck_assert_int_eq(number_in(row, "rank"), 0);
    ck_assert_double_gt(json_real_value(json_object_get(row, "seconds")), 0.04);
    ck_assert_int_eq(number_in(row, "number"), 5);
    json_decref(rows);
    check_chrome(3, 15);
}
END_TEST

START_TEST(a_job_that_ends_well_writes_nothing) {
    RUN(l, "-n", "2", "--trace-dir", folder, "--", RANKS, "*", "join", "*", "reduce:4", "*", "leave");
    ck_code(&l, 0);
    launch_free(&l);
    launch t = launch_start_with((launch_setup){0}, (const char *[]){TANDEM, "trace", folder, NULL});
    launch_finish(&t);
    ck_code(&t, 2);
    ck_contains(t.errors, "there are no records");
    launch_free(&t);
}
END_TEST

START_TEST(training_has_labels_and_steps) {
    static const char *const labels[][2] = {{"replicated", "ddp bucket 0"}, {"shared", "ddp update"}};
    launch l = launch_start_with((launch_setup){0},
                                 (const char *[]){TANDEM, "train", "-n", "2", "--trace-dir", folder,
                                                  "--model", "mlp", "--batch-size", "8", "--sync",
                                                  labels[_i][0], "--json", "--log-interval", "1", NULL});
    launch_expect(&l, "\"step\":3");
    kill(l.pid, SIGTERM); /* the job fails, so the launcher writes */
    launch_finish(&l);
    launch_free(&l);
    trace_file f;
    char path[128];
    snprintf(path, sizeof path, "%s/tandem-rank-1.jsonl", folder);
    ck_ok(trace_read(path, &f));
    bool found = false;
    for (int i = 0; i < f.call_count; i++)
        found = found || (strcmp(f.calls[i].label, labels[_i][1]) == 0 && f.calls[i].step == 3);
    ck_assert(found);
    trace_clear(&f);
}
END_TEST

/* --- made records --------------------------------------------------------------------------------------- */

/* A record of rank `rank` of two on a machine of its own whose clock is `ahead` ns ahead, `wall` by its wall
 * clock: `calls` barriers, 1 ms apart, the rank `late` ns late in each. */
static trace_file make_record(int rank, int64_t ahead, int64_t wall, int calls, int64_t late) {
    char *text;
    size_t size;
    trace_file f;
    FILE *out = open_memstream(&text, &size);
    fprintf(
        out,
        "{\"tandem_trace\":1,\"rank\":%d,\"world_size\":2,\"node\":%d,\"host\":\"h%d\",\"pid\":1,\"job\":"
        "\"j\","
        "\"attempt\":0,\"reason\":\"\",\"written_by\":-1,\"written_ns\":%lld,\"wall_minus_clock_ns\":%lld,"
        "\"recorded\":%d}\n",
        rank, rank, rank, (long long)(3000000000 + ahead), (long long)wall, calls);
    fprintf(
        out,
        "{\"group\":1,\"ranks\":\"0-1\",\"size\":2,\"rank\":%d,\"backend\":\"mpi\",\"ordinal\":0,\"state\":"
        "\"open\"}\n",
        rank);
    for (int i = 1; i <= calls; i++)
        fprintf(out,
                "{\"call\":%d,\"group\":1,\"kind\":\"barrier\",\"op\":\"\",\"dtype\":\"\",\"count\":0,"
                "\"root\":-1,"
                "\"state\":\"done\",\"step\":0,\"posted\":%lld,\"done\":%lld}\n",
                i, (long long)(i * INT64_C(1000000) + ahead + late),
                (long long)(i * INT64_C(1000000) + ahead + 50000));
    fprintf(out, "{\"end\":%d}\n", calls);
    fclose(out);
    ck_ok(trace_parse(text, size, "made", &f));
    free(text);
    return f;
}

START_TEST(clocks_of_two_machines_are_set_by_common_calls) {
    /* Rank 1's clock began 5 s earlier, and its wall clock is 3 ms off. */
    trace_file files[2] = {make_record(1, 5000000000, 995003000000, 9, 20000),
                           make_record(0, 0, 1000000000000, 9, 0)};
    trace_job job;
    ck_ok(trace_merge(files, 2, &job));
    ck_assert_int_eq(job.files[0].rank, 0);
    ck_assert_int_eq(job.files[1].shift_ns, -5000000000);
    ck_assert_int_eq(trace_all_came(&job.groups[0], 3), 3020000);
    trace_job_clear(&job);
    trace_clear(&files[0]);
    trace_clear(&files[1]);
}
END_TEST

START_TEST(a_rank_without_a_record_is_missed) {
    trace_file file = make_record(0, 0, 0, 3, 0);
    trace_job job;
    bool wrong;
    char *text;
    size_t size;
    file.calls[2].state = TRACE_POSTED; /* and waits there for almost 3 s */
    ck_ok(trace_merge(&file, 1, &job));
    FILE *out = open_memstream(&text, &size);
    ck_ok(trace_report(&job, false, out, &wrong));
    fclose(out);
    ck_assert(wrong);
    ck_contains(text, "rank 1: no record");
    ck_contains(text,
                "rank 1 left no record; it may be missing in call 3 of the group of ranks 0-1: barrier");
    free(text);
    trace_job_clear(&job);
    trace_clear(&file);
}
END_TEST

START_TEST(records_that_do_not_belong_together_are_refused) {
    trace_file files[2] = {make_record(0, 0, 0, 1, 0), make_record(0, 0, 0, 1, 0)};
    trace_job job;
    ck_fails(trace_merge(files, 2, &job), TD_ERR_ARG, "both of rank 0");
    files[1].rank = 1;
    strcpy(files[1].job, "other");
    ck_fails(trace_merge(files, 2, &job), TD_ERR_ARG, "not of the same job");
    strcpy(files[1].job, "j");
    ck_fails(trace_merge(files, 2, &job), TD_ERR_ARG, "both claim rank 0 of the group");
    trace_clear(&files[0]);
    trace_clear(&files[1]);
}
END_TEST

START_TEST(ranks_behind_a_list_are_found) {
    trace_merged g = {.ranks = "0-2,7,9-10"};
    const int expected[] = {0, 1, 2, 7, 9, 10, -1};
    for (int i = 0; i < 7; i++) ck_assert_int_eq(trace_job_rank(&g, i), expected[i]);
    strcpy(g.ranks, "4-5,...");
    ck_assert_int_eq(trace_job_rank(&g, 1), 5);
    ck_assert_int_eq(trace_job_rank(&g, 2), -1);
}
END_TEST

static void *read_sample(size_t *size) {
    void *bytes;
    ck_ok(td_file_read(TD_TEST_DATA "/fuzz/corpus/trace/mismatch", 0, &bytes, size));
    return bytes;
}

START_TEST(a_record_cut_anywhere_is_refused) {
    size_t size;
    char *bytes = read_sample(&size);
    trace_file f;
    ck_ok(trace_parse(bytes, size, "sample", &f));
    ck_assert_int_eq(f.call_count, 3);
    trace_clear(&f);
    for (size_t cut = 0; cut < size; cut++) {
        char *exact = malloc(cut + 1); /* so that a sanitizer sees a read behind it */
        memcpy(exact, bytes, cut);
        ck_fails(trace_parse(exact, cut, "sample", &f), TD_ERR_FORMAT, "sample, line ");
        free(exact);
    }
    td_free(bytes);
}
END_TEST

START_TEST(a_flipped_bit_harms_nobody) {
    size_t size;
    char *bytes = read_sample(&size);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        trace_file f = {0};
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        td_status status = trace_parse(bytes, size, "sample", &f);
        ck_assert(status == TD_OK || status == TD_ERR_FORMAT);
        trace_clear(&f);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    td_free(bytes);
}
END_TEST

START_TEST(each_failing_allocation_is_survived) {
    size_t size;
    char *bytes = read_sample(&size);
    for (long k = 0;; k++) {
        trace_file f = {0};
        trace_job job = {0};
        bool wrong;
        FILE *nowhere = fopen("/dev/null", "w");
        td_alloc_fail_after(k);
        td_status status = trace_parse(bytes, size, "sample", &f);
        if (status == TD_OK) status = trace_merge(&f, 1, &job);
        if (status == TD_OK) status = trace_report(&job, false, nowhere, &wrong);
        if (status == TD_OK) status = trace_write_chrome(&job, "/dev/null");
        td_alloc_fail_after(-1);
        trace_job_clear(&job);
        trace_clear(&f);
        fclose(nowhere);
        if (status == TD_OK) break;
        ck_assert_int_eq(status, TD_ERR_MEMORY);
        ck_assert_int_lt(k, 50);
    }
    td_free(bytes);
}
END_TEST

static const struct {
    const char *text, *says;
} damaged[] = {
    {"", "line 1: the file is empty"},
    {"{}\n", "line 1: this is no record of a Tandem rank"},
    {"[1]\n", "line 1: this is no JSON object"},
    {"not JSON\n", "line 1: this is no JSON object"},
    {"{\"tandem_trace\":2}\n", "newer version"},
    {"{\"tandem_trace\":1,\"world_size\":\"x\"}\n", "\"world_size\" is no number"},
    {"{\"tandem_trace\":1,\"world_size\":0}\n", "\"world_size\" is out of range"},
    {"{\"tandem_trace\":1,\"world_size\":2,\"rank\":2}\n", "\"rank\" is out of range"},
    {"{\"tandem_trace\":1,\"world_size\":2}\n", "\"rank\" is missing"},
};

START_TEST(what_is_wrong_with_a_record_is_said) {
    trace_file f;
    ck_fails(trace_parse(damaged[_i].text, strlen(damaged[_i].text), "bad", &f), TD_ERR_FORMAT,
             damaged[_i].says);
}
END_TEST

static const struct {
    const char *arguments[3], *says;
} misused[] = {
    {{NULL}, "which records?"},
    {{"/none"}, "cannot read /none"},
    {{"/tmp/../tmp/.."}, "there are no records"},
    {{"--live", "1073741823"}, "process 1073741823"},
};

START_TEST(wrong_usage_is_told) {
    const char *argv[8] = {TANDEM, "trace"};
    for (int i = 0; i < 3 && misused[_i].arguments[i]; i++) argv[2 + i] = misused[_i].arguments[i];
    launch l = launch_start_with((launch_setup){0}, argv);
    launch_finish(&l);
    ck_code(&l, 2);
    ck_contains(l.errors, misused[_i].says);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    const TTest *const tests[] = {a_rank_that_hangs_is_named_with_the_call_it_should_have_made,
                                  a_killed_rank_is_named_from_what_it_left_in_shared_memory,
                                  calls_that_differ_are_told_with_both_ranks,
                                  a_running_job_is_looked_at_without_disturbing_it,
                                  a_job_that_ends_well_writes_nothing,
                                  clocks_of_two_machines_are_set_by_common_calls,
                                  a_rank_without_a_record_is_missed,
                                  records_that_do_not_belong_together_are_refused,
                                  ranks_behind_a_list_are_found,
                                  a_record_cut_anywhere_is_refused,
                                  a_flipped_bit_harms_nobody,
                                  each_failing_allocation_is_survived};
    Suite *suite = suite_create("trace");
    TCase *tcase = tcase_create("trace");
    tcase_add_checked_fixture(tcase, make_folder, remove_folder);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(tcase, tests[i]);
    tcase_add_loop_test(tcase, training_has_labels_and_steps, 0, 2);
    tcase_add_loop_test(tcase, what_is_wrong_with_a_record_is_said, 0,
                        (int)(sizeof damaged / sizeof *damaged));
    tcase_add_loop_test(tcase, wrong_usage_is_told, 0, (int)(sizeof misused / sizeof *misused));
    suite_add_tcase(suite, tcase);
    return suite;
}
