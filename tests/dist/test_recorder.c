/* What ranks called is on record, also of those that were killed or stopped, and is written whole or not at all. */
#include "base/file.h"
#include "base/memory.h"
#include "dist/internal.h"
#include "dist/job_mark.h"
#include "dist/ranks.h"
#include "dist/recorder.h"
#include "dist/recorder_ring.h"
#include "support/check.h"

#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static char folder[64];

static void make_folder(void) {
    strcpy(folder, "/tmp/tandem-trace-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int files_in_folder(void) {
    int count = 0;
    DIR *dir = opendir(folder);
    while (readdir(dir)) count++;
    closedir(dir);
    return count - 2;
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* The lines of a rank's file; the last one has been seen to count the calls. */
static json_t *read_lines(int rank) {
    char path[128], *state;
    void *data;
    size_t bytes;
    snprintf(path, sizeof path, "%s/tandem-rank-%d.jsonl", folder, rank);
    ck_ok(td_file_read(path, 0, &data, &bytes));
    json_t *lines = json_array();
    for (char *line = strtok_r(data, "\n", &state); line; line = strtok_r(NULL, "\n", &state))
        ck_assert_int_eq(json_array_append_new(lines, json_loads(line, 0, NULL)), 0);
    td_free(data);
    size_t n = json_array_size(lines);
    json_t *end = json_object_get(json_array_get(lines, n - 1), "end");
    int calls = 0;
    for (size_t i = 0; i < n; i++) calls += json_object_get(json_array_get(lines, i), "call") != NULL;
    ck_assert_int_eq(json_integer_value(end), calls);
    return lines;
}

static int64_t number_in(const json_t *line, const char *key) {
    return json_integer_value(json_object_get(line, key));
}
static const char *text_in(const json_t *line, const char *key) {
    const char *text = json_string_value(json_object_get(line, key));
    return text ? text : "";
}

/* The k-th line that has `key`, from 0; or counted from the last, from -1. */
static json_t *find_line(const json_t *lines, const char *key, int k) {
    int n = (int)json_array_size(lines), seen = 0;
    for (int i = 0; i < n; i++) {
        json_t *line = json_array_get(lines, (size_t)(k < 0 ? n - 1 - i : i));
        if (json_object_get(line, key) && seen++ == (k < 0 ? -1 - k : k)) return line;
    }
    ck_abort_msg("there is no line %d with %s", k, key);
    return NULL;
}

static void call_some(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group = NULL;
    static float many[2][100000];
    int64_t one = 1;
    ck_ok(td_group_open(job, NULL, &group));
    int rank = td_group_rank(group);
    td_job_progress(job, TD_PHASE_TRAINING, 7);
    ck_ok(td_group_barrier(group, NULL));
    ck_ok(td_group_all_reduce(group, many[rank], 100000, TD_DTYPE_F32, TD_REDUCE_AVG, CPU, NULL, NULL));
    td_work *work = NULL;
    td_job_progress(job, TD_PHASE_TRAINING, 8);
    if (rank == 1) usleep(20000);
    ck_ok(td_group_broadcast(group, &one, 1, TD_DTYPE_I64, 1, CPU, NULL, &work));
    ck_ok(td_work_wait(work));
    td_work_release(&work);
    ck_ok(td_job_dump(job, folder, false, "a \"reason\"\n"));
    td_group_close(&group);
}

START_TEST(calls_are_on_record_as_they_were) {
    run_threads(2, call_some, NULL);
    int64_t posted[2];
    for (int r = 0; r < 2; r++) {
        json_t *lines = read_lines(r), *head = json_array_get(lines, 0);
        ck_assert_int_eq(number_in(head, "tandem_trace"), 1);
        ck_assert_int_eq(number_in(head, "rank"), r);
        ck_assert_int_eq(number_in(head, "world_size"), 2);
        ck_assert_int_eq(number_in(head, "pid"), getpid());
        ck_assert_int_eq(number_in(head, "written_by"), r);
        ck_assert_str_eq(text_in(head, "reason"), "a \"reason\"?");
        json_t *group = find_line(lines, "ranks", 0);
        ck_assert_str_eq(text_in(group, "ranks"), "0-1");
        ck_assert_str_eq(text_in(group, "backend"), "shm");
        ck_assert_str_eq(text_in(group, "state"), "open");
        static const struct {
            const char *kind, *op, *dtype;
            int count, root, step;
        } expected[] = {{"barrier", "", "", 0, -1, 7},
                        {"all_reduce", "avg", "f32", 100000, -1, 7},
                        {"broadcast", "", "i64", 1, 1, 8}};
        int64_t before = 0;
        for (int k = 0; k < 3; k++) {
            json_t *call = find_line(lines, "call", k);
            ck_assert_int_eq(number_in(call, "call"), k + 1);
            ck_assert_str_eq(text_in(call, "kind"), expected[k].kind);
            ck_assert_str_eq(text_in(call, "op"), expected[k].op);
            ck_assert_str_eq(text_in(call, "dtype"), expected[k].dtype);
            ck_assert_int_eq(number_in(call, "count"), expected[k].count);
            ck_assert_int_eq(number_in(call, "root"), expected[k].root);
            ck_assert_int_eq(number_in(call, "step"), expected[k].step);
            ck_assert_str_eq(text_in(call, "state"), "done");
            ck_assert_int_ge(number_in(call, "posted"), before);
            ck_assert_int_ge(number_in(call, "done"), number_in(call, "posted"));
            before = number_in(call, "done");
        }
        ck_assert_int_ge(number_in(head, "written_ns"), before);
        posted[r] = number_in(find_line(lines, "call", 2), "posted");
        json_decref(lines);
    }
    ck_assert_int_ge(posted[1] - posted[0], 10000000); /* it slept 20 ms */
}
END_TEST

static void call_often(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group = NULL;
    ck_ok(td_group_open(job, NULL, &group));
    for (int i = 0; i < 3000; i++) ck_ok(td_group_barrier(group, NULL));
    if (td_group_rank(group) == 0) ck_ok(td_job_dump(job, folder, true, "")); /* writes the other's too */
    ck_ok(td_group_barrier(group, NULL));
    td_group_close(&group);
}

START_TEST(the_newest_are_kept) {
    run_threads(2, call_often, NULL);
    json_t *lines = read_lines(0);
    ck_assert_int_eq(number_in(find_line(lines, "call", 0), "call"), 3000 - TD_RECORDS + 1);
    ck_assert_int_eq(number_in(find_line(lines, "call", -1), "call"), 3000);
    ck_assert_int_eq(number_in(json_array_get(lines, 0), "recorded"), 3000);
    json_decref(lines);
    lines = read_lines(1);
    ck_assert_int_ge(number_in(find_line(lines, "call", -1), "call"), 3000);
    ck_assert_int_eq(number_in(json_array_get(lines, 0), "written_by"), 0);
    json_decref(lines);
}
END_TEST

static void open_many(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group = NULL, *second = NULL;
    for (int i = 0; i < 3 * TD_RECORD_GROUPS; i++) {
        ck_ok(td_group_open(job, NULL, &group));
        td_group_close(&group);
    }
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_group_open(job, NULL, &second));
    ck_ok(td_group_barrier(second, NULL));
    ck_ok(td_job_dump(job, folder, false, ""));
    td_group_close(&second);
    td_group_close(&group);
}

START_TEST(each_group_has_a_number_that_all_its_ranks_know) {
    run_threads(2, open_many, NULL);
    for (int r = 0; r < 2; r++) {
        json_t *lines = read_lines(r);
        int64_t serial = number_in(find_line(lines, "call", -1), "group");
        bool found = false;
        for (int k = 0; k < TD_RECORD_GROUPS; k++) {
            json_t *group = find_line(lines, "ranks", k);
            if (number_in(group, "group") != serial) continue;
            found = true;
            ck_assert_int_eq(number_in(group, "ordinal"), 3 * TD_RECORD_GROUPS + 1);
        }
        ck_assert(found);
        json_decref(lines);
    }
}
END_TEST

/* --- written by itself ---------------------------------------------------------------------------------- */

static void lose_rank_1(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group = NULL;
    strcpy(job->facts.trace_dir, folder);
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_group_barrier(group, NULL));
    if (td_group_rank(group) == 1) raise(SIGKILL);
    ck_assert_int_eq(td_group_barrier(group, NULL), TD_ERR_PEER);
    td_group_close(&group);
}

