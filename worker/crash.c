/* Handlers run anywhere, so they use nothing but write and backtrace, which was called once before: its first call
 * loads a library. What they say is prepared while all is well; that text, read-only afterwards, and the stack on
 * which a stack overflow is reported are all that this process keeps for it. */
#include "worker/crash.h"

#include "dist/progress.h"

#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FRAMES_MOST = 64, STACK_BYTES = 64 << 10 };

static char who[64]; /* "tandem train: rank 1: " */
static char handler_stack[STACK_BYTES];

static void say(const char *text) {
    ssize_t wrote = write(2, text, strlen(text));
    (void)wrote; /* there is nobody else to tell */
}

/* "0x7f..." */
static void say_address(uintptr_t address) {
    char text[2 + 2 * sizeof address + 1] = "0x";
    for (size_t i = 0; i < 2 * sizeof address; i++)
        text[2 + i] = "0123456789abcdef"[address >> (8 * sizeof address - 4 * (i + 1)) & 15];
    say(text);
}

static void say_stack(void) {
    void *frames[FRAMES_MOST];
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MOST), 2);
}

static const char *name_of(int signal) {
    switch (signal) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    case SIGILL: return "SIGILL";
    default: return "SIGABRT";
    }
}

static void on_crash(int signal, siginfo_t *info, void *context) {
    (void)context;
    say(who);
    say(name_of(signal));
    if (info->si_code > 0 && signal != SIGABRT) say(" at "), say_address((uintptr_t)info->si_addr);
    say("; the stack, innermost first:\n");
    say_stack();
    raise(signal); /* SA_RESETHAND has brought the default back */
}

static void on_question(int signal) {
    (void)signal;
    say(who);
    say("the launcher asks where it is; the stack, innermost first:\n");
    say_stack();
}

static bool is_free(int signal) {
    struct sigaction now;
    return sigaction(signal, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

void worker_crash_watch(td_job *job) {
    void *frames[FRAMES_MOST];
    backtrace(frames, FRAMES_MOST);
    snprintf(who, sizeof who, "tandem train: rank %d: ", td_job_rank(job));
    sigaltstack(&(stack_t){.ss_sp = handler_stack, .ss_size = sizeof handler_stack}, NULL);
    struct sigaction crash = {.sa_sigaction = on_crash,
                              .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND | SA_NODEFER};
    for (const int *s = (const int[]){SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, 0}; *s; s++)
        if (is_free(*s)) sigaction(*s, &crash, NULL);
    struct sigaction question = {.sa_handler = on_question, .sa_flags = SA_ONSTACK | SA_RESTART};
    if (is_free(TD_PROGRESS_SIGNAL) && sigaction(TD_PROGRESS_SIGNAL, &question, NULL) == 0)
        td_job_offers_stacks(job);
}
