/* Shared memory: blocks, shortage, ranks that meet over a socket, two jobs that must not, and leaks. */
#include "base/memory.h"
#include "dist/job_mark.h"
#include "dist/memory_left.h"
#include "dist/ranks.h"
#include "dist/segment.h"
#include "support/check.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every rank writes into its neighbour's part. */
static void use_blocks(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group;
    ck_ok(td_group_open(job, NULL, &group));
    td_arena *arena = td_group_arena(group);
    int rank = td_group_rank(group), ranks = td_group_size(group);
    int *mine, *shared;
    ck_ok(td_arena_alloc(arena, 5000 * sizeof *mine, (void **)&mine));
    ck_ok(td_arena_alloc_one(arena, 100, (void **)&shared));
    for (int i = 0; i < 5000; i++) ck_quietly(mine[i] == 0);
    ck_assert(td_arena_contains(arena, mine, 5000 * sizeof *mine) &&
              td_arena_contains(arena, mine + 4999, 4));
    ck_assert(!td_arena_contains(arena, mine, 1 << 20) && !td_arena_contains(arena, &rank, 4));
    ck_assert_ptr_eq(td_arena_at(arena, mine + 3, rank), mine + 3);
    ck_assert_ptr_null(td_arena_at(arena, mine, ranks));
    ck_assert_ptr_null(td_arena_at(arena, mine, -1));
    ck_assert_ptr_null(td_arena_at(arena, &rank, 0));
    ck_assert_ptr_eq(td_arena_at(arena, shared, 0), shared);
    ck_ok(td_group_barrier(group, NULL)); /* all have seen zeros */
    *(int *)td_arena_at(arena, mine + 7, (rank + 1) % ranks) = rank + 1;
    if (rank == ranks - 1) *shared = 42;
    ck_ok(td_group_barrier(group, NULL));
    ck_assert_int_eq(mine[7], (rank + ranks - 1) % ranks + 1);
    ck_assert_int_eq(*shared, 42);
    td_arena_free(arena, (void **)&mine);
    ck_assert_ptr_null(mine);
    td_arena_free(arena, (void **)&mine);
    ck_ok(td_arena_alloc(arena, 5000 * sizeof *mine, (void **)&mine)); /* the same pages, and zeroed again */
    for (int i = 0; i < 5000; i++) ck_quietly(mine[i] == 0);
    td_group_close(&group);
}

START_TEST(every_rank_reaches_every_block) {
    run_threads(_i, use_blocks, NULL);
    run_processes(_i, use_blocks, NULL);
}
END_TEST

static void want_too_much(td_job *job, void *cookie) {
    (void)cookie;
    td_group *group;
    void *block = NULL;
    ck_ok(td_group_open(job, NULL, &group));
    ck_fails(td_arena_alloc(td_group_arena(group), (size_t)1 << 45, &block), TD_ERR_MEMORY, " left");
    ck_fails(td_arena_alloc(td_group_arena(group), SIZE_MAX - 10, &block), TD_ERR_ARG, "cannot be");
    ck_assert_ptr_null(block);
    ck_ok(td_group_barrier(group, NULL)); /* a shortage breaks nothing */
    td_group_close(&group);
}

START_TEST(shortage_is_a_status_on_all_ranks) { run_threads(3, want_too_much, NULL); }
END_TEST

