/* Ranks that die, stop, leave, disagree or give up: the others are told who and where, and nobody hangs. */
#include "base/clock.h"
#include "base/log.h"
#include "dist/call.h"
#include "dist/control.h"
#include "dist/ranks.h"
#include "support/check.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* What processes tell the test. */
typedef struct notes {
    double seconds[RANKS_MAX];
    char text[RANKS_MAX][512];
    _Atomic int status[RANKS_MAX];
    _Atomic int at[RANKS_MAX]; /* how far a rank has come */
    char log[1024];
} notes;

static notes *share_notes(void) {
    void *place = mmap(NULL, sizeof(notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(place, MAP_FAILED);
    return place;
}

static td_status add_one(td_group *group) {
    float x = 1;
    return td_group_all_reduce(group, &x, 1, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, NULL);
}

/* Call until it fails, then note how, and that the next call fails at once with the same cause. */
static void note_failure(td_group *group, notes *n, td_status status, int64_t since) {
    int rank = td_group_rank(group);
    n->seconds[rank] = (double)(td_clock_ns() - since) * 1e-9;
    n->status[rank] = status;
    snprintf(n->text[rank], sizeof n->text[rank], "%s", td_error_last()->text);
    for (int i = 0; i < 3; i++) {
        td_error_clear();
        ck_assert_int_eq(i < 2 ? add_one(group) : td_group_barrier(group, NULL), status);
        ck_assert_str_eq(td_error_last()->text, n->text[rank]);
    }
}

static void die_in_the_middle(td_job *job, void *cookie) {
    td_group *group;
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(add_one(group));
    if (td_group_rank(group) == 1) {
        usleep(300000); /* the others are asleep by then */
        raise(SIGKILL);
    }
    int64_t start = td_clock_ns();
    note_failure(group, cookie, add_one(group), start);
    td_group_close(&group);
}

START_TEST(a_killed_rank_is_named_by_all_others) {
    notes *n = share_notes();
    int control[3];
    run_processes_but(3, die_in_the_middle, n, 1 << 1, control);
    for (int r = 0; r < 3; r += 2) {
        ck_assert_int_eq(n->status[r], TD_ERR_PEER);
        ck_assert_msg(strstr(n->text[r], "all_reduce(sum) of 1 f32 (call 2): rank 1 (process "), "%s",
                      n->text[r]);
        ck_assert_double_lt(n->seconds[r], 2); /* a loaded machine; 0.1 s otherwise */
        uint8_t bytes[512];
        td_control_message message;
        size_t used, at = 0;
        ssize_t size = recv(control[r], bytes, sizeof bytes, MSG_DONTWAIT);
        ck_assert_int_gt(size, 0);
        ck_ok(td_control_decode(bytes, (size_t)size, &used, &message));
        ck_assert_int_eq(message.kind, TD_CONTROL_JOINED);
        ck_assert_int_eq(message.rank, r);
        at += used;
        ck_ok(td_control_decode(bytes + at, (size_t)size - at, &used, &message));
        ck_assert_int_eq(message.kind, TD_CONTROL_LOST);
        ck_assert_int_eq(message.rank, 1);
        ck_assert_int_eq(message.value, TD_ERR_PEER);
        ck_assert_ptr_nonnull(strstr(message.text, "all_reduce"));
        ck_assert_int_eq((int)(at + used), (int)size); /* and no clean leave */
    }
}
END_TEST

/* How long until the others know; the rank is killed while they spin, yield or sleep. */
static void die_at_a_known_time(td_job *job, void *cookie) {
    notes *n = cookie;
    td_group *group;
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(add_one(group));
    int rank = td_group_rank(group);
    if (rank == 1) {
        usleep((useconds_t)n->at[RANKS_MAX - 1]);
        n->seconds[1] = (double)td_clock_ns() * 1e-9;
        raise(SIGKILL);
    }
    n->status[rank] = add_one(group);
    n->seconds[rank] = (double)td_clock_ns() * 1e-9;
    td_group_close(&group);
}

START_TEST(a_kill_is_known_at_once) {
    enum {
        KILLS = 12,
        LIMIT = 1
    }; /* seconds; the limit on a quiet machine is 0.05, and tests run beside others */
    double most = 0, sum = 0;
    for (int i = 0; i < KILLS; i++) {
        notes *n = share_notes();
        n->at[RANKS_MAX - 1] = 50 << i % 12;
        run_processes_but(3, die_at_a_known_time, n, 1 << 1, NULL);
        for (int r = 0; r < 3; r += 2) {
            ck_assert_int_eq(n->status[r], TD_ERR_PEER);
            double seconds = n->seconds[r] - n->seconds[1];
            sum += seconds;
            if (seconds > most) most = seconds;
        }
    }
    printf("# a killed rank is known to the others within %.1f ms, %.1f ms on average\n", most * 1e3,
           sum / (2 * KILLS) * 1e3);
    ck_assert_double_lt(most, LIMIT);
}
END_TEST

static void die_before_the_others_look(td_job *job, void *cookie) {
    td_group *group;
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_group_barrier(group, NULL));
    if (td_group_rank(group) == 1) raise(SIGKILL);
    usleep(200000); /* it is gone, or a zombie, before this rank has ever watched it */
    note_failure(group, cookie, add_one(group), td_clock_ns());
    td_group_close(&group);
}

START_TEST(a_rank_that_died_before_the_first_wait_is_noticed) {
    notes *n = share_notes();
    run_processes_but(2, die_before_the_others_look, n, 1 << 1, NULL);
    ck_assert_int_eq(n->status[0], TD_ERR_PEER);
    ck_assert_ptr_nonnull(strstr(n->text[0], "rank 1 (process "));
}
END_TEST

static void keep_line(td_log_level level, const char *origin, const char *text, void *cookie) {
    notes *n = cookie;
    (void)origin;
    if (level <= TD_LOG_WARN) snprintf(n->log, sizeof n->log, "%s", text);
}

static void stop_in_the_middle(td_job *job, void *cookie) {
    notes *n = cookie;
    td_group *group;
    td_log_set_hook(keep_line, TD_LOG_WARN, n);
    ck_ok(td_group_open(job, &(td_group_options){.stall_timeout = 0.6, .stall_report = 0.2}, &group));
    ck_ok(td_group_barrier(group, NULL));
    n->at[td_group_rank(group)] = (int)getpid();
    if (td_group_rank(group) == 1) raise(SIGSTOP);
    note_failure(group, n, add_one(group), td_clock_ns());
    kill(n->at[1], SIGKILL);
    td_group_close(&group);
}

START_TEST(a_stopped_rank_is_reported_and_then_given_up) {
    notes *n = share_notes();
    run_processes_but(2, stop_in_the_middle, n, 1 << 1, NULL);
    ck_assert_int_eq(n->status[0], TD_ERR_TIMEOUT);
    ck_assert_msg(strstr(n->text[0], "rank 0 has waited 0.6 s (--stall-timeout) for rank 1"), "%s",
                  n->text[0]);
    ck_assert_msg(strstr(n->text[0], "its last call was barrier (call 1)"), "%s", n->text[0]);
    ck_assert_msg(
        strstr(n->log, "for rank 1 in all_reduce(sum) of 1 f32 (call 2); its last call was barrier"), "%s",
        n->log);
    ck_assert_double_ge(n->seconds[0], 0.6);
}
END_TEST

/* The waiter is stopped for longer than the deadline; the other rank comes soon after it goes on. */
static void be_stopped_while_waiting(td_job *job, void *cookie) {
    notes *n = cookie;
    td_group *group;
    ck_ok(td_group_open(job, &(td_group_options){.stall_timeout = 1.5}, &group));
    ck_ok(td_group_barrier(group, NULL));
    n->at[td_group_rank(group)] = (int)getpid();
    if (td_group_rank(group) == 1) {
        eventually(n->at[0]);
        usleep(200000);
        kill(n->at[0], SIGSTOP);
        usleep(2000000);
        kill(n->at[0], SIGCONT);
        usleep(300000);
    }
    ck_ok(add_one(group));
    td_group_close(&group);
}

START_TEST(time_in_which_the_waiter_itself_was_stopped_does_not_count) {
    run_processes(2, be_stopped_while_waiting, share_notes());
}
END_TEST

/* Pairs of calls that do not match, and what is said about them. */
static const struct {
    td_call_kind kind[2];
    td_dtype dtype[2];
    size_t count[2];
    td_reduce op[2];
    int root[2];
    const char *said;
} mismatches[] = {
    {.kind = {TD_CALL_ALL_REDUCE, TD_CALL_ALL_REDUCE},
     .count = {10, 11},
     .said = "rank 0 calls all_reduce(sum) of 10 f32, but rank 1 calls all_reduce(sum) of 11 f32"},
    {.kind = {TD_CALL_ALL_REDUCE, TD_CALL_BROADCAST},
     .count = {10, 10},
     .said = "rank 0 calls all_reduce(sum) of 10 f32, but rank 1 calls broadcast of 10 f32 from rank 0"},
    {.kind = {TD_CALL_ALL_REDUCE, TD_CALL_ALL_REDUCE},
     .count = {10, 10},
     .dtype = {TD_DTYPE_F64, TD_DTYPE_I64},
     .said = "rank 0 calls all_reduce(sum) of 10 f64, but rank 1 calls all_reduce(sum) of 10 i64"},
    {.kind = {TD_CALL_ALL_REDUCE, TD_CALL_ALL_REDUCE},
     .count = {10, 10},
     .op = {TD_REDUCE_SUM, TD_REDUCE_AVG},
     .said = "rank 0 calls all_reduce(sum) of 10 f32, but rank 1 calls all_reduce(avg) of 10 f32"},
    {.kind = {TD_CALL_BROADCAST, TD_CALL_BROADCAST},
     .count = {10, 10},
     .root = {0, 1},
     .said =
         "rank 0 calls broadcast of 10 f32 from rank 0, but rank 1 calls broadcast of 10 f32 from rank 1"},
    {.kind = {TD_CALL_BARRIER, TD_CALL_ALL_REDUCE},
     .count = {0, 100000},
     .said = "rank 0 calls barrier, but rank 1 calls all_reduce(sum) of 100000 f32"},
    {.kind = {TD_CALL_ALL_REDUCE, TD_CALL_ALL_REDUCE},
     .count = {100, 1000000},
     .said = "rank 0 calls all_reduce(sum) of 100 f32, but rank 1 calls all_reduce(sum) of 1000000 f32"},
};
enum { MISMATCHES = sizeof mismatches / sizeof *mismatches };

static td_status call_mismatched(td_group *group, int i, void *data) {
    int r = td_group_rank(group);
    size_t count = mismatches[i].count[r];
    td_dtype dtype = mismatches[i].dtype[r];
    switch (mismatches[i].kind[r]) {
    case TD_CALL_BARRIER: return td_group_barrier(group, NULL);
    case TD_CALL_BROADCAST:
        return td_group_broadcast(group, data, count, dtype, mismatches[i].root[r], CPU, NULL, NULL);
    default: return td_group_all_reduce(group, data, count, dtype, mismatches[i].op[r], CPU, NULL, NULL);
    }
}

static void disagree(td_job *job, void *cookie) {
    td_group *group;
    void *data = calloc(1000000, 8);
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(add_one(group));
    td_status status = call_mismatched(group, *(int *)cookie, data);
    ck_assert_int_eq(status, TD_ERR_MISMATCH);
    ck_assert_msg(strstr(td_error_last()->text, mismatches[*(int *)cookie].said), "%s",
                  td_error_last()->text);
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "call 2 of the group"));
    ck_assert_int_eq(add_one(group), TD_ERR_MISMATCH);
    td_group_close(&group);
    free(data);
}

