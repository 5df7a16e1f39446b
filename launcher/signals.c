/* See signals.h. What was ignored at the start (nohup, a background job of a script) stays ignored. */
#include "launcher/signals.h"

#include <fcntl.h>
#include <unistd.h>

const int launcher_stop_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, 0};
_Static_assert(sizeof launcher_stop_signals / sizeof *launcher_stop_signals == LAUNCHER_STOP_SIGNALS + 1,
               "count them");

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
