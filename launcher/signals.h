/* Signals to the launcher: which were ignored when it was started, and dying of one in the end. */
#ifndef TANDEM_LAUNCHER_SIGNALS_H
#define TANDEM_LAUNCHER_SIGNALS_H

#include "launcher/spawn.h"

#include <uv.h>

/* Those that ask the launcher to stop the job; ends with 0. */
extern const int launcher_stop_signals[];
enum { LAUNCHER_STOP_SIGNALS = 4 };

/*
 * Note what was ignored and limited at the start, then put this process in order: descriptors 0 to 2 exist,
 * SIGPIPE is ignored, nothing is blocked, as many descriptors as the system lets us have.
 */
void launcher_settle(launcher_inherited *inherited);

/* Die of `signal` as if we had never caught it, so that a shell's loop ends; without a second core file.
 * Returns only if that fails, with the status a shell would show. */
int launcher_die_of(int signal);

#endif