START_TEST(ranks_that_call_different_things_are_told_both_calls) { run_threads(2, disagree, &_i); }
END_TEST

static void disagree_about_the_arena(td_job *job, void *cookie) {
    td_group *group;
    void *block;
    (void)cookie;
    ck_ok(td_group_open(job, NULL, &group));
    ck_fails(td_arena_alloc(td_group_arena(group), 1000 + (size_t)td_group_rank(group), &block),
             TD_ERR_MISMATCH, "rank 0 wants blocks of 1000 bytes in the arena, rank 1 blocks of 1001");
    td_group_close(&group);
}

START_TEST(blocks_of_different_sizes_are_a_mismatch) {
    notes *n = share_notes();
    run_threads(2, disagree_about_the_arena, n);
}
END_TEST

static void leave_early(td_job *job, void *cookie) {
    notes *n = cookie;
    td_group *group;
    ck_ok(td_group_open(job, NULL, &group));
    for (int i = 0; i < 100; i++) ck_ok(add_one(group));
    if (td_group_rank(group) == 1) {
        td_group_close(&group);
        return; /* and the process ends */
    }
    usleep(300000);
    int64_t start = td_clock_ns();
    note_failure(group, n, td_group_barrier(group, NULL), start);
    td_group_close(&group);
}

START_TEST(leaving_is_not_a_death_but_ends_collectives) {
    notes *n = share_notes();
    run_processes(2, leave_early, n);
    ck_assert_int_eq(n->status[0], TD_ERR_PEER);
    ck_assert_msg(strstr(n->text[0], "barrier (call 101): rank 1 has left the group"), "%s", n->text[0]);
}
END_TEST