static void write_file(const char *root, const char *path, const char *text) {
    char full[400];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *slash = full + strlen(root); (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

START_TEST(what_is_left_is_the_least_of_machine_and_containers) {
    char root[] = "/tmp/tandem-memory-XXXXXX", command[64];
    ck_assert_ptr_nonnull(mkdtemp(root));
    ck_assert(td_memory_left_read(root).bytes == UINT64_MAX);
    write_file(root, "/proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    5000 kB\n");
    ck_assert_uint_eq(td_memory_left_read(root).bytes, 5000 * 1024);
    write_file(root, "/proc/self/cgroup", "0::/job/step\n");
    write_file(root, "/sys/fs/cgroup/job/step/memory.max", "max\n");
    write_file(root, "/sys/fs/cgroup/job/step/memory.current", "999999\n");
    ck_assert_uint_eq(td_memory_left_read(root).bytes, 5000 * 1024);
    write_file(root, "/sys/fs/cgroup/job/memory.max", "1000000\n");
    write_file(root, "/sys/fs/cgroup/job/memory.current", "900000\n");
    write_file(root, "/sys/fs/cgroup/job/memory.stat", "anon 5\ninactive_file 100000\nactive_file 7\n");
    ck_assert_uint_eq(td_memory_left_read(root).bytes, 200000);
    ck_assert(td_memory_left_read(root).by_cgroup);
    ck_ok(td_memory_check(root, 200000));
    ck_fails(
        td_memory_check(root, 300000), TD_ERR_MEMORY,
        "300000 bytes of shared memory are wanted, but the container has only 200000 left: "
        "/sys/fs/cgroup/job/memory.max is 1000000, of which 800000 are used; raise it by at least 100000");
    write_file(root, "/sys/fs/cgroup/job/memory.current", "2000000\n");
    ck_assert_uint_eq(td_memory_left_read(root).bytes, 0);
    write_file(root, "/proc/self/cgroup", "5:memory:/v1\n0::/job/step\n");
    write_file(root, "/sys/fs/cgroup/memory/v1/memory.limit_in_bytes", "3000\n");
    write_file(root, "/sys/fs/cgroup/memory/v1/memory.usage_in_bytes", "1000\n");
    ck_assert_uint_eq(td_memory_left_read(root).bytes, 2000);
    ck_fails(td_memory_check(root, 2001), TD_ERR_MEMORY,
             "/sys/fs/cgroup/memory/v1/memory.limit_in_bytes is 3000");
    write_file(root, "/proc/meminfo", "MemAvailable: 1 kB\n");
    ck_fails(td_memory_check(root, 2000), TD_ERR_MEMORY, "the machine has only 1024 left (MemAvailable");
    snprintf(command, sizeof command, "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* What a test's container may use. The thread sanitizer keeps four bytes beside each one that is touched. */
#ifdef __SANITIZE_THREAD__
#define CONTAINER ((size_t)512 << 20)
#else
#define CONTAINER ((size_t)64 << 20)
#endif

/* A control group of our own that may use `limit` bytes, below the one of this process; false where none can be made. */
static bool make_cgroup(char *folder, size_t size, uint64_t limit) {
    char line[512], path[700], value[32];
    const char *name = NULL;
    bool v2 = false;
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (!name && file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        name = strstr(line, ":memory:");
        if (!name && !strncmp(line, "0::", 3)) name = line, v2 = true;
    }
    if (file) fclose(file);
    if (!name) return false;
    name = strrchr(name, ':') + 1;
    snprintf(folder, size, "/sys/fs/cgroup%s%s/tandem-test-%d", v2 ? "" : "/memory", name[1] ? name : "",
             (int)getpid());
    if (mkdir(folder, 0755)) return false;
    snprintf(path, sizeof path, "%s/%s", folder, v2 ? "memory.max" : "memory.limit_in_bytes");
    snprintf(value, sizeof value, "%llu", (unsigned long long)limit);
    file = fopen(path, "w");
    bool made = file && fputs(value, file) >= 0;
    if (file && fclose(file)) made = false;
    if (!made) rmdir(folder);
    return made;
}

static void move_here(const char *folder) {
    char path[700];
    snprintf(path, sizeof path, "%s/cgroup.procs", folder);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "%d", (int)getpid());
    ck_assert_int_eq(fclose(file), 0);
}

static void want_more_than_the_container_has(td_job *job, void *cookie) {
    char limit[700], value[64];
    td_group *group;
    void *block = NULL;
    move_here(cookie);
    snprintf(limit, sizeof limit, "left: %s/memory.", (const char *)cookie);
    ck_ok(td_group_open(job, NULL, &group));
    for (int i = 0; i < 2; i++)
        ck_fails(td_arena_alloc(td_group_arena(group), CONTAINER, &block), TD_ERR_MEMORY, limit);
    snprintf(value, sizeof value, "is %zu, of which ", CONTAINER);
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, value));
    ck_ok(td_arena_alloc(td_group_arena(group), (size_t)8 << 20, &block));
    memset(block, 1, (size_t)8 << 20);
    ck_ok(td_group_barrier(group, NULL));
    td_group_close(&group);
}

START_TEST(a_container_that_is_too_small_names_its_limit) {
    char folder[600];
    if (!make_cgroup(folder, sizeof folder, CONTAINER)) return; /* not ours to make */
    run_processes(2, want_more_than_the_container_has, folder);
    eventually(rmdir(folder) == 0);
}
END_TEST

static int count_lines(const char *path) {
    int lines = 0, c;
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while ((c = fgetc(file)) != EOF) lines += c == '\n';
    fclose(file);
    return lines;
}

static int count_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static void open_and_close(td_job *job, void *cookie) {
    int fds = 0, maps = 0;
    void *block;
    for (int i = 0; i < *(int *)cookie; i++) {
        td_group *group;
        ck_ok(td_group_open(job, NULL, &group));
        ck_ok(td_arena_alloc(td_group_arena(group), 100000, &block));
        ck_ok(td_group_all_reduce(group, block, 20000, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, NULL));
        if (td_group_rank(group) == 1) usleep(1000);
        ck_ok(td_group_barrier(group, NULL));
        td_group_close(&group);
        if (i == 2) {
            fds = count_descriptors();
            maps = count_lines("/proc/self/maps");
        }
    }
    ck_assert_int_eq(count_descriptors(), fds);
    ck_assert_int_le(count_lines("/proc/self/maps"), maps + 20); /* the heap may grow, a sanitizer's too */
}

START_TEST(two_hundred_groups_leak_nothing) {
    int times = 200;
    run_processes(2, open_and_close, &times);
}
END_TEST

START_TEST(a_segment_reuses_what_is_given_back) {
    td_segment *segment = NULL;
    int fd;
    uint64_t first, other, again;
    ck_ok(td_job_make_arena(&fd));
    ck_ok(td_segment_map(fd, &segment));
    ck_ok(td_segment_alloc(segment, 100000, &first));
    ck_ok(td_segment_alloc(segment, 100000, &other));
    memset(td_segment_at(segment, first), 1, 100000);
    td_segment_free(segment, first);
    ck_ok(td_segment_alloc(segment, 90000, &again));
    ck_assert_uint_eq(again, first);
    ck_assert_int_eq(*(char *)td_segment_at(segment, again), 0);
    for (int i = 0; i < 1500; i++) { /* more than the table has places */
        ck_ok(td_segment_alloc(segment, 4096, &other));
        td_segment_free(segment, other);
    }
    td_segment_release(&segment);
    td_segment_release(&segment);
    close(fd);
}
END_TEST

/* Several groups of one job at once, used by turns. */
static void use_groups(td_job *job, void *cookie) {
    (void)cookie;
    td_group *groups[4];
    for (int g = 0; g < 4; g++) ck_ok(td_group_open(job, NULL, &groups[g]));
    for (int i = 0; i < 200; i++) {
        td_work *works[4];
        int64_t values[4];
        for (int g = 0; g < 4; g++) {
            values[g] = i * (g + 1);
            ck_ok(td_group_all_reduce(groups[g], &values[g], 1, TD_DTYPE_I64, TD_REDUCE_SUM, CPU, NULL,
                                      &works[g]));
        }
        for (int g = 4; g-- > 0;) {
            ck_ok(td_work_wait(works[g]));
            td_work_release(&works[g]);
            ck_quietly(values[g] == (int64_t)i * (g + 1) * td_group_size(groups[g]));
        }
    }
    ck_ok(td_group_barrier(groups[0], NULL)); /* nobody is still at it in the one to be broken */
    td_group_abort(groups[1], "only this one");
    ck_assert_int_lt(td_group_barrier(groups[1], NULL), 0);
    ck_ok(td_group_barrier(groups[2], NULL));
    for (int g = 0; g < 4; g++) td_group_close(&groups[g]);
}

START_TEST(groups_of_one_job_are_independent) {
    run_threads(3, use_groups, NULL);
    run_processes(2, use_groups, NULL);
}
END_TEST

/* One rank of a job whose launcher is not ours: sums 10^job over its ranks. */
static int join_by_socket(const char *const *environment, int64_t value, double timeout) {
    td_job *job = NULL;
    td_group *group = NULL;
    td_status status = open_job(environment, &job);
    if (status >= 0) status = td_group_open(job, &(td_group_options){.stall_timeout = timeout}, &group);
    if (status >= 0)
        status = td_group_all_reduce(group, &value, 1, TD_DTYPE_I64, TD_REDUCE_SUM, CPU, NULL, NULL);
    td_group_close(&group);
    if (job) td_job_close(&job);
    if (status < 0) fprintf(stderr, "%s\n", td_error_last()->text);
    return status < 0 ? 100 - status : (int)value;
}

static pid_t start_by_hand(int rank, int world, const char *id, int64_t value, double timeout) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid) return pid;
    char text[4][64];
    snprintf(text[0], sizeof text[0], "RANK=%d", rank);
    snprintf(text[1], sizeof text[1], "WORLD_SIZE=%d", world);
    snprintf(text[2], sizeof text[2], "TORCHELASTIC_RUN_ID=%s-%d", id, (int)getppid());
    snprintf(text[3], sizeof text[3], "MASTER_PORT=29500");
    _exit(join_by_socket((const char *const[]){text[0], text[1], text[2], text[3], NULL}, value, timeout));
}

