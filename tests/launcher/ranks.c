/*
 * A rank that behaves as it is told: ranks RANK WHAT [RANK WHAT]... does each WHAT whose RANK is its own ("*"
 * is every rank), in this order, and leaves with 0.
 *
 *     exit:N kill:N (a signal, to itself) hang ignore:N (a signal)
 *     catch (the signals that stop a job: say "got" and the name, leave with 0)
 *     note:N leave:N (on that signal: say "got" and the name, and go on, or leave with 0)
 *     clock tell:N (say the moment, in ns; on that signal: say it and leave with 0)
 *     noted (wait until a signal of note:N has come)
 *     say:TEXT complain:TEXT (standard output, error; a newline follows)
 *     lines:N (lines that tell the rank and their number) sleep:MS
 *     lost:R:CALL waited:R:CALL (control channel: R is gone; R never came)
 *     daemon (a grandchild in a session of its own that ignores SIGTERM and holds both outputs)
 *     storm:FILE (daemons that fork and leave all the time, for 6 s at most, and hold a lock on the file)
 *     child (a child that says "got TERM" and leaves)
 *     wait (for the end of standard input)
 *     join reduce:N leave (open the group; N all-reduces of 1, saying the sum; close the group)
 *     allocate (memory, until something ends it)
 *     limit:MIB (of address space)
 *     close (both outputs)
 *     mutter:TEXT (no newline follows)
 *     meet (rank 0 listens at MASTER_PORT; all others come and show the same run id)
 *     flush (what was printed)
 *     attempt:N:WHAT (WHAT, in attempt N only)
 *     variable:NAME (say an environment variable's value)
 *     step:N (tell the launcher: training, at step N; opens the job)
 *     sum:N (an all-reduce of N numbers)
 *     columns (say those of the terminal behind the launcher)
 */
#include "dist/control.h"
#include "dist/group.h"
#include "dist/job.h"
#include "dist/job_mark.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static td_job *job;
static td_group *group;

/* As a program of ours does: say why on standard error and leave with 1. */
static void need(td_status status) {
    if (status >= 0) return;
    fprintf(stderr, "%s\n", td_error_last()->text);
    exit(1);
}

static void join_group(void) {
    need(td_job_open(&job));
    need(td_group_open(job, NULL, &group));
}

static void reduce(long times) {
    double sum = 0;
    for (long i = 0; i < times; i++) {
        sum = 1;
        need(td_group_all_reduce(group, &sum, 1, TD_DTYPE_F64, TD_REDUCE_SUM, (td_device){TD_DEVICE_CPU, 0},
                                 NULL, NULL));
    }
    printf("sum %g\n", sum);
    fflush(stdout);
}

static void sum(long count) {
    double *numbers = calloc((size_t)count, sizeof *numbers);
    need(td_group_all_reduce(group, numbers, (size_t)count, TD_DTYPE_F64, TD_REDUCE_SUM,
                             (td_device){TD_DEVICE_CPU, 0}, NULL, NULL));
    free(numbers);
}

static void leave_group(void) {
    td_group_close(&group);
    td_job_close(&job);
}

static void say_columns(void) {
    need(td_job_open(&job));
    printf("%d columns\n", td_job_terminal_columns(job));
    fflush(stdout);
    td_job_close(&job);
}

static void say_step(long step) {
    if (!job) need(td_job_open(&job));
    td_job_progress(job, TD_PHASE_TRAINING, step);
}

static void nap(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static void tell_launcher(td_control_kind kind, int rank, int value, const char *text) {
    td_control_message message = {kind, rank, value, ""};
    uint8_t frame[TD_CONTROL_FRAME_MAX];
    snprintf(message.text, sizeof message.text, "%s", text);
    size_t n = td_control_encode(&message, frame);
    if (write(atoi(getenv(TD_ENV_CONTROL_FD)), frame, n) != (ssize_t)n) _exit(98);
}

static void report_loss(const char *argument, td_status why) {
    char *call;
    long rank = strtol(argument, &call, 10);
    tell_launcher(TD_CONTROL_LOST, (int)rank, why, *call == ':' ? call + 1 : call);
}

static void leave_cleanly(int sig) {
    char text[32];
    int n = snprintf(text, sizeof text, "got %s\n", sigabbrev_np(sig));
    _exit(write(1, text, (size_t)n) == n ? 0 : 98);
}

static void say_clock(const char *word) {
    struct timespec now;
    char text[64];
    clock_gettime(CLOCK_MONOTONIC, &now);
    int n = snprintf(text, sizeof text, "%s %lld\n", word, (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    if (write(1, text, (size_t)n) != n) _exit(98);
}

static void tell_clock(int sig) {
    (void)sig;
    say_clock("told");
    _exit(0);
}

static volatile sig_atomic_t noted;

static void note_signal(int sig) {
    noted = 1;
    char text[32];
    int n = snprintf(text, sizeof text, "got %s\n", sigabbrev_np(sig));
    if (write(1, text, (size_t)n) != n) _exit(98);
}

/* A process of ours goes on without us: either a stubborn one in a session of its own, or a child that obeys. */
static void leave_behind(bool stubborn) {
    int ready[2];
    char byte;
    if (pipe(ready) != 0) _exit(98);
    if (fork() == 0) {
        if (stubborn) setsid();
        if (stubborn && fork() != 0) _exit(0);
        signal(SIGTERM, stubborn ? SIG_IGN : leave_cleanly);
        signal(SIGINT, SIG_IGN);
        if (write(ready[1], "r", 1) != 1) _exit(98);
        for (;;) pause();
    }
    if (read(ready[0], &byte, 1) != 1) _exit(98);
}

static void rage(const char *path) {
    enum { DAEMONS = 4, SECONDS = 6 };
    struct timespec now;
    int lock = open(path, O_RDONLY);
    if (flock(lock, LOCK_EX) != 0) _exit(98);
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t end = now.tv_sec + SECONDS;
    for (int i = 0; i < DAEMONS; i++) {
        if (fork() != 0) continue;
        setsid();
        for (; now.tv_sec < end; clock_gettime(CLOCK_MONOTONIC, &now))
            if (fork() > 0) _exit(0);
        _exit(0);
    }
    close(lock);
}

static void print_lines(long count) {
    for (long i = 0; i < count; i++)
        printf("rank %s line %ld ............................\n", getenv("RANK"), i);
}

static void wait_for_end_of_input(void) {
    char bytes[256];
    while (read(0, bytes, sizeof bytes) > 0) continue;
}

static void receive_others(struct sockaddr_in address, const char *id) {
    int s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(s, (struct sockaddr *)&address, sizeof address) != 0 || listen(s, 64) != 0) {
        perror("MASTER_PORT is taken");
        _exit(95);
    }
    for (int others = atoi(getenv("WORLD_SIZE")) - 1; others > 0; others--) {
        char shown[64] = "";
        int guest = accept(s, NULL, NULL);
        if (recv(guest, shown, sizeof shown - 1, MSG_WAITALL) < 0 || strcmp(shown, id) != 0) _exit(94);
        close(guest);
    }
    close(s);
}

static void visit_rank_0(struct sockaddr_in address, const char *id) {
    int s = socket(AF_INET, SOCK_STREAM, 0);
    while (connect(s, (struct sockaddr *)&address, sizeof address) != 0) {
        close(s);
        nap(10);
        s = socket(AF_INET, SOCK_STREAM, 0);
    }
    if (send(s, id, strlen(id), 0) < 0) _exit(93);
    close(s);
}

static void meet(void) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(getenv("MASTER_PORT")))};
    inet_pton(AF_INET, getenv("MASTER_ADDR"), &address.sin_addr);
    if (atoi(getenv("RANK")) == 0)
        receive_others(address, getenv("TORCHELASTIC_RUN_ID"));
    else
        visit_rank_0(address, getenv("TORCHELASTIC_RUN_ID"));
}

