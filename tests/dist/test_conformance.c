/* The conformance suite on self and shm, as threads and as processes. With CONFORMANCE=full, which the slow suite
 * sets, every pair of size and place. */
#include "dist/conformance.h"
#include "dist/ranks.h"
#include "support/check.h"

static const int rank_counts[] = {1, 2, 3, 4, 5, 6, 7, 8};

static bool is_full(void) {
    const char *how = getenv("CONFORMANCE");
    return how && !strcmp(how, "full");
}

static void conform(td_job *job, void *cookie) {
    conformance_options options = {.full = is_full(), .exact = true, .kind = *(int *)cookie};
    options.ten_million =
        options.full && td_job_world_size(job) % 4 == 2 && options.kind == TD_CALL_ALL_REDUCE;
    char failure[512];
    long cases;
    td_group *group;
    ck_ok(td_group_open(job, NULL, &group));
    if (!conforms(group, &options, failure, &cases)) ck_abort_msg("%s", failure);
    ck_assert(cases > 0 || td_group_size(group) == 1); /* alone there is nobody to send to */
    td_group_close(&group);
}

enum { KINDS = TD_CALL_SEND }; /* barrier stands for nothing, send for the messages */

static int kind_of(int i) { return TD_CALL_ALL_REDUCE + i % KINDS; }

START_TEST(every_collective_equals_its_model_on_threads) {
    int kind = kind_of(_i);
    run_threads(rank_counts[_i / KINDS], conform, &kind);
}
END_TEST

START_TEST(every_collective_equals_its_model_on_processes) {
    int kind = kind_of(_i);
    run_processes(is_full() ? rank_counts[_i / KINDS] : 3, conform, &kind);
}
END_TEST

/* Many more ranks than cores. */
static void conform_crowded(td_job *job, void *cookie) {
    conformance_options options = {.exact = true, .brief = true, .kind = -1};
    char failure[512];
    long cases;
    td_group *group;
    (void)cookie;
    ck_ok(td_group_open(job, &(td_group_options){.stall_timeout = 200}, &group));
    if (!conforms(group, &options, failure, &cases)) ck_abort_msg("%s", failure);
    td_group_close(&group);
}

static const int crowds[] = {9, 16, 31, 64};

START_TEST(many_more_ranks_than_cores_conform) { run_processes(crowds[_i], conform_crowded, NULL); }
END_TEST

static void conform_forced(td_job *job, void *cookie) {
    conformance_options options = {.exact = true, .kind = -1};
    char failure[512];
    long cases;
    td_group *group;
    (void)cookie;
    ck_ok(td_group_open(job, &(td_group_options){.backend = "shm"}, &group));
    if (!conforms(group, &options, failure, &cases)) ck_abort_msg("%s", failure);
    td_group_close(&group);
}

START_TEST(shm_serves_one_rank_too) { run_threads(1, conform_forced, NULL); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("conformance");
    TCase *tcase = tcase_create("conformance");
    tcase_add_loop_test(tcase, every_collective_equals_its_model_on_threads, 0, (is_full() ? 8 : 4) * KINDS);
    tcase_add_loop_test(tcase, every_collective_equals_its_model_on_processes, 0,
                        (is_full() ? 8 : 1) * KINDS);
    tcase_add_loop_test(tcase, many_more_ranks_than_cores_conform, 0, 4);
    tcase_add_test(tcase, shm_serves_one_rank_too);
    suite_add_tcase(suite, tcase);
    return suite;
}