START_TEST(two_jobs_on_one_machine_do_not_meet) {
    pid_t first[3], second[3];
    for (int r = 2; r >= 0; r--) { /* rank 0 comes last */
        first[r] = start_by_hand(r, 3, "one", 1, 20);
        second[r] = start_by_hand(r, 3, "two", 10, 20);
    }
    for (int r = 0; r < 3; r++) {
        ck_assert_int_eq(reap(first[r]), 3);
        ck_assert_int_eq(reap(second[r]), 30);
    }
}
END_TEST

START_TEST(a_killed_job_is_no_hindrance_for_the_next_of_the_same_name) {
    pid_t stale = start_by_hand(0, 2, "again", 1, 20);
    usleep(200000);
    kill(stale, SIGKILL);
    ck_assert_int_eq(reap(stale), 128 + SIGKILL);
    pid_t fresh[2] = {start_by_hand(0, 2, "again", 1, 20), start_by_hand(1, 2, "again", 1, 20)};
    for (int r = 0; r < 2; r++) ck_assert_int_eq(reap(fresh[r]), 2);
}
END_TEST

START_TEST(ranks_that_never_come_are_named) {
    ck_assert_int_eq(reap(start_by_hand(0, 2, "alone", 1, 0.3)), 100 - TD_ERR_TIMEOUT);
    ck_assert_int_eq(reap(start_by_hand(1, 2, "alone", 1, 0.3)), 100 - TD_ERR_TIMEOUT);
}
END_TEST

