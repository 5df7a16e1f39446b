/* Groups of some ranks, several groups at once, lists of calls, objects, messages, and lossless closing. */
#include "base/clock.h"
#include "base/memory.h"
#include "dist/ranks.h"
#include "support/check.h"

#include <dirent.h>
#include <pthread.h>
#include <unistd.h>

static int64_t sum_of(td_group *group, int64_t value) {
    ck_ok(td_group_all_reduce(group, &value, 1, TD_DTYPE_I64, TD_REDUCE_SUM, CPU, NULL, NULL));
    return value;
}

static void split_by_parity(td_job *job, void *cookie) {
    (void)cookie;
    td_group *world, *part;
    ck_ok(td_group_open(job, NULL, &world));
    int rank = td_group_rank(world), size = td_group_size(world);
    ck_ok(td_group_split(world, rank % 2, -rank, &part)); /* in reverse order */
    int mates = (size + 1 - rank % 2) / 2;
    ck_assert_int_eq(td_group_size(part), mates);
    ck_assert_int_eq(td_group_rank(part), mates - 1 - rank / 2);
    ck_assert_int_eq(td_group_job_rank(part, td_group_rank(part)), rank);
    int64_t expected = 0;
    for (int r = rank % 2; r < size; r += 2) expected += 1 << r;
    for (int i = 0; i < 20; i++) ck_assert_int_eq(sum_of(part, 1 << rank), expected);
    ck_assert_int_eq(sum_of(world, 1), size);
    td_group_close(&world); /* the part may outlive it */
    void *block;
    ck_ok(td_arena_alloc(td_group_arena(part), 100000, &block));
    ck_assert_int_eq(sum_of(part, 1 << rank), expected);
    td_group_close(&part);
}

START_TEST(a_split_gives_groups_ordered_by_key_on_threads) { run_threads(_i, split_by_parity, NULL); }
END_TEST

START_TEST(a_split_gives_groups_ordered_by_key_on_processes) { run_processes(_i, split_by_parity, NULL); }
END_TEST

static void take_some(td_job *job, void *cookie) {
    (void)cookie;
    td_group *world, *some = NULL, *none = NULL;
    const int ranks[] = {3, 1};
    ck_ok(td_group_open(job, NULL, &world));
    int rank = td_group_rank(world);
    ck_ok(td_group_new(world, ranks, 2, &some));
    ck_assert_int_eq(some != NULL, rank % 2);
    if (some) {
        ck_assert_int_eq(td_group_rank(some), rank == 1);
        double x = rank;
        ck_ok(td_group_broadcast(some, &x, 1, TD_DTYPE_F64, 0, CPU, NULL, NULL));
        ck_assert(x == 3);
    }
    ck_ok(td_group_split(world, -1, 0, &none));
    ck_assert_ptr_null(none);
    ck_fails(td_group_new(world, (const int[]){0, 0}, 2, &none), TD_ERR_ARG, "rank 0 twice");
    ck_fails(td_group_new(world, (const int[]){7}, 1, &none), TD_ERR_ARG, "rank 7");
    td_group_close(&some);
    const int other = rank == 2;
    ck_fails(td_group_new(world, &other, 1, &none), TD_ERR_MISMATCH, "different lists");
    td_group_close(&world);
}

START_TEST(a_group_of_listed_ranks_has_them_in_that_order) { run_threads(4, take_some, NULL); }
END_TEST

static void *reduce_often(void *cookie) {
    td_group *group = cookie;
    for (int i = 0; i < 2000; i++) ck_assert_int_eq(sum_of(group, i), (int64_t)i * td_group_size(group));
    return NULL;
}

/* Two groups of the same ranks, each used by a thread of its own. */
static void use_two(td_job *job, void *cookie) {
    (void)cookie;
    td_group *world, *part;
    pthread_t thread;
    ck_ok(td_group_open(job, NULL, &world));
    ck_ok(td_group_split(world, 0, 0, &part));
    ck_assert_int_eq(pthread_create(&thread, NULL, reduce_often, part), 0);
    reduce_often(world);
    pthread_join(thread, NULL);
    td_group_close(&part);
    td_group_close(&world);
}

START_TEST(two_threads_use_two_groups_at_once) { run_processes(2, use_two, NULL); }
END_TEST

