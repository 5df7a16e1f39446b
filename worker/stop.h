/*
 * Signals that ask a run to save and leave: SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, those of them that nobody
 * ignores or handles. A second SIGINT ends at once, as it would without us. The one thing that this process keeps
 * for its handlers is the number of the first signal that came. Any thread may ask.
 */
#ifndef TANDEM_WORKER_STOP_H
#define TANDEM_WORKER_STOP_H

/* From now on. */
void worker_stop_watch(void);

/* The first signal that came since; 0: none. */
int worker_stop_signal(void);

/* End as that signal would have ended us, so that a shell's loop ends too. Returns where it was SIGUSR1 or SIGUSR2,
 * which ask for nothing but this stop. */
void worker_stop_die(void);

#endif
