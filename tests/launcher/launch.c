/* See launch.h. */
#include "launch.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE_S = 60 };

static int launches; /* tests run in processes of their own */

static void enter(const launch_setup *setup) {
    for (const char *const *e = setup->environment; e && *e; e++) {
        if (strchr(*e, '='))
            putenv((char *)*e);
        else
            unsetenv(*e);
    }
    /* The tests may themselves have been started under nohup or in the background of a shell. */
    for (const int *stop = (const int[]){SIGHUP, SIGINT, SIGQUIT, SIGTERM, 0}; *stop; stop++)
        signal(*stop, SIG_DFL);
    if (setup->ignored_signal) signal(setup->ignored_signal, SIG_IGN);
    if (setup->blocked_signal) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, setup->blocked_signal);
        sigprocmask(SIG_BLOCK, &set, NULL);
    }
    if (setup->output_path) dup2(open(setup->output_path, O_WRONLY), 1);
    if (setup->closed) close(0), close(1);
    if (setup->file_size_limit) {
        rlim_t n = (rlim_t)setup->file_size_limit;
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){n, n});
        signal(SIGXFSZ, SIG_IGN);
    }
}

launch launch_start_with(launch_setup setup, const char *const *argv) {
    int in[2], out[2], err[2];
    launch l = {.output = calloc(1, 1), .errors = calloc(1, 1)};
    ck_assert(pipe2(in, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
    ck_assert((setup.socket ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out)
                            : pipe2(out, O_CLOEXEC)) == 0);
    snprintf(l.mark, sizeof l.mark, "TANDEM_TEST_MARK=%d.%d", (int)getpid(), launches++);
    l.pid = fork();
    if (l.pid == 0) {
        dup2(in[0], 0), dup2(out[1], 1), dup2(err[1], 2);
        setpgid(0, 0);
        putenv(l.mark);
        enter(&setup);
        execvp(argv[0], (char *const *)argv);
        _exit(99);
    }
    close(in[0]), close(out[1]), close(err[1]);
    l.in = in[1], l.out = out[0], l.err = err[0];
    return l;
}

/* False at the end of the stream. */
static bool read_some(int *fd, char **text, size_t *n) {
    char chunk[65536];
    ssize_t got = read(*fd, chunk, sizeof chunk);
    if (got <= 0) {
        close(*fd);
        *fd = -1;
        return false;
    }
    *text = realloc(*text, *n + (size_t)got + 1);
    memcpy(*text + *n, chunk, (size_t)got);
    *n += (size_t)got;
    (*text)[*n] = 0;
    return true;
}

/* Read from both outputs until `wanted` has come on the first, or both have ended when there is none. */
static void gather(launch *l, const char *wanted) {
    int64_t deadline = td_clock_ns() + DEADLINE_S * INT64_C(1000000000);
    while ((l->out >= 0 || l->err >= 0) && !(wanted && strstr(l->output, wanted))) {
        struct pollfd fds[2] = {{l->out, POLLIN, 0}, {l->err, POLLIN, 0}};
        int64_t left = (deadline - td_clock_ns()) / 1000000;
        if (left <= 0 || poll(fds, 2, (int)left) == 0) {
            kill(l->pid, SIGKILL);
            ck_abort_msg("nothing more after %d s; so far:\n%s%s", DEADLINE_S, l->output, l->errors);
        }
        if (fds[0].revents) read_some(&l->out, &l->output, &l->output_n);
        if (fds[1].revents) read_some(&l->err, &l->errors, &l->errors_n);
    }
}

void launch_expect(launch *l, const char *text) {
    gather(l, text);
    ck_contains(l->output, text);
}

void launch_expect_more(launch *l) {
    size_t before = l->output_n;
    while (l->output_n == before) {
        struct pollfd p = {l->out, POLLIN, 0};
        ck_assert_msg(poll(&p, 1, DEADLINE_S * 1000) > 0, "nothing more after %d s", DEADLINE_S);
        ck_assert(read_some(&l->out, &l->output, &l->output_n));
    }
}

void launch_finish(launch *l) {
    if (l->in >= 0) close(l->in);
    l->in = -1;
    gather(l, NULL);
    ck_assert_int_eq(waitpid(l->pid, &l->status, 0), l->pid);
    /* It waits for its guardian, so there is nothing to wait for here. */
    ck_assert_msg(launch_survivors(l) == 0, "%d processes outlived the launcher", launch_survivors(l));
}

int launch_code(const launch *l) {
    return WIFSIGNALED(l->status) ? 128 + WTERMSIG(l->status) : WEXITSTATUS(l->status);
}

pid_t launch_child(pid_t parent) {
    char path[64];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    if (fscanf(file, "%d", &pid) != 1) pid = 0;
    fclose(file);
    return pid;
}

pid_t launch_guardian(const launch *l) { return launch_child(l->pid); }

static bool carries_mark(const char *pid, const char *mark) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    char *entry = NULL;
    size_t capacity = 0;
    bool found = false;
    while (!found && getdelim(&entry, &capacity, 0, file) > 0) found = strcmp(entry, mark) == 0;
    free(entry);
    fclose(file);
    return found;
}

/* How many there are; `signal` goes to each, or 0 for none. */
static int signal_survivors(const launch *l, int signal) {
    int count = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *e; (e = readdir(dir));) {
        bool other = e->d_name[0] >= '1' && e->d_name[0] <= '9' && atoi(e->d_name) != getpid();
        if (!other || !carries_mark(e->d_name, l->mark)) continue;
        count++;
        if (signal) kill(atoi(e->d_name), signal);
    }
    closedir(dir);
    return count;
}

int launch_survivors(const launch *l) { return signal_survivors(l, 0); }
void launch_kill_survivors(const launch *l) { signal_survivors(l, SIGKILL); }

void launch_expect_no_survivors(const launch *l) {
    for (int i = 0; i < 200 && launch_survivors(l) > 0; i++) nanosleep(&(struct timespec){0, 10000000}, NULL);
    ck_assert_msg(launch_survivors(l) == 0, "%d processes are left", launch_survivors(l));
}

void launch_free(launch *l) {
    if (l->in >= 0) close(l->in);
    if (l->out >= 0) close(l->out);
    if (l->err >= 0) close(l->err);
    free(l->output);
    free(l->errors);
}