/* All leave right after the last call, at different times: nobody may take that for a loss. */
static void leave_after_the_last_call(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group;
    ck_ok(td_group_open(job, NULL, &group));
    if (td_group_rank(group) == 2) usleep(100000);
    ck_ok(td_group_barrier(group, NULL));
    td_group_close(&group);
}

START_TEST(ranks_may_leave_in_any_order_after_the_last_call) {
    for (int i = 0; i < 5; i++) run_processes(4, leave_after_the_last_call, NULL);
}
END_TEST

static void give_up(td_job *job, void *cookie) {
    notes *n = cookie;
    td_group *group;
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(add_one(group));
    if (td_group_rank(group) == 1) {
        usleep(100000);
        td_group_abort(group, "the data set is truncated");
        ck_assert_int_eq(add_one(group), TD_ERR_PEER);
        eventually(n->status[0] && n->status[2]); /* the others learn of it before this rank leaves */
    } else {
        note_failure(group, n, add_one(group), td_clock_ns());
    }
    td_group_close(&group);
}

START_TEST(a_rank_that_gives_up_takes_the_others_along) {
    notes *n = share_notes();
    run_threads(3, give_up, n);
    for (int r = 0; r < 3; r += 2) {
        ck_assert_int_eq(n->status[r], TD_ERR_PEER);
        ck_assert_str_eq(n->text[r], "rank 1 gave up: the data set is truncated");
    }
}
END_TEST