START_TEST(a_killed_rank_leaves_its_record_too) {
    run_processes_but(3, lose_rank_1, NULL, 1 << 1, NULL);
    for (int r = 0; r < 3; r++) {
        json_t *lines = read_lines(r), *last = find_line(lines, "call", -1);
        ck_assert_int_eq(number_in(last, "call"), r == 1 ? 1 : 2);
        ck_assert((strcmp(text_in(last, "state"), "done") == 0) ==
                  (r == 1)); /* "posted", or "failed" by now */
        ck_assert_ptr_nonnull(strstr(text_in(json_array_get(lines, 0), "reason"), "rank 1"));
        if (r != 1) ck_assert_str_eq(text_in(find_line(lines, "ranks", 0), "state"), "broken");
        json_decref(lines);
    }
    ck_assert_int_eq(files_in_folder(), 3);
}
END_TEST

static void disagree(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group = NULL;
    float x[2] = {0};
    strcpy(job->facts.trace_dir, folder);
    ck_ok(td_group_open(job, NULL, &group));
    size_t count = td_group_rank(group) == 1 ? 2 : 1;
    ck_assert_int_eq(td_group_all_reduce(group, x, count, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, NULL),
                     TD_ERR_MISMATCH);
    td_group_close(&group);
}

START_TEST(calls_that_differ_are_both_on_record) {
    run_processes(2, disagree, NULL);
    for (int r = 0; r < 2; r++) {
        json_t *lines = read_lines(r);
        ck_assert_int_eq(number_in(find_line(lines, "call", 0), "count"), r + 1);
        json_decref(lines);
    }
}
END_TEST

