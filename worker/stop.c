/* The handler only takes note; ranks look at it between steps. */
#include "worker/stop.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t first_signal;

static void on_signal(int signal) {
    if (!first_signal) first_signal = signal;
}

void worker_stop_watch(void) {
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, 0}; *s; s++) {
        struct sigaction now, then = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        if (*s == SIGINT) then.sa_flags |= SA_RESETHAND; /* the impatient press Ctrl-C twice */
        if (sigaction(*s, NULL, &now) == 0 && now.sa_handler == SIG_DFL) sigaction(*s, &then, NULL);
    }
}

int worker_stop_signal(void) { return first_signal; }

void worker_stop_die(void) {
    int signal = first_signal;
    if (signal == SIGUSR1 || signal == SIGUSR2 || !signal) return;
    sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    raise(signal);
}
