/* Signals to the launcher: which were ignored when it was started, and dying of one in the end. */
#ifndef TANDEM_LAUNCHER_SIGNALS_H
#define TANDEM_LAUNCHER_SIGNALS_H

#include "launcher/options.h"
#include "launcher/spawn.h"

#include <uv.h>

/* Of an option: a signal by name ("SIGUSR1", "usr1") or number, into an int; and a list of them with commas, into
 * a launcher_signal_list. Only those that can be caught and do not belong to the launcher's own work. */
td_status launcher_signal_parse(const char *text, void *member);
td_status launcher_signals_parse(const char *text, void *member);

/* The handles by which a loop hears of signals; in its owner's memory. */
enum { LAUNCHER_SIGNALS_MOST = 64 };
typedef struct launcher_signals {
    uv_signal_t handles[LAUNCHER_SIGNALS_MOST];
    int count;
} launcher_signals;

/* Hear of each of `heard` that was not ignored at the start. The handles are closed with the loop. */
td_status launcher_signals_watch(launcher_signals *signals, uv_loop_t *loop, const sigset_t *heard,
                                 const launcher_inherited *inherited, uv_signal_cb take, void *cookie);

/*
 * Note what was ignored and limited at the start, then put this process in order: descriptors 0 to 2 exist,
 * SIGPIPE is ignored, nothing is blocked, as many descriptors as the system lets us have.
 */
void launcher_settle(launcher_inherited *inherited);

/* Die of `signal` as if we had never caught it, so that a shell's loop ends; without a second core file.
 * Returns only if that fails, with the status a shell would show. */
int launcher_die_of(int signal);

#endif