static void wait_for_stopped(td_job *job, void *cookie) {
    _Atomic int *stopped = cookie;
    td_group *group = NULL;
    strcpy(job->facts.trace_dir, folder);
    ck_ok(td_group_open(job, &(td_group_options){.stall_report = 0.2}, &group));
    ck_ok(td_group_barrier(group, NULL));
    if (td_group_rank(group) == 1) {
        *stopped = getpid();
        raise(SIGSTOP);
    }
    ck_ok(td_group_barrier(group, NULL));
    td_group_close(&group);
}

static _Atomic int *share_number(void) {
    void *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(place, MAP_FAILED);
    return place;
}

START_TEST(who_waits_writes_the_record_of_a_stopped_rank) {
    _Atomic int *stopped = share_number();
    pid_t pids[2];
    int arena;
    ck_ok(td_job_make_arena(&arena));
    for (int r = 0; r < 2; r++) pids[r] = start_rank(r, 2, arena, -1, wait_for_stopped, (void *)stopped);
    eventually(files_in_folder() == 2);
    usleep(50000); /* a temporary file may have been counted */
    json_t *lines = read_lines(1);
    ck_assert_int_eq(number_in(find_line(lines, "call", -1), "call"), 1);
    ck_assert_ptr_nonnull(strstr(text_in(json_array_get(lines, 0), "reason"), "barrier"));
    json_decref(lines);
    kill(*stopped, SIGCONT);
    for (int r = 0; r < 2; r++) ck_assert_int_eq(reap(pids[r]), 0);
    close(arena);
}
END_TEST

static void hang(td_job *job, void *cookie) {
    _Atomic int *ready = cookie;
    td_group *group = NULL;
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_group_barrier(group, NULL));
    ++*ready;
    for (;;) pause();
}

