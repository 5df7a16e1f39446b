/*
 * What `tandem run` can be told. One row of the table in options.c per option; its value is a member here. Other
 * files of the launcher only read the struct. Plain data; texts point into argv or the environment.
 */
#ifndef TANDEM_LAUNCHER_OPTIONS_H
#define TANDEM_LAUNCHER_OPTIONS_H

#include "base/options.h"
#include "launcher/routes.h"

#include <signal.h>

typedef struct launcher_options {
    /* Which ranks. */
    int64_t ranks;

    /* What they write and read. */
    launcher_log_options logs;

    /* How they end. */
    const char *report;                     /* file, or NULL */
    double shutdown_timeout, stall_timeout; /* seconds */
    int64_t max_restarts;
    sigset_t stop_signals;                      /* --signals-to-handle */
    int preempt_signal;                         /* 0: none */
    double restart_min_uptime, restart_backoff; /* seconds */

    bool help_all;
    char **program; /* argv of the ranks, ends with NULL */
} launcher_options;

/* The options from the command line, over those of the environment (PET_*), over the defaults. TD_PENDING:
 * help was asked for and has been printed. Reorders argv, into which *options then points. */
td_status launcher_options_parse(int argc, char **argv, launcher_options *options);

#endif