static void allocate_all(void) {
    enum { BYTES = 4 << 20 };
    for (char *p; (p = malloc(BYTES));) memset(p, 1, BYTES);
    _exit(96);
}

static void act(const char *what);

static void act_in_attempt(const char *argument) {
    char *what;
    long attempt = strtol(argument, &what, 10);
    if (atol(getenv("TORCHELASTIC_RESTART_COUNT")) == attempt) act(what + 1);
}

static void say_variable(const char *name) {
    const char *value = getenv(name);
    printf("%s=%s\n", name, value ? value : "");
    fflush(stdout);
}

static void act(const char *what) {
    const char *colon = strchr(what, ':'), *argument = colon ? colon + 1 : "";
    size_t n = colon ? (size_t)(colon - what) : strlen(what);
    long number = atol(argument);
#define IS(name) (n == strlen(name) && strncmp(what, name, n) == 0)
    if (IS("exit"))
        exit((int)number);
    else if (IS("kill")) {
        signal((int)number, SIG_DFL); /* a sanitizer catches some */
        kill(getpid(), (int)number);
    } else if (IS("hang"))
        for (;;) pause();
    else if (IS("ignore"))
        signal((int)number, SIG_IGN);
    else if (IS("catch"))
        for (const int *s = (int[]){SIGINT, SIGTERM, SIGHUP, SIGQUIT, 0}; *s; s++) signal(*s, leave_cleanly);
    else if (IS("clock"))
        say_clock("clock");
    else if (IS("tell"))
        signal((int)number, tell_clock);
    else if (IS("note"))
        signal((int)number, note_signal);
    else if (IS("leave") && *argument)
        signal((int)number, leave_cleanly);
    else if (IS("say"))
        puts(argument), fflush(stdout);
    else if (IS("complain"))
        fprintf(stderr, "%s\n", argument);
    else if (IS("lines"))
        print_lines(number);
    else if (IS("sleep"))
        nap(number);
    else if (IS("lost"))
        report_loss(argument, TD_ERR_PEER);
    else if (IS("waited"))
        report_loss(argument, TD_ERR_TIMEOUT);
    else if (IS("daemon"))
        leave_behind(true);
    else if (IS("storm"))
        rage(argument);
    else if (IS("child"))
        leave_behind(false);
    else if (IS("join"))
        join_group();
    else if (IS("reduce"))
        reduce(number);
    else if (IS("sum"))
        sum(number);
    else if (IS("leave"))
        leave_group();
    else if (IS("columns"))
        say_columns();
    else if (IS("allocate"))
        allocate_all();
    else if (IS("noted"))
        while (!noted) nap(5);
    else if (IS("limit"))
        setrlimit(RLIMIT_AS, &(struct rlimit){(rlim_t)number << 20, (rlim_t)number << 20});
    else if (IS("close"))
        close(1), close(2);
    else if (IS("mutter"))
        fputs(argument, stdout), fflush(stdout);
    else if (IS("meet"))
        meet();
    else if (IS("flush"))
        fflush(stdout);
    else if (IS("step"))
        say_step(number);
    else if (IS("attempt"))
        act_in_attempt(argument);
    else if (IS("variable"))
        say_variable(argument);
    else if (IS("wait"))
        wait_for_end_of_input();
    else
        _exit(97);
#undef IS
}

int main(int argc, char **argv) {
    const char *rank = getenv("RANK");
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "*") == 0 || strcmp(argv[i], rank) == 0) act(argv[i + 1]);
    return 0;
}
