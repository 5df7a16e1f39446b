/*
 * A round draws the size of the job, the rank that it happens to, the moment, what happens, and what else is odd
 * about the other ranks; it knows what must come of that. Temporary files go to a folder of the round. A socket
 * cannot outlive the processes that hold it, nor a memfd, so those need no look of their own.
 */
#include "chaos.h"

#include "launch.h"

#include <dirent.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define RANKS TD_TEST_BUILD "/tests/ranks"

enum { WORDS_MOST = 96, RANKS_MOST = 5 };

/* Numerical Recipes' generator: good enough, and the same everywhere. */
typedef struct dice {
    uint32_t state;
} dice;

static int draw(dice *d, int below) {
    d->state = d->state * 1664525u + 1013904223u;
    return (int)((d->state >> 8) % (unsigned)below);
}

typedef enum from_outside { NOTHING, KILL_LAUNCHER, KILL_GUARDIAN, SEND_TERM, STOP_READING } from_outside;

typedef struct chaos {
    dice dice;
    int n, victim; /* the rank that it happens to */
    char folder[64], report[96], environment[80];
    const char *words[WORDS_MOST]; /* of the command line */
    char texts[WORDS_MOST][32];
    int count, texts_used;
    from_outside then; /* after a moment */
    int code;          /* expected; -1: any */
    int culprit;       /* expected; -1: none; -2: any */
} chaos;

static void add(chaos *r, const char *word) {
    ck_assert_int_lt(r->count, WORDS_MOST - 1);
    r->words[r->count++] = word;
}

static const char *format(chaos *r, const char *text, ...) {
    va_list arguments;
    char *made = r->texts[r->texts_used++];
    ck_assert_int_lt(r->texts_used, WORDS_MOST);
    va_start(arguments, text);
    vsnprintf(made, sizeof r->texts[0], text, arguments);
    va_end(arguments);
    return made;
}

/* What a rank does: its number, or "*", then the word. */
static void act(chaos *r, int rank, const char *what) {
    add(r, rank < 0 ? "*" : format(r, "%d", rank));
    add(r, what);
}

/* --- what may happen to the victim ---------------------------------------------------------------------- */

static void leave_with_a_code(chaos *r) {
    r->code = 1 + draw(&r->dice, 255);
    act(r, r->victim, format(r, "exit:%d", r->code));
}

static void crash(chaos *r) {
    static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGILL, SIGUSR1, SIGALRM};
    int sig = signals[draw(&r->dice, 8)];
    r->code = 128 + sig;
    act(r, r->victim, format(r, "kill:%d", sig));
}

static void end_somehow(chaos *r) {
    if (draw(&r->dice, 2))
        crash(r);
    else
        leave_with_a_code(r);
}

static void spam(chaos *r) {
    act(r, r->victim, format(r, "lines:%d", 1 + draw(&r->dice, 20000)));
    end_somehow(r);
}

static void mutter(chaos *r) {
    act(r, r->victim, "mutter:half a line");
    end_somehow(r);
}

static void close_outputs(chaos *r) {
    act(r, r->victim, "close");
    end_somehow(r);
}

static void leave_a_daemon(chaos *r) {
    act(r, r->victim, "daemon");
    if (draw(&r->dice, 2)) act(r, r->victim, "child");
    end_somehow(r);
}

#ifdef __SANITIZE_ADDRESS__ /* reserves more than there is */
#define run_out_of_memory end_somehow
#else
static void run_out_of_memory(chaos *r) {
    act(r, r->victim, "limit:300");
    act(r, r->victim, "allocate");
    r->code = 96;
}
#endif

static void leave_only_a_daemon(chaos *r) {
    act(r, r->victim, "daemon");
    act(r, -1, "exit:0");
    r->code = 0;
    r->culprit = -1;
}

static void be_lost(chaos *r) {
    int other = (r->victim + 1) % r->n;
    act(r, other, format(r, "sleep:%d", 20 + draw(&r->dice, 80)));
    act(r, other, format(r, "lost:%d:reduce", r->victim));
    act(r, other, "exit:1");
    end_somehow(r);
}

static void fall_silent(chaos *r) { /* the others say something later */
    act(r, r->victim, "kill:19");
    act(r, r->victim, "hang");
    for (int i = 0; i < r->n; i++) {
        if (i == r->victim) continue;
        act(r, i, "sleep:150");
        act(r, i, "say:here");
    }
    r->code = 124;
}

static void take_too_long(chaos *r) {
    r->code = 124;
    r->culprit = -1;
}

static void fail_once(chaos *r) {
    act(r, r->victim, "attempt:0:exit:5");
    act(r, -1, "attempt:1:exit:0");
    r->code = 0;
    r->culprit = -1;
}

static void lose_the_launcher(chaos *r) { r->then = KILL_LAUNCHER; }

static void lose_the_guardian(chaos *r) {
    r->then = KILL_GUARDIAN;
    r->code = 125;
    r->culprit = -1;
}

static void be_stopped(chaos *r) {
    r->then = SEND_TERM;
    r->code = 128 + SIGTERM;
    r->culprit = -1;
}