START_TEST(ranks_told_of_different_worlds_are_refused) {
    pid_t pids[2] = {start_by_hand(0, 2, "odd", 1, 5), start_by_hand(1, 3, "odd", 1, 5)};
    for (int r = 0; r < 2; r++) ck_assert_int_eq(reap(pids[r]), 100 - TD_ERR_MISMATCH);
}
END_TEST

START_TEST(a_backend_that_cannot_serve_says_why) {
    td_job *job;
    td_group *group = NULL;
    ck_ok(open_job(
        (const char *const[]){"RANK=0", "WORLD_SIZE=4", "LOCAL_RANK=0", "LOCAL_WORLD_SIZE=2", NULL}, &job));
    ck_fails(td_group_open(job, NULL, &group), TD_ERR_UNSUPPORTED, "shm: the job spans machines");
    ck_fails(td_group_open(job, &(td_group_options){.backend = "nccl"}, &group), TD_ERR_ARG,
             "no backend 'nccl'");
    ck_fails(td_group_open(job, &(td_group_options){.backend = "self"}, &group), TD_ERR_UNSUPPORTED,
             "serves one rank");
    ck_fails(td_group_open(job, &(td_group_options){.stall_timeout = -1}, &group), TD_ERR_ARG, "negative");
    td_job_close(&job);
    ck_ok(open_job((const char *const[]){NULL}, &job));
    ck_ok(td_group_open(job, NULL, &group));
    ck_assert_str_eq(td_group_backend(group), "self");
    ck_assert_str_eq(td_group_refusals(group), "");
    td_group_close(&group);
    ck_ok(td_group_open(job, &(td_group_options){.backend = "shm"}, &group)); /* forced, with one rank */
    ck_assert_str_eq(td_group_backend(group), "shm");
    ck_ok(td_group_barrier(group, NULL));
    td_group_close(&group);
    td_group_close(&group);
    td_job_close(&job);
}
END_TEST

