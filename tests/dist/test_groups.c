/* Groups of some ranks, several groups at once, lists of calls, objects, messages, and lossless closing. */
#include "base/clock.h"
#include "base/memory.h"
#include "dist/ranks.h"
#include "support/check.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
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

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 }; /* what was freed stays resident for a while */
#else
enum { SANITIZED = 0 };
#endif

/* What a process holds that a leak would raise. The job's shared memory has no name; its blocks count as they were
 * committed. */
typedef struct holdings {
    int descriptors, names;
    long resident, shared; /* KiB */
} holdings;

static int count_names(const char *path) {
    int count = 0;
    DIR *folder = opendir(path);
    while (folder && readdir(folder)) count++;
    if (folder) closedir(folder);
    return count;
}

static holdings take_stock(void) {
    holdings h = {.descriptors = count_names("/proc/self/fd"), .names = count_names("/dev/shm")};
    char line[256], name[64];
    FILE *file = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, file)) sscanf(line, "VmRSS: %ld", &h.resident);
    fclose(file);
    for (int fd = 0; fd < 64; fd++) {
        char target[64] = "";
        struct stat about;
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        if (readlink(name, target, sizeof target - 1) > 0 && strstr(target, "memfd:") && !fstat(fd, &about))
            h.shared += (long)about.st_blocks / 2;
    }
    return h;
}

static void use(td_group *group, int i) {
    float x[3000] = {0};
    size_t count = i % 50 ? 1 : 3000; /* through staging slots now and then */
    td_work *work;
    ck_ok(td_group_all_reduce(group, x, count, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, NULL));
    ck_ok(td_group_broadcast(group, x, count, TD_DTYPE_F32, 0, CPU, NULL, &work));
    ck_ok(td_work_wait(work));
    if (i % 3) td_work_release(&work); /* closing frees the others */
    if (i % 100) return;
    int other = 1 - td_group_rank(group);
    ck_ok(td_group_send(group, x, 1, TD_DTYPE_F32, other, 0, CPU, NULL, NULL));
    ck_ok(td_group_recv(group, x, 1, TD_DTYPE_F32, other, 0, CPU, NULL, NULL));
}

/* Both ranks are past the last closing, so that nobody's memory is counted. */
static void meet(td_group *world) { ck_ok(td_group_barrier(world, NULL)); }

static void open_and_close(td_job *job, void *cookie) {
    enum { WARM = 110, GROUPS = 1100 }; /* more than the shared memory has places for blocks */
    (void)cookie;
    td_group *world, *group;
    holdings before = {0}, after;
    ck_ok(td_group_open(job, NULL, &world));
    for (int i = 0; i < GROUPS; i++) {
        if (i % 2)
            ck_ok(td_group_split(world, 0, 0, &group));
        else
            ck_ok(td_group_open(job, NULL, &group));
        use(group, i);
        td_group_close(&group);
        meet(world);
        if (i == WARM) before = take_stock();
    }
    meet(world);
    after = take_stock();
    ck_assert_int_le(after.descriptors,
                     before.descriptors + 1); /* the first group watches its peer, or not yet */
    /* The machine's other programs, tests of MPI beside this one for example, have names there too, which come and go; a
     * name that every group left would make a thousand. */
    ck_assert_int_le(after.names, before.names + 100);
    ck_assert_msg(after.shared <= before.shared + 64, "%ld KiB shared, %ld before", after.shared,
                  before.shared);
    if (!SANITIZED)
        ck_assert_msg(after.resident <= before.resident + 512, "%ld KiB resident, %ld before", after.resident,
                      before.resident);
    td_group_close(&world);
}

START_TEST(a_thousand_groups_leave_nothing_behind) { run_processes(2, open_and_close, NULL); }
END_TEST

/* Threads of every rank, each with groups of its own: different pairs of ranks at once. */
enum { THREADS = 3, ROUNDS = 300 };

static void *use_a_part(void *cookie) {
    td_group *part = cookie;
    float x[2000];
    for (int i = 0; i < ROUNDS; i++) {
        size_t count = i % 10 ? 3 : 2000;
        for (size_t k = 0; k < count; k++) x[k] = (float)(i + td_group_rank(part));
        td_work *work;
        ck_ok(td_group_all_reduce(part, x, count, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, &work));
        ck_ok(td_group_barrier(part, NULL));
        ck_ok(td_work_wait(work));
        td_work_release(&work);
        int n = td_group_size(part);
        for (size_t k = 0; k < count; k++) ck_assert(x[k] == (float)(i * n + n * (n - 1) / 2));
    }
    return NULL;
}

static void use_parts_from_threads(td_job *job, void *cookie) {
    (void)cookie;
    td_group *world, *parts[THREADS];
    pthread_t threads[THREADS];
    ck_ok(td_group_open(job, NULL, &world));
    int rank = td_group_rank(world);
    for (int t = 0; t < THREADS; t++)
        ck_ok(td_group_split(world, t == 2 ? 0 : rank >> t & 1, t == 1 ? -rank : rank, &parts[t]));
    for (int t = 0; t < THREADS; t++)
        ck_assert_int_eq(pthread_create(&threads[t], NULL, use_a_part, parts[t]), 0);
    use_a_part(world);
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        td_group_close(&parts[t]);
    }
    td_group_close(&world);
}

START_TEST(threads_of_every_rank_use_groups_of_different_ranks_at_once) {
    run_threads(4, use_parts_from_threads, NULL);
}
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
    tcase_add_test(tcase, threads_of_every_rank_use_groups_of_different_ranks_at_once);
    suite_add_tcase(suite, tcase);
    return suite;
}
