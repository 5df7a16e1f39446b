/*
 * A user at a terminal who suspends a training run, debugs a rank of it, and holds its output, each for four times
 * as long as ranks wait for one another. Nothing may come of it: status 0, and the weights of an undisturbed run.
 */
#include "base/clock.h"
#include "launch.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LONG_MS = 20000 };

#define TRAIN                                                                                                \
    TANDEM " run -n 2 --stall-timeout 5s -- " TANDEM                                                         \
           " train --model mlp --data mnist --steps 12000 --json --log-interval 1 --save "

static const char *skip_without(const char *program) {
    char command[64];
    snprintf(command, sizeof command, "command -v %s > /dev/null", program);
    return system(command) == 0 ? NULL : program;
}

const char *skip_reason(void) { return skip_without("bash") ? "there is no bash" : NULL; }

/* Read what comes for so long, or until it holds `text`; the newest of it stays in `seen`. */
static bool read_for(int terminal, int ms, const char *text, char seen[8192]) {
    int64_t end = td_clock_ns() + ms * INT64_C(1000000);
    size_t n = strlen(seen);
    for (int64_t now; (now = td_clock_ns()) < end;) {
        struct pollfd p = {terminal, POLLIN, 0};
        if (poll(&p, 1, (int)((end - now) / 1000000) + 1) <= 0) continue;
        if (n > 4096) memmove(seen, seen + n - 2048, 2049), n = 2048;
        ssize_t got = read(terminal, seen + n, 8191 - n);
        if (got <= 0) return false;
        n += (size_t)got;
        seen[n] = 0;
        if (text && strstr(seen, text)) return true;
    }
    return text == NULL;
}

static void type(int terminal, const char *keys) {
    ck_assert_int_eq(write(terminal, keys, strlen(keys)), (ssize_t)strlen(keys));
}

static bool has_entry(const char *pid, const char *entry) {
    char path[300], *found = NULL;
    size_t capacity = 0;
    bool has = false;
    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    FILE *file = fopen(path, "re");
    while (file && !has && getdelim(&found, &capacity, 0, file) > 0) has = strcmp(found, entry) == 0;
    if (file) fclose(file);
    free(found);
    return has;
}

/* The process of rank 1 of this test's job. */
static pid_t find_rank_1(const char *mark) {
    pid_t pid = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *e; (e = readdir(dir));)
        if (isdigit((unsigned char)e->d_name[0]) && has_entry(e->d_name, mark) &&
            has_entry(e->d_name, "RANK=1"))
            pid = atoi(e->d_name);
    closedir(dir);
    return pid;
}

static void run_undisturbed(const char *weights) {
    char command[1024];
    snprintf(command, sizeof command, TRAIN "%s > /dev/null", weights);
    ck_assert_int_eq(system(command), 0);
}

static void expect_same(const char *a, const char *b) {
    char command[256];
    snprintf(command, sizeof command, "cmp %s %s", a, b);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(suspended_debugged_and_held_it_trains_as_if_undisturbed) {
    char folder[] = "/tmp/tandem-patience-XXXXXX", weights[2][64], mark[64], line[1024], seen[8192] = "";
    int terminal;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    for (int i = 0; i < 2; i++) snprintf(weights[i], sizeof weights[i], "%s/%d", folder, i);
    snprintf(mark, sizeof mark, "TANDEM_TEST_MARK=patience.%d", (int)getpid());
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    pid_t shell = forkpty(&terminal, NULL, NULL, &size);
    if (shell == 0) {
        putenv(mark);
        putenv("PS1=$ ");
        execlp("bash", "bash", "--norc", "--noprofile", "-i", NULL);
        _exit(99);
    }
    snprintf(line, sizeof line, TRAIN "%s\n", weights[0]);
    type(terminal, line);
    ck_assert_msg(read_for(terminal, 30000, "\"step\":20,", seen), "%s", seen);

    type(terminal, "\x1a"); /* Ctrl-Z */
    ck_assert_msg(read_for(terminal, 10000, "Stopped", seen), "%s", seen);
    read_for(terminal, LONG_MS, NULL, seen);
    *seen = 0;
    type(terminal, "fg; echo status $?\n");
    ck_assert_msg(read_for(terminal, 10000, "\"event\":\"step\"", seen), "%s", seen);

    pid_t rank = find_rank_1(mark); /* as gdb does */
    ck_assert_int_gt(rank, 0);
    ck_assert_int_eq(ptrace(PTRACE_SEIZE, rank, NULL, NULL), 0);
    ptrace(PTRACE_INTERRUPT, rank, NULL, NULL);
    ck_assert_int_eq(waitpid(rank, NULL, __WALL), rank);
    read_for(terminal, LONG_MS, NULL, seen);
    ck_assert_int_eq(ptrace(PTRACE_DETACH, rank, NULL, NULL), 0);
    *seen = 0;
    ck_assert_msg(read_for(terminal, 10000, "\"event\":\"step\"", seen), "%s", seen);

    type(terminal, "\x13"); /* Ctrl-S */
    read_for(terminal, LONG_MS, NULL, seen);
    type(terminal, "\x11"); /* Ctrl-Q */
    ck_assert_msg(read_for(terminal, 120000, "\nstatus 0\r\n", seen), "%s", seen);
    type(terminal, "exit\n");
    close(terminal);
    waitpid(shell, NULL, 0);

    run_undisturbed(weights[1]);
    expect_same(weights[0], weights[1]);
    for (int i = 0; i < 2; i++) unlink(weights[i]);
    rmdir(folder);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("patience");
    TCase *tcase = tcase_create("patience");
    tcase_add_test(tcase, suspended_debugged_and_held_it_trains_as_if_undisturbed);
    suite_add_tcase(suite, tcase);
    return suite;
}
