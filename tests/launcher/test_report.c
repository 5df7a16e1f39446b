/* What is known about a rank's end beyond its status: memory that ran out, stacks, when it was, what it left. */
#include "launch.h"
#include "launcher/proc.h"

#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

/* --- out of memory -------------------------------------------------------------------------------------- */

static void write_text(const char *root, const char *path, const char *text) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++)
        *slash = 0, mkdir(whole, 0700), *slash = '/';
    FILE *file = fopen(whole, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static const struct machine {
    const char *name, *cgroup, *file, *text;
    int64_t count;
} machines[] = {
    {"version 2", "0::/user.slice/job\n", "/sys/fs/cgroup/user.slice/job/memory.events",
     "low 0\nhigh 3\nmax 4\noom 7\noom_kill 2\noom_group_kill 0\n", 2},
    {"version 2 in a container", "0::/../outer/job\n", "/sys/fs/cgroup/memory.events", "oom_kill 5\n", 5},
    {"version 1", "4:memory:/job\n0::/\n", "/sys/fs/cgroup/memory/job/memory.oom_control",
     "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3},
    {"version 1 of which the container sees a part", "4:memory:/docker/abc/job\n",
     "/sys/fs/cgroup/memory/job/memory.oom_control", "oom_kill 4\n", 4},
    {"the machine", "0::/job\n", "/proc/vmstat", "nr_free_pages 1\noom_kill 9\n", 9},
    {"nothing", "0::/job\n", "/proc/other", "oom_kill 9\n", -1},
};

START_TEST(oom_kills_are_counted_everywhere) {
    const struct machine *m = &machines[_i];
    char root[] = "/tmp/tandem-report-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(root));
    write_text(root, "/proc/self/cgroup", m->cgroup);
    write_text(root, m->file, m->text);
    int64_t count = launcher_proc_oom_kills(root);
    nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    ck_assert_msg(count == m->count, "%s: %d", m->name, (int)count);
}
END_TEST

/* The real thing, where we may make a group: rank 1 allocates until it is killed. */
START_TEST(a_rank_that_the_kernel_killed_for_memory_is_told_as_such) {
    char group[128], limit[192], command[2048];
    snprintf(group, sizeof group, "/sys/fs/cgroup/memory/tandem-test-%d", (int)getpid());
    snprintf(limit, sizeof limit, "%s/memory.limit_in_bytes", group);
    if (mkdir(group, 0700) != 0) return; /* no such right, or another version of groups */
    FILE *file = fopen(limit, "w");
    if (file) fputs("100000000", file), fclose(file);
    snprintf(command, sizeof command,
             "echo $$ > %s/cgroup.procs && exec " TANDEM " run -n 2 -- " RANKS " 1 allocate 0 hang", group);
    launch l = launch_start_with((launch_setup){0}, (const char *[]){"sh", "-c", command, NULL});
    launch_finish(&l);
    for (int tries = 0; tries < 100 && rmdir(group) != 0; tries++) usleep(10000);
    ck_code(&l, 137);
    ck_contains(l.errors, "tandem: rank 1 (pid ");
    ck_contains(l.errors, ") was killed by SIGKILL, probably out of memory, after ");
    launch_free(&l);
}
END_TEST

START_TEST(a_kill_by_somebody_is_no_lack_of_memory) {
    RUN(l, "--", RANKS, "0", "kill:9");
    ck_code(&l, 137);
    ck_assert_ptr_null(strstr(l.errors, "memory"));
    launch_free(&l);
}
END_TEST

/* --- cores ---------------------------------------------------------------------------------------------- */

/* What the kernel makes of such an end here, with this limit: it may not dump at all, or to a program. */
static bool does_dump(const char *folder, rlim_t limit) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){limit, limit});
        if (chdir(folder) != 0) _exit(99);
        signal(SIGSEGV, SIG_DFL);
        execl("/bin/sh", "sh", "-c", "kill -SEGV $$", (char *)NULL);
        _exit(99);
    }
    waitpid(pid, &status, 0);
    ck_assert(WIFSIGNALED(status));
    return WCOREDUMP(status);
}

