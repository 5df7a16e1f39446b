/* The command line of `tandem run`. */
#include "launcher/run.h"

#include "base/options.h"

#include <stdio.h>

enum { RANKS_MOST = 4096 };

static const td_option options_table[] = {
    // clang-format off
    {"nproc-per-node", 'n', TD_OPTION_INT, offsetof(launcher_options, ranks), "N",
     "ranks to start (1)", .min = 1, .max = RANKS_MOST},
    {"prefix", 0, TD_OPTION_FLAG, offsetof(launcher_options, prefix), NULL,
     "put \"[rank R] \" in front of each line"},
    {"report", 0, TD_OPTION_TEXT, offsetof(launcher_options, report), "FILE",
     "write how the job ended to FILE, as JSON"},
    {"shutdown-timeout", 0, TD_OPTION_SECONDS, offsetof(launcher_options, shutdown_timeout), "TIME",
     "from asking ranks to stop to killing them (10s)", .min = 0, .max = 1e12},
    {"stall-timeout", 0, TD_OPTION_SECONDS, offsetof(launcher_options, stall_timeout), "TIME",
     "how long ranks wait for one another (10m)", .min = 0, .max = 1e300},
    {"max-restarts", 0, TD_OPTION_INT, offsetof(launcher_options, max_restarts), "N",
     "after a failure stop all ranks and start anew, up to N times (0)", .min = 0, .max = 1e6},
    {"restart-backoff", 0, TD_OPTION_SECONDS, offsetof(launcher_options, restart_backoff), "TIME",
     "pause before the first restart; doubles with each, up to 30s (0.5s)", .min = 0, .max = 1e6},
    {"restart-min-uptime", 0, TD_OPTION_SECONDS, offsetof(launcher_options, restart_min_uptime), "TIME",
     "restart only what had been up that long (0s)", .min = 0, .max = 1e9},
    {NULL},
    // clang-format on
};

static const td_command run_command = {
    .name = "tandem run",
    .summary = "Start N ranks of a program on this machine and look after them.",
    .example = "  tandem run -n 2 -- tandem train --model mnist-cnn --data mnist\n"
               "  tandem run -n 4 -- python3 train.py",
    .options = options_table,
    .positional = "PROGRAM [ARGS]",
    .stop_at_positional = true,
};

int launcher_run_main(int argc, char **argv) {
    launcher_options options = {
        .ranks = 1, .shutdown_timeout = 10, .stall_timeout = 600, .restart_backoff = 0.5};
    int rest = 0;
    td_status status = td_options_parse(&run_command, argc, argv, &options, &rest);
    if (status == TD_PENDING) {
        td_options_help(&run_command, stdout);
        return fflush(stdout) == 0 ? 0 : LAUNCHER_EXIT_OWN;
    }
    if (status >= 0 && rest == 0)
        status = td_fail(TD_ERR_ARG, 0, "launcher",
                         "tandem run: which program? As in: tandem run -n 2 -- PROGRAM ARGS");
    if (status < 0) {
        fprintf(stderr, "%s\n", td_error_last()->text);
        return LAUNCHER_EXIT_OWN;
    }
    argv[1 + rest] = NULL;
    options.program = argv + 1;
    return launcher_run_job(&options);
}
