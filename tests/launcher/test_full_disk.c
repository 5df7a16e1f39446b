/* Log files on a real file system that has no room, no room for another name, or takes no writes. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

static void put_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    if (fd < 0) return;
    if (write(fd, text, strlen(text)) < 0) perror(path);
    close(fd);
}

/* From now on mounts of this process are its own, and go with it. Who is not root is root in a world of his own. */
static bool own_mounts(void) {
    char map[64];
    if (unshare(CLONE_NEWNS) != 0) {
        unsigned user = getuid(), group = getgid();
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
        snprintf(map, sizeof map, "0 %u 1", user);
        put_text("/proc/self/uid_map", map);
        put_text("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1", group);
        put_text("/proc/self/gid_map", map);
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static char folder[64];

/* A disk with these properties; false: not permitted here. */
static bool mount_disk(unsigned long flags, const char *properties) {
    snprintf(folder, sizeof folder, "/tmp/tandem_disk_XXXXXX");
    if (!own_mounts() || !mkdtemp(folder)) return false;
    if (mount("none", folder, "tmpfs", flags, properties) == 0) return true;
    rmdir(folder);
    return false;
}

static void unmount_disk(void) {
    umount(folder);
    rmdir(folder);
}

const char *skip_reason(void) {
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        bool can = mount_disk(0, "size=64k");
        if (can) unmount_disk();
        _exit(can ? 0 : 1);
    }
    waitpid(child, &status, 0);
    return status == 0 ? NULL : "mounting is not permitted, not even in a namespace of our own";
}

static long size_of(const char *pattern) {
    char path[256];
    glob_t found;
    long bytes = -1;
    snprintf(path, sizeof path, "%s/none_*/attempt_0/%s", folder, pattern);
    if (glob(path, 0, NULL, &found) != 0) return -1;
    FILE *file = fopen(found.gl_pathv[0], "r");
    if (file && fseek(file, 0, SEEK_END) == 0) bytes = ftell(file);
    if (file) fclose(file);
    globfree(&found);
    return bytes;
}

static int count(const char *text, const char *part) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++) n++;
    return n;
}

/* The ranks write the files themselves and do not look whether it worked; we do. */
START_TEST(a_disk_that_filled_under_the_ranks_own_files_is_told_and_is_no_success) {
    ck_assert(mount_disk(0, "size=256k"));
    RUN(l, "-n", "2", "--log-dir", folder, "-r", "1", "--", RANKS, "*", "lines:20000", "*", "flush");
    ck_code(&l, 125);
    ck_assert_int_eq(count(l.errors, "tandem: the disk is full: the end of "), 1);
    ck_contains(l.errors, "/stdout.log, which its rank wrote itself, may be missing\n");
    ck_assert_int_gt(size_of("0/stdout.log") + size_of("1/stdout.log"), 200000);
    unmount_disk();
    launch_free(&l);
}
END_TEST

/* A rank that does look fails by itself, and is the culprit. */
START_TEST(a_rank_that_notices_the_full_disk_is_the_culprit) {
    ck_assert(mount_disk(0, "size=256k"));
    RUN(l, "-n", "2", "--log-dir", folder, "-r", "1", "--", "sh", "-c",
        "if [ $RANK = 1 ]; then head -c 1000000 /dev/zero || exit 7; fi; sleep 60");
    ck_code(&l, 7);
    ck_contains(l.errors, "tandem: the disk is full: the end of ");
    ck_contains(l.errors, "rank 1");
    ck_contains(l.errors, "No space left on device");
    unmount_disk();
    launch_free(&l);
}
END_TEST

/* We write these, and what is shown does not suffer. */
START_TEST(a_full_disk_under_teed_files_is_told_once_and_the_job_goes_on) {
    ck_assert(mount_disk(0, "size=256k"));
    RUN(l, "-n", "2", "--log-dir", folder, "-t", "1", "--", RANKS, "*", "lines:20000");
    ck_code(&l, 125);
    ck_contains(l.errors, "/stdout.log: No space left on device; the job goes on without it\n");
    ck_assert_int_eq(count(l.errors, "the job goes on"), 1);
    ck_assert_int_eq(count(l.output, "\n"), 40000);
    unmount_disk();
    launch_free(&l);
}
END_TEST

START_TEST(a_disk_with_room_is_no_trouble) {
    ck_assert(mount_disk(0, "size=16m"));
    RUN(l, "-n", "2", "--log-dir", folder, "-r", "1", "--", RANKS, "*", "lines:20000");
    ck_code(&l, 0);
    ck_assert_str_eq(l.errors, "");
    unmount_disk();
    launch_free(&l);
}
END_TEST

START_TEST(a_read_only_folder_is_told_before_anything_starts) {
    ck_assert(mount_disk(MS_RDONLY, "size=64k"));
    RUN(l, "--log-dir", folder, "-r", "1", "--", "sh", "-c", "echo started >&2");
    ck_code(&l, 125);
    ck_contains(l.errors, "tandem: cannot make the log folder ");
    ck_contains(l.errors, ": Read-only file system\n");
    ck_assert_ptr_null(strstr(l.errors, "started"));
    unmount_disk();
    launch_free(&l);
}
END_TEST

/* Of three names two fit: the disk's own folder and the run's. */
START_TEST(a_disk_without_room_for_a_name_is_told_before_anything_starts) {
    ck_assert(mount_disk(0, "size=64k,nr_inodes=2"));
    RUN(l, "--log-dir", folder, "-r", "1", "--", "sh", "-c", "echo started >&2");
    ck_code(&l, 125);
    ck_contains(l.errors, "/attempt_0: No space left on device\n");
    ck_assert_ptr_null(strstr(l.errors, "started"));
    unmount_disk();
    launch_free(&l);
}
END_TEST

SUITE("full_disk", a_disk_that_filled_under_the_ranks_own_files_is_told_and_is_no_success,
      a_rank_that_notices_the_full_disk_is_the_culprit,
      a_full_disk_under_teed_files_is_told_once_and_the_job_goes_on, a_disk_with_room_is_no_trouble,
      a_read_only_folder_is_told_before_anything_starts,
      a_disk_without_room_for_a_name_is_told_before_anything_starts)