START_TEST(a_core_is_told_where_one_was_dumped) {
    static const char *const limits[] = {"0", "unlimited"};
    char folder[] = "/tmp/tandem-core-XXXXXX", path[64], script[128];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/report.json", folder);
    snprintf(script, sizeof script, "ulimit -c %s; kill -SEGV $$", limits[_i]);
    bool dumped = does_dump(folder, _i ? RLIM_INFINITY : 0);
    RUN(l, "--wdir", folder, "--report", path, "--", "sh", "-c", script);
    json_t *report = json_load_file(path, 0, NULL), *culprit = json_object_get(report, "culprit");
    ck_code(&l, 139);
    ck_assert_int_eq(json_is_true(json_object_get(culprit, "core_dumped")), dumped);
    ck_assert_int_eq(strstr(l.errors, ") was killed by SIGSEGV (core dumped) after ") != NULL, dumped);
    ck_assert_int_eq(strstr(l.errors, ") was killed by SIGSEGV after ") != NULL, !dumped);
    json_decref(report);
    launch_free(&l);
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
END_TEST

/* --- stacks --------------------------------------------------------------------------------------------- */

START_TEST(a_worker_that_crashes_shows_its_stack) {
    launch l = START("-n", "2", "--", "sh", "-c",
                     "echo $RANK $$; exec " TANDEM " train --model mlp --data mnist --steps 100000000");
    int pid = 0;
    while (!strstr(l.output, "0 ") || !strchr(strstr(l.output, "0 "), '\n')) launch_expect_more(&l);
    ck_assert_int_eq(sscanf(strstr(l.output, "0 "), "0 %d", &pid), 1);
    launch_expect(&l, "first step after");
    kill(pid, SIGSEGV);
    launch_finish(&l);
    if (!strstr(l.errors, "AddressSanitizer")) { /* it does that itself */
        ck_code(&l, 139);
        ck_contains(l.errors, "tandem train: rank 0: SIGSEGV; the stack, innermost first:\n");
        ck_contains(l.errors, "/tandem(+0x");
        ck_contains(l.errors, "training, at step ");
    }
    launch_free(&l);
}
END_TEST

/* Without gdb the stuck worker speaks for itself. It is stuck in opening a pipe that nobody writes. */
START_TEST(a_worker_that_is_stuck_shows_its_stack) {
    char fifo[] = "/tmp/tandem-report-XXXXXX", path[64];
    const char *no_gdb[] = {"PATH=/nowhere", NULL};
    ck_assert_ptr_nonnull(mkdtemp(fifo));
    snprintf(path, sizeof path, "%s/weights", fifo);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    RUN_WITH(l, (launch_setup){.environment = no_gdb}, "--stall-timeout", "1s", "--", TANDEM, "train",
             "--model", "mlp", "--data", "mnist", "--init-from", path);
    unlink(path), rmdir(fifo);
    ck_code(&l, 124);
    ck_contains(l.errors,
                "tandem train: rank 0: the launcher asks where it is; the stack, innermost first:\n");
    launch_free(&l);
}
END_TEST

/* --- the moment, and what is left ----------------------------------------------------------------------- */

START_TEST(each_end_has_its_moment) {
    char path[64], now[32], told[32] = "";
    time_t before = time(NULL);
    snprintf(path, sizeof path, "/tmp/tandem-report-%d.json", (int)getpid());
    RUN(l, "-n", "2", "--report", path, "--", RANKS, "1", "exit:3", "0", "hang");
    json_t *report = json_load_file(path, 0, NULL), *culprit = json_object_get(report, "culprit");
    unlink(path);
    snprintf(told, sizeof told, "%s", json_string_value(json_object_get(culprit, "ended_at")));
    ck_assert_uint_eq(strlen(told), strlen("2026-11-24T15:30:00.123Z"));
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%S", gmtime(&before));
    ck_assert_int_ge(strncmp(told, now, strlen(now)), 0);
    before = time(NULL) + 1;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%S", gmtime(&before));
    ck_assert_int_le(strncmp(told, now, strlen(now)), 0);
    json_decref(report);
    launch_free(&l);
}
END_TEST

/* It ends a moment after its rank: nothing to tell. */
START_TEST(what_ends_by_itself_in_time_is_no_remnant) {
    RUN(l, "--", "sh", "-c", "sleep 0.05 & exit 0");
    ck_code(&l, 0);
    ck_assert_str_eq(l.errors, "");
    launch_free(&l);
}
END_TEST

START_TEST(daemons_can_be_spared) {
    launch l = START("--leave-daemons", "--", "sh", "-c",
                     "setsid sh -c 'echo $$; exec sleep 60' > /tmp/tandem-daemon-$PPID < /dev/null 2>&1 & "
                     "while ! [ -s /tmp/tandem-daemon-$PPID ]; do sleep 0.01; done; "
                     "cat /tmp/tandem-daemon-$PPID; rm /tmp/tandem-daemon-$PPID");
    while (!strchr(l.output, '\n')) launch_expect_more(&l);
    int daemon = atoi(l.output), status;
    ck_assert_int_eq(waitpid(l.pid, &status, 0), l.pid);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(kill(daemon, SIGKILL), 0);
    char errors[256] = "";
    ck_assert_int_gt(read(l.err, errors, sizeof errors - 1), 0);
    ck_contains(errors, "tandem: 1 process left behind by the ranks (--leave-daemons)\n");
    launch_expect_no_survivors(&l);
    launch_free(&l);
}
END_TEST

/* It holds both of our pipes and is not waited for. */
START_TEST(a_spared_daemon_does_not_delay_the_end) {
    launch l = START("--leave-daemons", "-n", "2", "--", RANKS, "0", "daemon", "*", "say:done");
    ck_assert_int_eq(waitpid(l.pid, &l.status, 0), l.pid);
    ck_code(&l, 0);
    launch_expect(&l, "done\ndone\n");
    ck_assert_int_eq(launch_survivors(&l), 1);
    launch_kill_survivors(&l);
    launch_expect_no_survivors(&l);
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("report");
    TCase *tcase = tcase_create("report");
    tcase_add_loop_test(tcase, oom_kills_are_counted_everywhere, 0,
                        (int)(sizeof machines / sizeof *machines));
    tcase_add_test(tcase, a_rank_that_the_kernel_killed_for_memory_is_told_as_such);
    tcase_add_test(tcase, a_kill_by_somebody_is_no_lack_of_memory);
    tcase_add_test(tcase, a_worker_that_crashes_shows_its_stack);
    tcase_add_test(tcase, a_worker_that_is_stuck_shows_its_stack);
    tcase_add_test(tcase, each_end_has_its_moment);
    tcase_add_test(tcase, what_ends_by_itself_in_time_is_no_remnant);
    tcase_add_test(tcase, daemons_can_be_spared);
    tcase_add_loop_test(tcase, a_core_is_told_where_one_was_dumped, 0, 2);
    tcase_add_test(tcase, a_spared_daemon_does_not_delay_the_end);
    suite_add_tcase(suite, tcase);
    return suite;
}
