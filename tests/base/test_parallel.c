#include "base/parallel.h"
#include "support/check.h"

#include <sched.h>

enum { COUNT = 1001 };

typedef struct record {
    int visits[COUNT], thread[COUNT];
    int nested_threads;
} record;

static void visit(size_t begin, size_t end, int thread, void *cookie) {
    record *r = cookie;
    for (size_t i = begin; i < end; i++) {
        r->visits[i]++;
        r->thread[i] = thread;
    }
    if (begin == 0) r->nested_threads = td_parallel_threads();
}

START_TEST(each_element_is_visited_once_in_contiguous_shares) {
    for (int threads = 1; threads <= 5; threads++) {
        record r = {0};
        ck_ok(td_parallel_set_threads(threads));
        td_parallel_for(COUNT, 1, visit, &r);
        for (int i = 0; i < COUNT; i++) {
            ck_assert_int_eq(r.visits[i], 1);
            if (i) ck_assert_int_le(r.thread[i] - r.thread[i - 1], 1);
        }
        ck_assert_int_eq(r.thread[COUNT - 1], threads - 1);
        ck_assert_int_eq(r.nested_threads, 1);
    }
}
END_TEST

START_TEST(small_work_stays_on_few_threads) {
    record r = {0};
    ck_ok(td_parallel_set_threads(4));
    td_parallel_for(10, 5, visit, &r);
    ck_assert_int_eq(r.thread[9], 1);
    td_parallel_for(10, 100, visit, &r);
    ck_assert_int_eq(r.thread[9], 0);
    td_parallel_for(0, 1, visit, &r);
    ck_assert_int_eq(r.visits[9], 2);
}
END_TEST

static void nest(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    for (size_t i = begin; i < end; i++) td_parallel_for(3, 1, visit, (record *)cookie + i);
}

START_TEST(work_inside_work_runs_on_its_own_thread) {
    static record r[4];
    ck_ok(td_parallel_set_threads(2));
    td_parallel_for(4, 1, nest, r);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(r[i].visits[2] == 1 && r[i].thread[2] == 0, 1);
}
END_TEST

START_TEST(thread_counts_are_checked_and_cores_follow_the_mask) {
    ck_fails(td_parallel_set_threads(0), TD_ERR_ARG, "0 threads");
    ck_fails(td_parallel_set_threads(5000), TD_ERR_ARG, "5000 threads");
    cpu_set_t all, one;
    sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
        if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
    ck_assert_int_eq(td_cpu_count(), 1);
    sched_setaffinity(0, sizeof all, &all);
    ck_assert_int_ge(td_cpu_count(), 1);
}
END_TEST

SUITE("parallel", each_element_is_visited_once_in_contiguous_shares, small_work_stays_on_few_threads,
      work_inside_work_runs_on_its_own_thread, thread_counts_are_checked_and_cores_follow_the_mask)