/* Several ranks break the group at once, each for a reason of its own; one of them is everybody's. */
static void give_up_together(td_job *job, void *cookie) {
    notes *n = cookie;
    td_group *group;
    char why[32];
    for (int i = 0; i < 40; i++) {
        ck_ok(td_group_open(job, NULL, &group));
        int rank = td_group_rank(group);
        snprintf(why, sizeof why, "reason %d", rank);
        ck_ok(add_one(group));
        td_group_abort(group, why);
        ck_assert_int_eq(add_one(group), TD_ERR_PEER);
        snprintf(n->text[rank], sizeof n->text[rank], "%s", td_error_last()->text);
        n->at[rank] = i + 1;
        for (int r = 0; r < 3; r++) {
            eventually(n->at[r] >= i + 1);
            ck_assert_str_eq(n->text[r], n->text[rank]);
        }
        n->status[rank] = i + 1; /* it has compared */
        for (int r = 0; r < 3; r++) eventually(n->status[r] >= i + 1);
        td_group_close(&group);
    }
}

START_TEST(the_first_cause_is_everybodys) { run_processes(3, give_up_together, share_notes()); }
END_TEST

/* Alone there is nobody else who would tell. */
static void give_up_alone(td_job *job, void *cookie) {
    td_group *group;
    (void)cookie;
    ck_ok(td_group_open(job, &(td_group_options){.backend = "self"}, &group));
    ck_ok(add_one(group));
    td_group_abort(group, "enough");
    for (int i = 0; i < 2; i++) ck_assert_int_eq(add_one(group), TD_ERR_PEER);
    ck_assert_str_eq(td_error_last()->text, "rank 0 gave up: enough");
    td_group_close(&group);
}

START_TEST(a_broken_group_stays_broken_on_every_backend) { run_threads(1, give_up_alone, NULL); }
END_TEST

/* A posted work fails as its group does; waiting for it tells the cause. */
static void fail_posted(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group;
    td_work *works[3] = {0};
    float x[3] = {0};
    ck_ok(td_group_open(job, NULL, &group));
    if (td_group_rank(group) == 0) {
        for (int i = 0; i < 3; i++)
            ck_ok(td_group_all_reduce(group, &x[i], 1, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, &works[i]));
        for (int i = 3; i-- > 0;) ck_fails(td_work_wait(works[i]), TD_ERR_PEER, "gave up: enough");
        ck_fails(td_work_test(works[0]), TD_ERR_PEER, "gave up: enough");
        for (int i = 0; i < 3; i++) td_work_release(&works[i]);
    } else {
        usleep(50000);
        td_group_abort(group, "enough");
    }
    td_group_close(&group);
}

START_TEST(posted_works_fail_with_the_cause) { run_threads(2, fail_posted, NULL); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("faults");
    TCase *tcase = tcase_create("faults");
    tcase_add_test(tcase, a_killed_rank_is_named_by_all_others);
    tcase_add_test(tcase, a_kill_is_known_at_once);
    tcase_add_test(tcase, a_rank_that_died_before_the_first_wait_is_noticed);
    tcase_add_test(tcase, a_stopped_rank_is_reported_and_then_given_up);
    tcase_add_test(tcase, time_in_which_the_waiter_itself_was_stopped_does_not_count);
    tcase_add_loop_test(tcase, ranks_that_call_different_things_are_told_both_calls, 0, MISMATCHES);
    tcase_add_test(tcase, blocks_of_different_sizes_are_a_mismatch);
    tcase_add_test(tcase, leaving_is_not_a_death_but_ends_collectives);
    tcase_add_test(tcase, ranks_may_leave_in_any_order_after_the_last_call);
    tcase_add_test(tcase, a_rank_that_gives_up_takes_the_others_along);
    tcase_add_test(tcase, the_first_cause_is_everybodys);
    tcase_add_test(tcase, a_broken_group_stays_broken_on_every_backend);
    tcase_add_test(tcase, posted_works_fail_with_the_cause);
    suite_add_tcase(suite, tcase);
    return suite;
}