static void lose_the_reader(chaos *r) {
    act(r, -1, "lines:1000000");
    r->then = STOP_READING;
    r->code = 128 + SIGPIPE;
    r->culprit = -1;
}

static const struct fault {
    void (*happen)(chaos *r);
    const char *options[6];
} faults[] = {
    {leave_with_a_code, {0}},
    {crash, {0}},
    {spam, {0}},
    {mutter, {0}},
    {close_outputs, {0}},
    {leave_a_daemon, {0}},
    {run_out_of_memory, {0}},
    {leave_only_a_daemon, {0}},
    {be_lost, {0}},
    {fall_silent, {"--stall-timeout", "400ms"}},
    {take_too_long, {"--timeout", "200ms"}},
    {fail_once, {"--max-restarts", "1", "--restart-backoff", "1ms"}},
    {lose_the_launcher, {0}},
    {lose_the_guardian, {0}},
    {be_stopped, {0}},
    {lose_the_reader, {0}},
    {end_somehow, {"--max-restarts", "1", "--restart-backoff", "1ms"}},
};
enum { FAULTS = sizeof faults / sizeof *faults };

/* --- a round -------------------------------------------------------------------------------------------- */

static void make_folder(chaos *r) {
    snprintf(r->folder, sizeof r->folder, "/tmp/tandem-chaos-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(r->folder));
    snprintf(r->report, sizeof r->report, "%s/report.json", r->folder);
    snprintf(r->environment, sizeof r->environment, "TMPDIR=%s", r->folder);
}

static void compose(chaos *r, unsigned seed) {
    const struct fault *fault = &faults[seed % FAULTS];
    r->n = 1 + draw(&r->dice, RANKS_MOST);
    if (fault->happen == be_lost && r->n == 1) r->n = 2;
    r->victim = r->culprit = draw(&r->dice, r->n);
    for (const char *const *w =
             (const char *[]){TANDEM, "run", "--shutdown-timeout", "150ms", "--report", NULL};
         *w; w++)
        add(r, *w);
    add(r, r->report);
    add(r, "-n");
    add(r, format(r, "%d", r->n));
    for (const char *const *w = fault->options; *w; w++) add(r, *w);
    add(r, "--");
    add(r, RANKS);
    for (int i = 0; i < r->n; i++) { /* oddities */
        int odd = draw(&r->dice, 8);
        if (odd == 0) act(r, i, "ignore:15");
        if (odd == 1) act(r, i, "daemon");
        if (odd == 2) act(r, i, "mutter:...");
        if (odd == 3) act(r, i, "lines:100");
    }
    act(r, -1, "flush");
    act(r, r->victim, format(r, "sleep:%d", draw(&r->dice, 60)));
    fault->happen(r);
    act(r, -1, "hang");
}

static void happen_from_outside(const chaos *r, launch *l, dice *d) {
    for (int tries = 0; tries < 500 && launch_guardian(l) == 0; tries++) usleep(10000); /* it has begun */
    usleep(20000 + (unsigned)draw(d, 60000));
    pid_t guardian = launch_guardian(l);
    if (r->then == KILL_LAUNCHER) kill(l->pid, SIGKILL);
    if (r->then == KILL_GUARDIAN && guardian > 0) kill(guardian, SIGKILL);
    if (r->then == SEND_TERM) kill(l->pid, SIGTERM);
    if (r->then == STOP_READING) close(l->out), l->out = -1;
}

/* Nothing but the report. */
static void expect_empty_folder(const chaos *r) {
    DIR *dir = opendir(r->folder);
    for (struct dirent *e; (e = readdir(dir));)
        ck_assert_msg(e->d_name[0] == '.' || strcmp(e->d_name, "report.json") == 0, "%s is left", e->d_name);
    closedir(dir);
    unlink(r->report);
    ck_assert_int_eq(rmdir(r->folder), 0);
}

static void expect_report(const chaos *r, const launch *l) {
    json_t *report = json_load_file(r->report, 0, NULL), *culprit = json_object_get(report, "culprit");
    ck_assert_ptr_nonnull(report);
    int named = json_is_null(culprit) ? -1 : (int)json_integer_value(json_object_get(culprit, "rank"));
    ck_assert_msg(named == r->culprit, "rank %d is named, not %d\n%s", named, r->culprit, l->errors);
    ck_assert_int_eq(json_integer_value(json_object_get(report, "exit_code")), r->code);
    json_decref(report);
}

void chaos_round(unsigned seed) {
    chaos r = {.dice = {seed}};
    make_folder(&r);
    compose(&r, seed);
    const char *environment[] = {r.environment, "PATH=/nowhere", NULL}; /* no gdb: it is slow */
    launch l = launch_start_with((launch_setup){.environment = environment}, r.words);
    if (r.then != NOTHING) happen_from_outside(&r, &l, &r.dice);
    if (r.then == KILL_LAUNCHER) {
        waitpid(l.pid, &l.status, 0);
        launch_expect_no_survivors(&l);
    } else {
        launch_finish(&l);
        ck_code(&l, r.code);
        expect_report(&r, &l);
    }
    launch_free(&l);
    expect_empty_folder(&r);
}