static void post_lists(td_job *job, void *cookie) {
    (void)cookie;
    enum { CALLS = 20 };
    td_group *group;
    float values[CALLS][1000];
    td_call calls[CALLS] = {0};
    td_work *work;
    ck_ok(td_group_open(job, NULL, &group));
    for (int i = 0; i < CALLS; i++) {
        for (int k = 0; k < 1000; k++) values[i][k] = (float)(i + k);
        calls[i] = (td_call){.kind = TD_CALL_ALL_REDUCE,
                             .count = 1 + (size_t)i * 50,
                             .input = values[i],
                             .output = values[i],
                             .op = i % 2 ? TD_REDUCE_MAX : TD_REDUCE_SUM};
    }
    ck_ok(td_group_post_list(group, calls, CALLS, &work));
    ck_ok(td_work_wait(work));
    td_work_release(&work);
    for (int i = 0; i < CALLS; i++)
        for (size_t k = 0; k < calls[i].count; k++)
            ck_assert(values[i][k] == (float)(i + (int)k) * (i % 2 ? 1.0f : (float)td_group_size(group)));
    calls[3].count = SIZE_MAX;
    ck_fails(td_group_post_list(group, calls, CALLS, NULL), TD_ERR_ARG,
             "do not fit"); /* and none is posted */
    calls[3] = (td_call){.kind = TD_CALL_SEND, .root = 1 - td_group_rank(group)};
    ck_fails(td_group_post_list(group, calls, CALLS, NULL), TD_ERR_ARG, "collectives only");
    ck_assert_int_eq(sum_of(group, 1), td_group_size(group));
    td_group_close(&group);
}

START_TEST(a_list_is_posted_whole_or_not_at_all) { run_threads(2, post_lists, NULL); }
END_TEST

static void hand_objects_round(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group;
    ck_ok(td_group_open(job, NULL, &group));
    for (int root = 0; root < td_group_size(group); root++)
        for (size_t length = 0; length < 400000; length = length * 3 + 1) {
            bool gives = root == td_group_rank(group);
            void *bytes = gives && length ? malloc(length) : NULL; /* nothing may be at NULL */
            size_t size = gives ? length : 77;
            for (size_t i = 0; gives && i < length; i++) ((uint8_t *)bytes)[i] = (uint8_t)(i * 3 + length);
            ck_ok(td_group_broadcast_object(group, &bytes, &size, root));
            ck_assert_uint_eq(size, length);
            for (size_t i = 0; i < length; i++)
                ck_assert_uint_eq(((uint8_t *)bytes)[i], (uint8_t)(i * 3 + length));
            if (gives)
                free(bytes);
            else
                td_free(bytes);
        }
    td_group_close(&group);
}

START_TEST(objects_of_unknown_size_reach_all_ranks) { run_threads(3, hand_objects_round, NULL); }
END_TEST

static void disagree_about_a_message(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group;
    float x[4] = {0};
    ck_ok(td_group_open(job, NULL, &group));
    ck_fails(td_group_send(group, x, 4, TD_DTYPE_F32, td_group_rank(group), 0, CPU, NULL, NULL), TD_ERR_ARG,
             "itself");
    td_status status = td_group_rank(group) == 0
                           ? td_group_send(group, x, 4, TD_DTYPE_F32, 1, 5, CPU, NULL, NULL)
                           : td_group_recv(group, x, 3, TD_DTYPE_F32, 0, 5, CPU, NULL, NULL);
    if (td_group_rank(group) == 0 && status == TD_OK)
        status = td_group_barrier(group, NULL); /* it was eager */
    ck_assert_int_eq(status, TD_ERR_MISMATCH);
    ck_assert_msg(strstr(td_error_last()->text,
                         "tag 5: rank 0 calls send of 4 f32 to rank 1, but rank 1 calls "
                         "recv of 3 f32 from rank 0"),
                  "%s", td_error_last()->text);
    td_group_close(&group);
}

START_TEST(a_message_of_another_size_is_a_mismatch) { run_threads(2, disagree_about_a_message, NULL); }
END_TEST

static int count_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static void open_and_close(td_job *job, void *cookie) {
    (void)cookie;
    td_group *world;
    ck_ok(td_group_open(job, NULL, &world));
    int descriptors = 0;
    for (int i = 0; i < 1100; i++) { /* more than the shared memory has places for blocks */
        td_group *part;
        float x[3000] = {0};
        ck_ok(td_group_split(world, 0, 0, &part));
        ck_ok(td_group_all_reduce(part, x, i % 100 ? 1 : 3000, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, NULL));
        td_group_close(&part);
        if (i == 10) descriptors = count_descriptors();
    }
    ck_assert_int_le(count_descriptors(), descriptors + 1); /* the first group watches its peer, or not yet */
    td_group_close(&world);
}

START_TEST(a_thousand_groups_leave_nothing_behind) { run_processes(2, open_and_close, NULL); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("groups");
    TCase *tcase = tcase_create("groups");
    tcase_add_loop_test(tcase, a_split_gives_groups_ordered_by_key_on_threads, 2, 6);
    tcase_add_loop_test(tcase, a_split_gives_groups_ordered_by_key_on_processes, 2, 4);
    tcase_add_test(tcase, a_group_of_listed_ranks_has_them_in_that_order);
    tcase_add_test(tcase, two_threads_use_two_groups_at_once);
    tcase_add_test(tcase, a_list_is_posted_whole_or_not_at_all);
    tcase_add_test(tcase, objects_of_unknown_size_reach_all_ranks);
    tcase_add_test(tcase, a_message_of_another_size_is_a_mismatch);
    tcase_add_test(tcase, a_thousand_groups_leave_nothing_behind);
    suite_add_tcase(suite, tcase);
    return suite;
}
