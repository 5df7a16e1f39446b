/* See signals.h. What was ignored at the start (nohup, a background job of a script) stays ignored. */
#include "launcher/signals.h"

#include "launcher/uv.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Those that nobody can catch, mean a fault of our own, or are the loop's. */
static bool can_be_heard(int sig) {
    static const int others[] = {SIGKILL, SIGSTOP, SIGCHLD, SIGPIPE, SIGSEGV,
                                 SIGBUS,  SIGILL,  SIGFPE,  SIGABRT, 0};
    for (const int *s = others; *s; s++)
        if (sig == *s) return false;
    return sig > 0 && sig < 32;
}

static int find_signal(const char *name) {
    char *end;
    long number = strtol(name, &end, 10);
    if (end != name && !*end) return number > 0 && number < NSIG ? (int)number : 0;
    if (strncasecmp(name, "SIG", 3) == 0) name += 3;
    for (int sig = 1; sig < NSIG; sig++) {
        const char *known = sigabbrev_np(sig);
        if (known && strcasecmp(name, known) == 0) return sig;
    }
    return 0;
}

td_status launcher_signal_parse(const char *text, void *member) {
    int sig = find_signal(text);
    if (!sig) return td_fail(TD_ERR_ARG, 0, "launcher", "%s is no signal; write it as SIGUSR1 or USR1", text);
    if (!can_be_heard(sig))
        return td_fail(TD_ERR_ARG, 0, "launcher", "SIG%s is not one that the launcher can wait for",
                       sigabbrev_np(sig) ? sigabbrev_np(sig) : text);
    *(int *)member = sig;
    return TD_OK;
}

td_status launcher_signals_parse(const char *text, void *member) {
    sigset_t set;
    sigemptyset(&set);
    for (const char *at = text; *at;) {
        char name[32];
        size_t n = strcspn(at, ",");
        int sig;
        snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), at);
        TD_TRY(launcher_signal_parse(name, &sig));
        sigaddset(&set, sig);
        at += n + (at[n] == ',');
    }
    *(launcher_signal_list *)member = (launcher_signal_list){set, text};
    return TD_OK;
}

td_status launcher_signals_watch(launcher_signals *signals, uv_loop_t *loop, const sigset_t *heard,
                                 const launcher_inherited *inherited, uv_signal_cb take, void *cookie) {
    for (int sig = 1; sig < NSIG && signals->count < LAUNCHER_SIGNALS_MOST; sig++) {
        if (sigismember(heard, sig) != 1 || sigismember(&inherited->ignored, sig) == 1) continue;
        uv_signal_t *handle = &signals->handles[signals->count];
        TD_TRY(launcher_from_uv(uv_signal_init(loop, handle), "cannot watch signals"));
        signals->count++;
        handle->data = cookie;
        TD_TRY(launcher_from_uv(uv_signal_start(handle, take, sig), "cannot watch signals"));
    }
    return TD_OK;
}

static void note_ignored(launcher_inherited *inherited) {
    sigemptyset(&inherited->ignored);
    for (int sig = 1; sig < NSIG; sig++) {
        struct sigaction action;
        if (sig == SIGCHLD || sigaction(sig, NULL, &action) != 0) continue;
        if (action.sa_handler == SIG_IGN) sigaddset(&inherited->ignored, sig);
    }
}

void launcher_settle(launcher_inherited *inherited) {
    /* A pipe of ours that became descriptor 1 would be mistaken for the standard output. */
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) break;

    note_ignored(inherited);
    signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);

    getrlimit(RLIMIT_NOFILE, &inherited->files);
    struct rlimit more = inherited->files;
    more.rlim_cur = more.rlim_max;
    setrlimit(RLIMIT_NOFILE, &more);
}

int launcher_die_of(int sig) {
    if (sig == SIGQUIT) setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(sig, SIG_DFL);
    raise(sig);
    return 128 + sig;
}
