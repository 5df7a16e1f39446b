/*
 * What `tandem run` can be told. One row of the table in options.c per option; its value is a member here. Other
 * files of the launcher only read the struct. Plain data; texts point into argv or the environment.
 */
#ifndef TANDEM_LAUNCHER_OPTIONS_H
#define TANDEM_LAUNCHER_OPTIONS_H

#include "base/options.h"
#include "launcher/rendezvous.h"
#include "launcher/routes.h"

#include <signal.h>

enum { LAUNCHER_RANKS_MOST = 4096 };

#define LAUNCHER_STALL_TIMEOUT_DEFAULT 600.0 /* seconds; of programs of ours */

/* --nproc-per-node as it was given. */
typedef enum launcher_count_kind {
    LAUNCHER_COUNT_NONE, /* not at all: an allocation's slots, else 1 */
    LAUNCHER_COUNT_NUMBER,
    LAUNCHER_COUNT_AUTO, /* one per GPU, else per CPU */
    LAUNCHER_COUNT_CPU,
    LAUNCHER_COUNT_GPU,
} launcher_count_kind;

typedef struct launcher_count {
    launcher_count_kind kind;
    int64_t number;
} launcher_count;

typedef struct launcher_signal_list {
    sigset_t set;
    const char *text; /* as it was given: "SIGTERM,SIGINT" */
} launcher_signal_list;

typedef struct launcher_options {
    /* Which ranks, and what each runs. */
    launcher_count count;
    int64_t ranks;                    /* what comes of it; see places.h */
    bool module, no_python, run_path; /* how the program's first word is to be understood */
    const char *folder;               /* --wdir, or NULL */
    td_option_list exports;           /* -x: NAME or NAME=VALUE */
    const char *role;
    const char *mpi; /* --mpi, or NULL */
    bool virtual_local_rank;
    launcher_rendezvous rendezvous;

    /* Where. */
    const char *bind_to, *map_by, *numa_binding; /* NULL: not given */
    bool dry_run, json;
    const struct launcher_places *places; /* found between the options and the job; see places.h */

    /* What they write and read. */
    launcher_log_options logs;

    /* How they end. */
    const char *report;      /* file, or NULL */
    const char *trace_dir;   /* for the ranks' flight recorders, or NULL */
    double shutdown_timeout; /* seconds, as all times */
    double stall_timeout;    /* negative: not asked for */
    double timeout;          /* of the whole job; 0: none */
    bool leave_daemons;
    int64_t max_restarts;
    launcher_signal_list stop_signals;          /* --signals-to-handle */
    int preempt_signal;                         /* 0: none */
    double restart_min_uptime, restart_backoff; /* seconds */

    char **program; /* the words behind the options, ends with NULL */

    /* What is no part of a job. */
    bool help_all;
    const char *completion; /* a shell, or NULL */
    /* Accepted, because they mean something to torchrun and mpirun; without effect here. */
    double monitor_interval;
    const char *start_method;
    bool oversubscribe;
} launcher_options;

/* The options from the command line, over those of the environment (PET_*), over the defaults. TD_PENDING:
 * help or a completion was asked for and has been printed. Reorders argv, into which *options then points. */
td_status launcher_options_parse(int argc, char **argv, launcher_options *options);

#endif
