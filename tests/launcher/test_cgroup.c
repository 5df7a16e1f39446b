/* The control group that ranks are born into, where one can be made. */
#include "launch.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

/* Where the group of this path is seen; false when it is not. */
static bool find_group(const char *group, char path[512]) {
    static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    char procs[540];
    for (int i = 0; i < 2; i++) {
        snprintf(path, 512, "%s%s", mounts[i], group);
        snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
        if (access(procs, F_OK) == 0) return true;
    }
    return false;
}

/* The line of version 2 in what a process says of its groups. */
static bool read_group(const char *text, char group[256]) {
    const char *line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    return line && sscanf(strchr(line, '/'), "%255[^\n]", group) == 1;
}

static bool read_own_group(char group[256]) {
    char text[4096];
    FILE *file = fopen("/proc/self/cgroup", "r");
    text[file ? fread(text, 1, sizeof text - 1, file) : 0] = 0;
    if (file) fclose(file);
    return read_group(text, group);
}

const char *skip_reason(void) {
    char group[256], path[512], below[560], file[600];
    if (!read_own_group(group) || !find_group(group, path)) return "there are no control groups of version 2";
    snprintf(below, sizeof below, "%s/test-%d", path, (int)getpid());
    if (mkdir(below, 0755) != 0) return "no control group can be made here";
    snprintf(file, sizeof file, "%s/cgroup.kill", below);
    bool kills = access(file, W_OK) == 0;
    rmdir(below);
    return kills ? NULL : "this kernel has no cgroup.kill";
}

/* That of the ranks, which say it. */
static void find_ranks_group(const launch *l, char path[512]) {
    char group[256] = "";
    ck_assert_msg(read_group(l->output, group), "no group in:\n%s", l->output);
    ck_assert_msg(strstr(group, "/tandem-"), "the ranks are in %s", group);
    ck_assert_msg(find_group(group, path), "there is no %s", group);
}

/* A job that says its group and hangs, with a daemon that ignores SIGTERM. */
static launch start_job(char path[512]) {
    launch l = START("-n", "2", "--", "sh", "-c",
                     "[ $RANK = 0 ] && cat /proc/self/cgroup; exec " RANKS
                     " 0 daemon 0 say:up '*' ignore:15 '*' hang");
    launch_expect(&l, "up\n");
    find_ranks_group(&l, path);
    return l;
}

static void expect_removed(const char *path) {
    for (int i = 0; i < 200 && access(path, F_OK) == 0; i++) usleep(10000);
    ck_assert_msg(access(path, F_OK) != 0, "%s is left", path);
}

START_TEST(it_goes_with_the_job) {
    RUN(l, "-n", "2", "--", "sh", "-c", "[ $RANK = 0 ] && cat /proc/self/cgroup; true");
    char group[256], path[512];
    ck_code(&l, 0);
    ck_assert(read_group(l.output, group));
    ck_assert_msg(strstr(group, "/tandem-"), "the ranks are in %s", group);
    ck_assert(!find_group(group, path));
    launch_free(&l);
}
END_TEST

START_TEST(it_goes_with_a_killed_launcher) {
    char path[512];
    launch l = start_job(path);
    kill(l.pid, SIGKILL);
    launch_expect_no_survivors(&l);
    expect_removed(path);
    launch_free(&l);
}
END_TEST

START_TEST(it_goes_with_a_killed_guardian) {
    char path[512];
    launch l = start_job(path);
    kill(launch_guardian(&l), SIGKILL);
    launch_finish(&l);
    ck_code(&l, 125);
    expect_removed(path);
    launch_free(&l);
}
END_TEST

/* Processes one after another, each gone before a killer of processes has seen it: those alone end this too, but
 * by luck. */
START_TEST(who_forks_faster_than_it_is_killed_is_killed_all_the_same) {
    char path[] = "/tmp/tandem-storm-XXXXXX", storm[64];
    int lock = mkstemp(path);
    snprintf(storm, sizeof storm, "storm:%s", path);
    launch l = START("--", RANKS, "0", storm, "0", "say:up", "0", "hang");
    launch_expect(&l, "up\n");
    ck_assert_int_ne(flock(lock, LOCK_EX | LOCK_NB), 0);
    kill(l.pid, SIGKILL);
    bool gone = false;
    for (int i = 0; i < 200 && !gone; i++) {
        usleep(10000);
        gone = flock(lock, LOCK_EX | LOCK_NB) == 0;
    }
    unlink(path);
    ck_assert_msg(gone, "the storm goes on");
    close(lock);
    launch_expect_no_survivors(&l);
    launch_free(&l);
}
END_TEST