START_TEST(a_running_job_can_be_looked_at) {
    _Atomic int *ready = share_number();
    pid_t pids[2];
    int arena, files = 0;
    ck_ok(td_job_make_arena(&arena));
    for (int r = 0; r < 2; r++) pids[r] = start_rank(r, 2, arena, -1, hang, (void *)ready);
    eventually(*ready == 2);
    ck_ok(td_trace_live(pids[1], folder, &files));
    ck_assert_int_eq(files, 2);
    for (int r = 0; r < 2; r++) {
        json_t *lines = read_lines(r);
        ck_assert_int_eq(number_in(find_line(lines, "call", -1), "call"), 1);
        ck_assert_int_eq(number_in(json_array_get(lines, 0), "written_by"), -1);
        json_decref(lines);
        kill(pids[r], SIGKILL);
        reap(pids[r]);
    }
    close(arena);
}
END_TEST

START_TEST(a_process_without_ranks_is_refused) {
    int files = -1, arena;
    ck_fails(td_trace_live(getpid(), folder, &files), TD_ERR_STATE, "is no rank");
    ck_ok(td_job_make_arena(&arena)); /* one that nobody has used */
    ck_fails(td_trace_live(getpid(), folder, &files), TD_ERR_FORMAT, "no shared memory");
    ck_assert_int_eq(ftruncate(arena, 1 << 20), 0);
    ck_fails(td_trace_live(getpid(), folder, &files), TD_ERR_FORMAT, "layout 0");
    close(arena);
    ck_fails(td_trace_live(1 << 30, folder, &files), TD_ERR_SYSTEM, "process 1073741824");
    ck_assert_int_eq(files, -1);
    ck_assert_int_eq(files_in_folder(), 0);
}
END_TEST

/* --- what is missing ------------------------------------------------------------------------------------ */

static void write_nowhere(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group = NULL;
    ck_fails(td_job_dump(job, folder, false, ""), TD_ERR_STATE, "has had no group");
    strcpy(job->facts.trace_dir, "/proc/none");
    ck_ok(td_group_open(job, NULL, &group));
    ck_fails(td_job_dump(job, "/proc/none", false, ""), TD_ERR_SYSTEM, "/proc/none");
    td_group_abort(group, "enough");
    ck_fails(td_group_barrier(group, NULL), TD_ERR_PEER, "enough"); /* the cause is not forgotten over it */
    td_group_close(&group);
}

START_TEST(a_folder_that_cannot_be_written_changes_nothing_else) { run_threads(1, write_nowhere, NULL); }
END_TEST

START_TEST(without_memory_for_it_nothing_is_recorded_and_all_else_works) {
    const char *nothing[] = {NULL};
    bool missed = false;
    for (long k = 0; k < 10 && !missed; k++) {
        td_job *job = NULL;
        td_group *group = NULL;
        ck_ok(open_job(nothing, &job));
        td_alloc_fail_after(k);
        td_status status = td_group_open(job, NULL, &group);
        td_alloc_fail_after(-1);
        if (status >= 0) {
            missed = !job->recorder;
            ck_ok(td_group_barrier(group, NULL));
            if (missed)
                ck_fails(td_job_dump(job, folder, false, ""), TD_ERR_STATE, "nothing has been recorded");
        }
        td_group_close(&group);
        td_job_close(&job);
    }
    ck_assert(missed);
}
END_TEST

Suite *make_suite(void) {
    const TTest *const tests[] = {calls_are_on_record_as_they_were,
                                  the_newest_are_kept,
                                  each_group_has_a_number_that_all_its_ranks_know,
                                  a_killed_rank_leaves_its_record_too,
                                  calls_that_differ_are_both_on_record,
                                  who_waits_writes_the_record_of_a_stopped_rank,
                                  a_running_job_can_be_looked_at,
                                  a_process_without_ranks_is_refused,
                                  a_folder_that_cannot_be_written_changes_nothing_else,
                                  without_memory_for_it_nothing_is_recorded_and_all_else_works};
    Suite *suite = suite_create("recorder");
    TCase *tcase = tcase_create("recorder");
    tcase_add_checked_fixture(tcase, make_folder, remove_folder);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
