/* Ranks that are late, slow, out of memory, or never come: nothing is lost, nobody hangs, and what is documented is true. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "dist/conformance.h"
#include "dist/internal.h"
#include "dist/ranks.h"
#include "support/check.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RANKS = 3, ODD = 1, KINDS = TD_CALL_RECV + 1, LARGE = 100000 };

/* How the data of a call travels. */
typedef enum way { SMALL, STAGED, DIRECT, WAYS } way;

typedef struct notes {
    td_call_kind kind;
    way way;
    long k;
    _Atomic int reports[RANKS], status[RANKS], repeated[RANKS];
    char text[RANKS][512];
} notes;

static notes *share_notes(notes n) {
    notes *shared = mmap(NULL, sizeof n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
    *shared = n;
    return shared;
}

/* The call of this rank; rank 0 sends to the odd one, which receives, or the other way round. */
static td_call call_of(td_group *group, const notes *n, void *input, void *output) {
    int rank = td_group_rank(group);
    td_call call = {.kind = n->kind, .input = input, .output = output, .count = n->way == SMALL ? 3 : LARGE};
    if (td_call_traits_of(n->kind)->rooted) call.root = ODD;
    if (!td_call_traits_of(n->kind)->pairs) return call;
    if (n->way == SMALL) call.count = 200; /* not eager */
    if (rank == ODD) call.kind = n->kind == TD_CALL_SEND ? TD_CALL_RECV : TD_CALL_SEND;
    if (rank == ODD) call.root = 0;
    if (rank == 2) call.kind = TD_CALL_COUNT;
    return call;
}

static td_status call_it(td_group *group, const notes *n, void *input, void *output, td_work **work) {
    td_call call = call_of(group, n, input, output);
    return call.kind == TD_CALL_COUNT ? TD_OK : td_group_post(group, &call, work);
}

/* Buffers of a way: input and output. */
static void make_buffers(td_group *group, way where, void *memory[2]) {
    for (int i = 0; i < 2; i++) {
        if (where == DIRECT)
            ck_ok(td_arena_alloc(td_group_arena(group), RANKS * LARGE * sizeof(float), &memory[i]));
        else
            memory[i] = calloc(RANKS * LARGE, sizeof(float));
        for (int k = 0; k < RANKS * LARGE; k++) ((float *)memory[i])[k] = 1;
    }
}

static void drop_buffers(way where, void *memory[2]) {
    for (int i = 0; i < 2 && where != DIRECT; i++) free(memory[i]);
}

static td_call_kind kind_of(int i) { return (td_call_kind)(i % KINDS); }
static way way_of(int i) { return (way)(i / KINDS % WAYS); }

static void count_reports(td_log_level level, const char *origin, const char *text, void *cookie) {
    _Atomic int *reports = cookie;
    (void)origin;
    if (level == TD_LOG_WARN && strstr(text, " has waited ")) (*reports)++;
}

static void come_after_the_notice(td_job *job, void *cookie) {
    notes *n = cookie;
    int rank = td_job_rank(job);
    td_group *group;
    void *data[2];
    td_log_set_hook(count_reports, TD_LOG_WARN, &n->reports[rank]);
    for (int r = 0; r < RANKS && rank == ODD; r++) eventually(r == ODD || n->reports[r]);
    ck_ok(td_group_open(job, &(td_group_options){.stall_report = 0.1, .stall_timeout = 20}, &group));
    make_buffers(group, n->way, data);
    ck_ok(td_group_barrier(group, NULL));
    int before[RANKS];
    for (int r = 0; r < RANKS; r++) before[r] = n->reports[r];
    for (int r = 0; r < RANKS && rank == ODD; r++) eventually(r == ODD || n->reports[r] > before[r]);
    ck_ok(call_it(group, n, data[0], data[1], NULL));
    ck_ok(td_group_barrier(group, NULL)); /* where sender and root, who need nobody, wait too */
    ck_ok(call_it(group, n, data[0], data[1], NULL));
    ck_ok(td_group_barrier(group, NULL));
    drop_buffers(n->way, data);
    td_group_close(&group);
}

START_TEST(a_rank_that_comes_after_the_notice_is_in_time) {
    run_processes(RANKS, come_after_the_notice, share_notes((notes){.kind = kind_of(_i), .way = way_of(_i)}));
}
END_TEST

static void be_slow(td_job *job, void *cookie) {
    conformance_options options = {.exact = true, .kind = *(int *)cookie};
    char failure[512];
    long cases;
    td_group *group;
    tormentor *t = td_job_rank(job) == ODD ? torment(1 + (unsigned)options.kind) : NULL;
    ck_ok(td_group_open(job, NULL, &group));
    bool right = conforms(group, &options, failure, &cases);
    if (t) relieve(t);
    ck_assert_msg(right, "%s", failure);
    td_group_close(&group);
}

START_TEST(a_rank_that_is_stopped_now_and_then_changes_no_result) {
    int kind = TD_CALL_ALL_REDUCE + _i;
    run_processes(RANKS, be_slow, &kind);
}
END_TEST

/* The k-th allocation within the call fails. A call that says so was not posted: it is made again. Unless the group
 * is broken by it: then it says so again, and the others know. */
static void run_out_of_memory(td_job *job, void *cookie) {
    notes *n = cookie;
    td_group *group;
    void *data[2];
    td_work *work = NULL;
    ck_ok(td_group_open(job, &(td_group_options){.stall_timeout = 20}, &group));
    make_buffers(group, n->way, data);
    int rank = td_group_rank(group);
    ck_ok(td_group_barrier(group, NULL));
    if (rank == ODD) td_alloc_fail_after(n->k);
    td_status status = call_it(group, n, data[0], data[1], &work);
    td_alloc_fail_after(-1);
    if (status == TD_ERR_MEMORY) {
        n->repeated[rank]++;
        status = call_it(group, n, data[0], data[1], &work);
    }
    if (status >= 0 && work) status = td_work_wait(work);
    td_work_release(&work);
    if (status >= 0) status = td_group_barrier(group, NULL);
    n->status[rank] = status;
    snprintf(n->text[rank], sizeof n->text[rank], "%s", td_error_last()->text);
    if (status < 0) ck_assert_int_eq(td_group_barrier(group, NULL), status);
    drop_buffers(n->way, data);
    td_group_close(&group);
}

/* All ranks go on, or all know that the group is broken for want of memory. */
static void check_agreement(const notes *n) {
    for (int r = 0; r < RANKS; r++) {
        ck_assert_msg((n->status[r] < 0) == (n->status[ODD] < 0), "%s, k %ld: rank %d: %d %s; rank %d: %d",
                      td_call_name(n->kind), n->k, r, n->status[r], n->text[r], ODD, n->status[ODD]);
        ck_assert_msg(n->status[r] >= 0 || n->status[r] == TD_ERR_MEMORY ||
                          strstr(n->text[r], "rank 1 gave up"),
                      "%s", n->text[r]);
    }
}

START_TEST(any_collective_may_run_out_of_memory) {
    for (long k = 0; k < 3; k++) {
        notes *n = share_notes((notes){.kind = kind_of(_i), .way = way_of(_i), .k = k});
        run_processes(RANKS, run_out_of_memory, n);
        check_agreement(n);
        ck_assert(k > 0 || n->repeated[ODD] == 1); /* the work itself */
        if (!n->repeated[ODD]) return;
    }
}
END_TEST

/* What is made of several calls. */
static td_status do_larger_thing(td_group *group, int thing) {
    enum { CALLS = 4 };
    float x[CALLS] = {0};
    td_call calls[CALLS];
    td_group *part = NULL;
    td_status status = TD_OK;
    void *bytes = td_group_rank(group) == 0 ? x : NULL, *block;
    size_t size = sizeof x;
    switch (thing) {
    case 0:
        for (int i = 0; i < CALLS; i++)
            calls[i] = (td_call){.kind = TD_CALL_ALL_REDUCE, .input = &x[i], .output = &x[i], .count = 1};
        return td_group_post_list(group, calls, CALLS, NULL);
    case 1:
        status = td_group_broadcast_object(group, &bytes, &size, 0);
        if (status >= 0 && td_group_rank(group) != 0) td_free(bytes);
        return status;
    case 2: status = td_group_split(group, 0, 0, &part); break;
    case 3: status = td_group_new(group, (const int[]){2, 1, 0}, RANKS, &part); break;
    default: return td_arena_alloc(td_group_arena(group), 1000, &block);
    }
    if (status >= 0) status = td_group_barrier(part, NULL);
    td_group_close(&part);
    return status;
}
enum { THINGS = 5 };

static void run_out_of_memory_in_larger_things(td_job *job, void *cookie) {
    notes *n = cookie;
    td_group *group;
    ck_ok(td_group_open(job, &(td_group_options){.stall_timeout = 20}, &group));
    int rank = td_group_rank(group);
    ck_ok(td_group_barrier(group, NULL));
    if (rank == ODD) td_alloc_fail_after(n->k);
    td_status status = do_larger_thing(group, (int)n->kind);
    td_alloc_fail_after(-1);
    if (status == TD_ERR_MEMORY && rank == ODD) n->repeated[rank]++;
    if (status < 0 &&
        (rank == ODD || n->kind == 2 || n->kind == 3)) /* no rank has a new group if one could not */
        status = do_larger_thing(group, (int)n->kind);
    if (status >= 0) status = td_group_barrier(group, NULL);
    n->status[rank] = status;
    snprintf(n->text[rank], sizeof n->text[rank], "%s", td_error_last()->text);
    td_group_close(&group);
}

START_TEST(what_is_made_of_several_calls_may_run_out_of_memory) {
    long k = 0;
    for (bool failed = true; failed; k++) {
        notes *n = share_notes((notes){.kind = (td_call_kind)_i, .k = k});
        run_processes(RANKS, run_out_of_memory_in_larger_things, n);
        check_agreement(n);
        failed = n->repeated[ODD];
    }
    ck_assert_int_gt(k, 1);
}
END_TEST

/* The table of the shared memory's blocks is full, so no rank can have staging slots. */
static void find_shared_memory_full(td_job *job, void *cookie) {
    notes *n = cookie;
    td_group *group;
    void *data[2];
    td_segment *segment;
    uint64_t offset;
    ck_ok(td_group_open(job, &(td_group_options){.stall_timeout = 20}, &group));
    make_buffers(group, STAGED, data);
    int rank = td_group_rank(group);
    ck_ok(td_job_segment(job, 1, &segment));
    if (rank == ODD)
        for (int i = 0; td_segment_alloc(segment, 1, &offset) >= 0; i++) ck_assert_int_lt(i, 5000);
    ck_ok(td_group_barrier(group, NULL));
    td_status status = call_it(group, n, data[0], data[1], NULL);
    if (status >= 0) status = td_group_barrier(group, NULL);
    ck_assert_msg(status == TD_ERR_MEMORY && strstr(td_error_last()->text, "all 1024 places"), "%s: %s",
                  td_call_name(n->kind), td_error_last()->text);
    ck_fails(td_group_barrier(group, NULL), TD_ERR_MEMORY, "all 1024 places");
    drop_buffers(STAGED, data);
    td_group_close(&group);
}

START_TEST(shared_memory_may_be_full_in_any_collective) {
    if (_i == TD_CALL_BARRIER) return;
    run_processes(RANKS, find_shared_memory_full, share_notes((notes){.kind = kind_of(_i), .way = STAGED}));
}
END_TEST

/* One rank never splits. */
static void wait_for_a_split(td_job *job, void *cookie) {
    td_group *group, *part = NULL;
    int64_t start;
    (void)cookie;
    ck_ok(td_group_open(job, &(td_group_options){.stall_timeout = 0.4}, &group));
    ck_ok(td_group_barrier(group, NULL));
    if (td_group_rank(group) == ODD) {
        usleep(1000000);
    } else {
        start = td_clock_ns();
        ck_fails(td_group_split(group, 0, 0, &part), TD_ERR_TIMEOUT, "for rank 1; its last call was barrier");
        ck_assert_double_lt((double)(td_clock_ns() - start) * 1e-9, 5); /* a loaded machine */
        ck_assert_ptr_null(part);
    }
    td_group_close(&group);
}

START_TEST(a_split_waits_no_longer_than_other_calls) { run_threads(RANKS, wait_for_a_split, NULL); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("late");
    TCase *tcase = tcase_create("late");
    tcase_add_loop_test(tcase, a_rank_that_comes_after_the_notice_is_in_time, 0, KINDS * WAYS);
    tcase_add_loop_test(tcase, a_rank_that_is_stopped_now_and_then_changes_no_result, 0, TD_CALL_SEND);
    tcase_add_loop_test(tcase, any_collective_may_run_out_of_memory, 0, KINDS * WAYS);
    tcase_add_loop_test(tcase, what_is_made_of_several_calls_may_run_out_of_memory, 0, THINGS);
    tcase_add_loop_test(tcase, shared_memory_may_be_full_in_any_collective, 0, KINDS);
    tcase_add_test(tcase, a_split_waits_no_longer_than_other_calls);
    suite_add_tcase(suite, tcase);
    return suite;
}
