#include "base/file.h"
#include "base/memory.h"
#include "support/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/tandem-file-XXXXXX";
static char target[64];

static void make_folder(void) {
    strcpy(folder, "/tmp/tandem-file-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(target, sizeof target, "%s/target", folder);
}

static int files_in_folder(void) {
    int count = 0;
    DIR *dir = opendir(folder);
    while (readdir(dir)) count++;
    closedir(dir);
    return count - 2;
}

static void remove_folder(void) {
    unlink(target);
    ck_assert_int_eq(files_in_folder(), 0);
    rmdir(folder);
}

static void assert_content(const char *expected) {
    void *data;
    size_t bytes;
    ck_ok(td_file_read(target, 0, &data, &bytes));
    ck_assert_uint_eq(bytes, strlen(expected));
    ck_assert_str_eq(data, expected);
    td_free(data);
}

START_TEST(a_file_appears_when_committed_and_not_before) {
    td_file_writer *writer = NULL;
    ck_ok(td_file_begin(target, &writer));
    ck_ok(td_file_write(writer, "hello ", 6));
    ck_ok(td_file_write(writer, "world", 5));
    ck_assert_int_ne(access(target, F_OK), 0);
    ck_ok(td_file_commit(&writer));
    ck_assert_ptr_null(writer);
    assert_content("hello world");
}
END_TEST

START_TEST(a_dropped_file_leaves_the_old_one) {
    ck_ok(td_file_write_whole(target, "old", 3));
    td_file_writer *writer = NULL;
    ck_ok(td_file_begin(target, &writer));
    ck_ok(td_file_write(writer, "new", 3));
    td_file_drop(&writer);
    td_file_drop(&writer);
    assert_content("old");
    ck_assert_int_eq(files_in_folder(), 1);
}
END_TEST

START_TEST(modes_are_kept_or_follow_the_umask) {
    struct stat info;
    umask(027);
    ck_ok(td_file_write_whole(target, "a", 1));
    stat(target, &info);
    ck_assert_int_eq(info.st_mode & 07777, 0640);
    chmod(target, 0604);
    ck_ok(td_file_write_whole(target, "b", 1));
    stat(target, &info);
    ck_assert_int_eq(info.st_mode & 07777, 0604);
}
END_TEST

/* A full disk: the process may not write files larger than 4 KiB. */
START_TEST(a_write_that_fails_leaves_the_old_file_and_nothing_else) {
    ck_ok(td_file_write_whole(target, "old", 3));
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {4096, 4096};
    setrlimit(RLIMIT_FSIZE, &limit);
    char *large = calloc(1, 100000);
    ck_fails(td_file_write_whole(target, large, 100000), TD_ERR_SYSTEM, "File too large");
    free(large);
    assert_content("old");
    ck_assert_int_eq(files_in_folder(), 1);
}
END_TEST

static bool is_of_kind(const char *path, mode_t kind) {
    struct stat info;
    return lstat(path, &info) == 0 && (info.st_mode & S_IFMT) == kind;
}

START_TEST(a_device_is_written_and_stays_a_device) {
    ck_ok(td_file_write_whole("/dev/null", "abc", 3));
    ck_assert(is_of_kind("/dev/null", S_IFCHR));
    ck_fails(td_file_write_whole("/dev/full", "abc", 3), TD_ERR_SYSTEM, "No space left");
    ck_assert(is_of_kind("/dev/full", S_IFCHR));
}
END_TEST

START_TEST(a_fifo_is_written_and_stays_a_fifo) {
    char bytes[8] = "";
    ck_assert_int_eq(mkfifo(target, 0600), 0);
    int reader = open(target, O_RDONLY | O_NONBLOCK);
    ck_ok(td_file_write_whole(target, "abc", 3));
    ck_assert_int_eq(read(reader, bytes, sizeof bytes), 3);
    ck_assert_str_eq(bytes, "abc");
    close(reader);
    ck_assert(is_of_kind(target, S_IFIFO));
}
END_TEST

/* Standard output that goes into a file: what stands there stays, and what comes later follows. */
START_TEST(standard_output_goes_on_behind_what_was_said) {
    static const char *const names[] = {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"};
    int keep = dup(1), fd = open(target, O_WRONLY | O_CREAT, 0600);
    dup2(fd, 1);
    bool all = write(1, "before ", 7) == 7;
    td_status status = td_file_write_whole(names[_i], "report ", 7);
    all = all && write(1, "after", 5) == 5;
    dup2(keep, 1);
    close(keep);
    close(fd);
    ck_ok(status);
    ck_assert(all);
    assert_content("before report after");
    ck_assert_int_eq(files_in_folder(), 1);
}
END_TEST

START_TEST(a_symbolic_link_stays_and_its_file_is_replaced) {
    char link[80];
    snprintf(link, sizeof link, "%s/link", folder);
    ck_ok(td_file_write_whole(target, "old", 3));
    ck_assert_int_eq(symlink("target", link), 0);
    ck_ok(td_file_write_whole(link, "new", 3));
    ck_assert(is_of_kind(link, S_IFLNK));
    assert_content("new");
    unlink(link);
}
END_TEST

START_TEST(impossible_paths_say_why) {
    void *data = NULL;
    size_t bytes;
    ck_fails(td_file_write_whole("/proc/none/x", "a", 1), TD_ERR_SYSTEM, "/proc/none/x: No such file");
    ck_fails(td_file_write_whole(folder, "a", 1), TD_ERR_SYSTEM, "Is a directory");
    ck_fails(td_file_write_whole("/dev/fd/987", "a", 1), TD_ERR_SYSTEM, "Bad file descriptor");
    ck_fails(td_file_read("/none", 0, &data, &bytes), TD_ERR_SYSTEM, "/none: No such file");
    ck_fails(td_file_read("/tmp", 0, &data, &bytes), TD_ERR_SYSTEM, "Is a directory");
    ck_ok(td_file_write_whole(target, "0123456789", 10));
    ck_fails(td_file_read(target, 9, &data, &bytes), TD_ERR_ARG, "larger than 9");
    ck_assert_ptr_null(data);
    ck_ok(td_file_read("/proc/self/status", 0, &data, &bytes)); /* says it has no size */
    ck_assert_uint_gt(bytes, 100);
    td_free(data);
}
END_TEST

START_TEST(each_failing_allocation_is_survived) {
    for (long k = 0;; k++) {
        td_alloc_fail_after(k);
        td_status status = td_file_write_whole(target, "abc", 3);
        td_alloc_fail_after(-1);
        if (status == TD_OK) break;
        ck_assert_int_eq(status, TD_ERR_MEMORY);
        ck_assert_int_eq(files_in_folder(), 0);
        ck_assert_int_lt(k, 10);
    }
}
END_TEST

Suite *make_suite(void) {
    const TTest *const tests[] = {a_file_appears_when_committed_and_not_before,
                                  a_dropped_file_leaves_the_old_one,
                                  modes_are_kept_or_follow_the_umask,
                                  a_write_that_fails_leaves_the_old_file_and_nothing_else,
                                  a_device_is_written_and_stays_a_device,
                                  a_fifo_is_written_and_stays_a_fifo,
                                  a_symbolic_link_stays_and_its_file_is_replaced,
                                  impossible_paths_say_why,
                                  each_failing_allocation_is_survived};
    Suite *suite = suite_create("file");
    TCase *tcase = tcase_create("file");
    tcase_add_checked_fixture(tcase, make_folder, remove_folder);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(tcase, tests[i]);
    tcase_add_loop_test(tcase, standard_output_goes_on_behind_what_was_said, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