/* One rank, so that the order of allocations is fixed. */
START_TEST(any_allocation_may_fail) {
    for (long k = 0;; k++) {
        td_job *job = NULL;
        td_group *group = NULL;
        td_work *work = NULL;
        void *block = NULL;
        float x = 1;
        td_alloc_fail_after(k);
        td_status status = td_job_open_threads(1, &job);
        if (status >= 0) status = td_group_open(job, &(td_group_options){.backend = "shm"}, &group);
        if (status >= 0) status = td_arena_alloc(td_group_arena(group), 1000, &block);
        if (status >= 0)
            status = td_group_all_reduce(group, &x, 1, TD_DTYPE_F32, TD_REDUCE_SUM, CPU, NULL, &work);
        td_alloc_fail_after(-1);
        if (status < 0) ck_assert_int_eq(status, TD_ERR_MEMORY);
        td_work_release(&work);
        td_group_close(&group);
        td_job_close(&job);
        if (status >= 0) {
            ck_assert_int_ge(k, 5);
            return;
        }
    }
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("arena");
    TCase *tcase = tcase_create("arena");
    tcase_add_loop_test(tcase, every_rank_reaches_every_block, 1, 5);
    tcase_add_test(tcase, shortage_is_a_status_on_all_ranks);
    tcase_add_test(tcase, what_is_left_is_the_least_of_machine_and_containers);
    tcase_add_test(tcase, a_container_that_is_too_small_names_its_limit);
    tcase_add_test(tcase, two_hundred_groups_leak_nothing);
    tcase_add_test(tcase, a_segment_reuses_what_is_given_back);
    tcase_add_test(tcase, groups_of_one_job_are_independent);
    tcase_add_test(tcase, two_jobs_on_one_machine_do_not_meet);
    tcase_add_test(tcase, a_killed_job_is_no_hindrance_for_the_next_of_the_same_name);
    tcase_add_test(tcase, ranks_that_never_come_are_named);
    tcase_add_test(tcase, ranks_told_of_different_worlds_are_refused);
    tcase_add_test(tcase, a_backend_that_cannot_serve_says_why);
    tcase_add_test(tcase, any_allocation_may_fail);
    suite_add_tcase(suite, tcase);
    return suite;
}
