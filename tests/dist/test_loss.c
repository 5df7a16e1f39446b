/* A rank that dies, stops, disagrees or runs out of memory in every collective: the others are told who, soon. */
#include "base/clock.h"
#include "base/memory.h"
#include "dist/ranks.h"
#include "support/check.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RANKS = 3, LOST = 1, KINDS = TD_CALL_RECV + 1, LARGE = 600000 };

/* How the data of a call travels. */
typedef enum way { SMALL, STAGED, DIRECT, WAYS } way;

typedef struct plan {
    td_call_kind kind;
    way way;
    int signal; /* that ends the lost rank; 0: it calls a barrier instead; -1: its k-th allocation fails */
    long k;     /* microseconds after which the signal comes; 0: before the call */
    _Atomic int pid; /* of the lost rank */
    _Atomic int status[RANKS];
    double seconds[RANKS];
    char text[RANKS][512];
} plan;

static plan *share_plan(plan p) {
    plan *shared = mmap(NULL, sizeof p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
    *shared = p;
    return shared;
}

/* The call of this rank; rank 0 sends to rank 1, which receives. */
static td_status call_it(td_group *group, const plan *p, void *input, void *output) {
    int rank = td_group_rank(group);
    td_call call = {.kind = p->kind, .input = input, .output = output, .count = p->way == SMALL ? 3 : LARGE};
    if (td_call_traits_of(p->kind)->rooted) call.root = LOST;
    if (td_call_traits_of(p->kind)->pairs) {
        if (rank == LOST) call.kind = p->kind == TD_CALL_SEND ? TD_CALL_RECV : TD_CALL_SEND;
        if (rank == LOST) call.root = 0;
        if (rank == 2) return TD_OK;
    }
    if (call.kind == TD_CALL_SEND && p->way == SMALL) call.count = 200; /* not eager */
    if (call.kind == TD_CALL_RECV && p->way == SMALL) call.count = 200;
    return td_group_post(group, &call, NULL);
}

static void *send_signal(void *cookie) {
    const plan *p = cookie;
    usleep((useconds_t)p->k);
    raise(p->signal == SIGSTOP ? SIGSTOP : SIGKILL);
    return NULL;
}

static void lose_it(td_group *group, plan *p) {
    pthread_t thread;
    p->pid = (int)getpid();
    usleep(100000); /* the others are past what went well */
    if (p->signal > 0 && p->k == 0) raise(p->signal);
    if (p->signal > 0) pthread_create(&thread, NULL, send_signal, p);
    if (p->signal == 0) td_group_post(group, &(td_call){.kind = TD_CALL_BARRIER, .label = "wrong"}, NULL);
}

static void meet_a_loss(td_job *job, void *cookie) {
    plan *p = cookie;
    td_group *group;
    void *blocks[2], *memory[2];
    ck_ok(td_group_open(job, &(td_group_options){.stall_timeout = p->signal == SIGSTOP ? 0.5 : 20}, &group));
    for (int i = 0; i < 2; i++) {
        ck_ok(td_arena_alloc(td_group_arena(group), RANKS * LARGE * sizeof(float), &blocks[i]));
        memory[i] = calloc(RANKS * LARGE, sizeof(float));
    }
    void **data = p->way == DIRECT ? blocks : memory;
    int rank = td_group_rank(group);
    td_status status = call_it(group, p, data[0], data[1]); /* once all goes well */
    if (status >= 0) status = td_group_barrier(group, NULL);
    ck_ok(status);
    if (rank == LOST) lose_it(group, p);
    int64_t start = td_clock_ns();
    for (int i = 0; i < 1000000 && status >= 0; i++) {
        start = td_clock_ns();
        status = call_it(group, p, data[0], data[1]);
        if (status >= 0) status = td_group_barrier(group, NULL);
    }
    p->seconds[rank] = (double)(td_clock_ns() - start) * 1e-9;
    p->status[rank] = status;
    snprintf(p->text[rank], sizeof p->text[rank], "%s", td_error_last()->text);
    ck_assert_int_eq(td_group_barrier(group, NULL), status); /* for good, with the first cause */
    ck_assert_str_eq(td_error_last()->text, p->text[rank]);
    if (p->signal == SIGSTOP && rank == 0) {
        eventually(p->status[2]);
        kill(p->pid, SIGKILL);
    }
    for (int i = 0; i < 2; i++) free(memory[i]);
    td_group_close(&group);
}

static td_call_kind kind_of(int i) { return (td_call_kind)(i % KINDS); }
static way way_of(int i) { return (way)(i / KINDS % WAYS); }

static void check_told(const plan *p, td_status status, const char *what) {
    for (int r = 0; r < RANKS; r += 2) {
        ck_assert_msg(p->status[r] == status && strstr(p->text[r], what), "%s: rank %d: %s, not %s",
                      td_call_name(p->kind), r, p->text[r], what);
        ck_assert_double_lt(p->seconds[r], 5); /* a loaded machine; 0.05 s otherwise */
    }
}

START_TEST(a_rank_killed_in_any_collective_is_named) {
    for (long k = 0; k < 3; k++) { /* before the call, and twice within */
        plan *p = share_plan((plan){kind_of(_i), way_of(_i), SIGKILL, k * 700, .pid = 0});
        run_processes_but(RANKS, meet_a_loss, p, 1 << LOST, NULL);
        check_told(p, TD_ERR_PEER, "rank 1 (process ");
    }
}
END_TEST

START_TEST(a_rank_stopped_in_any_collective_is_named) {
    plan *p = share_plan((plan){kind_of(_i), way_of(_i), SIGSTOP, _i % 2 * 700, .pid = 0});
    run_processes_but(RANKS, meet_a_loss, p, 1 << LOST, NULL);
    check_told(p, TD_ERR_TIMEOUT, "1"); /* another rank that waits for it may be named beside it */
}
END_TEST

START_TEST(a_rank_that_calls_something_else_is_told_so) {
    if (kind_of(_i) == TD_CALL_BARRIER || td_call_traits_of(kind_of(_i))->pairs) return;
    plan *p = share_plan((plan){kind_of(_i), way_of(_i), 0, 0, .pid = 0});
    run_processes(RANKS, meet_a_loss, p);
    check_told(p, TD_ERR_MISMATCH, "rank 1 calls barrier");
    ck_assert_ptr_nonnull(strstr(p->text[0], td_call_name(p->kind)));
}
END_TEST

static void come_late(td_job *job, void *cookie) {
    td_group *group;
    (void)cookie;
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_group_monitored_barrier(group, 5));
    if (td_group_rank(group) % 2) {
        usleep(900000);
        td_status status = td_group_barrier(group, NULL);
        ck_assert_int_eq(status, TD_ERR_TIMEOUT);
    } else {
        ck_fails(td_group_monitored_barrier(group, 0.3), TD_ERR_TIMEOUT, "for ranks 1, 3; its last call was");
    }
    td_group_close(&group);
}

START_TEST(a_monitored_barrier_names_all_who_are_missing) { run_threads(4, come_late, NULL); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("loss");
    TCase *tcase = tcase_create("loss");
    tcase_add_loop_test(tcase, a_rank_killed_in_any_collective_is_named, 0, KINDS * WAYS);
    tcase_add_loop_test(tcase, a_rank_stopped_in_any_collective_is_named, 0, KINDS * WAYS);
    tcase_add_loop_test(tcase, a_rank_that_calls_something_else_is_told_so, 0, KINDS * WAYS);
    tcase_add_test(tcase, a_monitored_barrier_names_all_who_are_missing);
    suite_add_tcase(suite, tcase);
    return suite;
}