/* Into a group of this test's own, where no other test's job clears up; "" leaves it. */
static void move_to(char home[512], const char *name) {
    char group[256], procs[560];
    if (*name) ck_assert(read_own_group(group) && find_group(group, home));
    snprintf(procs, sizeof procs, "%s%s%s", home, *name ? "/" : "", name);
    if (*name) ck_assert_int_eq(mkdir(procs, 0755), 0);
    strcat(procs, "/cgroup.procs");
    FILE *file = fopen(procs, "w");
    ck_assert(file && fputs("0", file) >= 0 && fclose(file) == 0);
}

/* The one limit: the daemon lives; but not beyond the next job. */
START_TEST(the_next_job_clears_up_what_a_killed_guardian_could_not) {
    char path[512], home[512], name[32], own[560];
    snprintf(name, sizeof name, "test-%d", (int)getpid());
    move_to(home, name);
    launch l = start_job(path);
    pid_t guardian = launch_guardian(&l);
    kill(guardian, SIGSTOP);
    kill(l.pid, SIGKILL);
    kill(guardian, SIGKILL);
    waitpid(l.pid, &l.status, 0);
    for (int i = 0; i < 200 && launch_survivors(&l) > 1; i++) usleep(10000);
    ck_assert_int_eq(launch_survivors(&l), 1);
    RUN(next, "--", "true");
    ck_code(&next, 0);
    launch_expect_no_survivors(&l);
    RUN(after, "--", "true"); /* the group's last process may not have been gone yet */
    expect_removed(path);
    move_to(home, "");
    snprintf(own, sizeof own, "%s/%s", home, name);
    ck_assert_int_eq(rmdir(own), 0);
    launch_free(&after);
    launch_free(&next);
    launch_free(&l);
}
END_TEST

START_TEST(a_living_jobs_group_is_left_alone) {
    char path[512];
    launch l = start_job(path);
    RUN(next, "--", "true");
    ck_code(&next, 0);
    ck_assert_int_eq(access(path, F_OK), 0);
    ck_assert_int_eq(launch_survivors(&l), 5); /* launcher, guardian, ranks, daemon */
    kill(l.pid, SIGKILL);
    launch_expect_no_survivors(&l);
    launch_free(&next);
    launch_free(&l);
}
END_TEST

/* Else the next job would take it for left over. */
START_TEST(daemons_that_are_to_be_left_get_none) {
    RUN(l, "--leave-daemons", "--", "cat", "/proc/self/cgroup");
    char group[256];
    ck_code(&l, 0);
    ck_assert(read_group(l.output, group));
    ck_assert_msg(!strstr(group, "/tandem-"), "the rank is in %s", group);
    launch_free(&l);
}
END_TEST

START_TEST(a_job_inside_a_job_has_its_own) {
    RUN(l, "--", TANDEM, "run", "--", "cat", "/proc/self/cgroup");
    char group[256], path[512];
    ck_code(&l, 0);
    ck_assert(read_group(l.output, group));
    char *outer = strstr(group, "/tandem-"), *inner = outer ? strstr(outer + 1, "/tandem-") : NULL;
    ck_assert_msg(inner, "the rank is in %s", group);
    *inner = 0;
    ck_assert(!find_group(group, path));
    launch_free(&l);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("cgroup");
    TCase *tcase = tcase_create("cgroup");
    tcase_add_test(tcase, it_goes_with_the_job);
    tcase_add_test(tcase, it_goes_with_a_killed_launcher);
    tcase_add_test(tcase, it_goes_with_a_killed_guardian);
    tcase_add_test(tcase, who_forks_faster_than_it_is_killed_is_killed_all_the_same);
    tcase_add_test(tcase, the_next_job_clears_up_what_a_killed_guardian_could_not);
    tcase_add_test(tcase, a_living_jobs_group_is_left_alone);
    tcase_add_test(tcase, daemons_that_are_to_be_left_get_none);
    tcase_add_test(tcase, a_job_inside_a_job_has_its_own);
    suite_add_tcase(suite, tcase);
    return suite;
}
