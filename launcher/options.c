/* The option table of `tandem run`: torchrun's names and meanings first, then mpirun's, then ours. */
#include "launcher/options.h"

#include "launcher/signals.h"

#include <stdlib.h>

enum { RANKS_MOST = 4096 };

#define AT(member) offsetof(launcher_options, member)

static const td_option options_table[] = {
    // clang-format off
    {"nproc-per-node", 'n', TD_OPTION_INT, AT(ranks), "N", "ranks to start (1)",
     .min = 1, .max = RANKS_MOST, .also = "np", .group = "Ranks"},

    {"prefix", 0, TD_OPTION_FLAG, AT(logs.prefix), NULL, "put \"[rank R] \" in front of each line",
     .also = "tag-output", .group = "Output"},
    {"fold", 0, TD_OPTION_FLAG, AT(logs.fold), NULL, "show a line that many ranks print once, with a count", .rare = true},
    {"log-dir", 0, TD_OPTION_TEXT, AT(logs.dir), "DIR",
     "where --tee and --redirects write RUN_xxxxxx/attempt_N/RANK/stdout.log"},
    {"redirects", 'r', TD_OPTION_TEXT, AT(logs.redirects), "STD",
     "into log files instead of here: 1 stdout, 2 stderr, 3 both, or by rank as 0:3,1:2 (0)", .rare = true},
    {"tee", 't', TD_OPTION_TEXT, AT(logs.tee), "STD", "into log files and here: 1 stdout, 2 stderr, 3 both, or by rank as 0:3,1:2 (0)"},
    {"local-ranks-filter", 0, TD_OPTION_TEXT, AT(logs.ranks_filter), "RANKS",
     "show only these ranks here: 0,1,2 (all)", .rare = true},
    {"log-line-prefix-template", 0, TD_OPTION_TEXT, AT(logs.prefix_template), "TEXT",
     "in front of each line, with ${role_name} ${rank} ${local_rank} ${host} ${stream} ${time}", .rare = true},
    {"duplicate-stdout-filters", 0, TD_OPTION_TEXT, AT(logs.stdout_filters), "TEXTS",
     "of teed stdout copy lines with one of these to attempt_N/filtered_stdout.log", .rare = true},
    {"duplicate-stderr-filters", 0, TD_OPTION_TEXT, AT(logs.stderr_filters), "TEXTS",
     "likewise of stderr", .rare = true},
    {"stdin", 0, TD_OPTION_TEXT, AT(logs.input), "RANK", "the rank that reads our standard input, or none (0)",
     .rare = true},
    {"pty", 0, TD_OPTION_FLAG, AT(logs.pty), NULL, "give each rank a terminal", .rare = true},

    {"max-restarts", 0, TD_OPTION_INT, AT(max_restarts), "N",
     "after a failure stop all ranks and start anew, up to N times (0)", .min = 0, .max = 1e6, .group = "Ending"},
    {"restart-backoff", 0, TD_OPTION_SECONDS, AT(restart_backoff), "TIME",
     "pause before the first restart; doubles with each, up to 30s (0.5s)", .min = 0, .max = 1e6, .rare = true},
    {"restart-min-uptime", 0, TD_OPTION_SECONDS, AT(restart_min_uptime), "TIME",
     "restart only what had been up that long (0s)", .min = 0, .max = 1e9, .rare = true},
    {"signals-to-handle", 0, TD_OPTION_PARSED, AT(stop_signals), "LIST",
     "signals that stop the job (SIGTERM,SIGINT,SIGHUP,SIGQUIT)", .parse = launcher_signals_parse, .rare = true},
    {"preempt-signal", 0, TD_OPTION_PARSED, AT(preempt_signal), "SIG",
     "pass SIG on, then wait for all ranks to leave by themselves", .parse = launcher_signal_parse},
    {"report", 0, TD_OPTION_TEXT, AT(report), "FILE", "write how the job ended to FILE, as JSON"},
    {"shutdown-timeout", 0, TD_OPTION_SECONDS, AT(shutdown_timeout), "TIME",
     "from asking ranks to stop to killing them (10s)", .min = 0, .max = 1e12},
    {"stall-timeout", 0, TD_OPTION_SECONDS, AT(stall_timeout), "TIME",
     "how long ranks wait for one another (10m)", .min = 0, .max = 1e300},

    {"help-all", 0, TD_OPTION_FLAG, AT(help_all), NULL, "every option, the rare ones too", .group = "Help"},
    {NULL},
    // clang-format on
};

static const td_command command = {
    .name = "tandem run",
    .summary = "Start N ranks of a program on this machine and look after them.",
    .example = "  tandem run -n 2 -- tandem train --model mnist-cnn --data mnist\n"
               "  tandem run -n 4 -- python3 train.py",
    .options = options_table,
    .positional = "PROGRAM [ARGS]",
    .stop_at_positional = true,
    .environment = "PET_",
};

static td_status print_help(void (*help)(const td_command *, FILE *)) {
    help(&command, stdout);
    if (fflush(stdout) == 0) return TD_PENDING;
    return td_fail(TD_ERR_SYSTEM, 0, "launcher", "tandem run: the help could not be written");
}

td_status launcher_options_parse(int argc, char **argv, launcher_options *options) {
    launcher_options o = {.ranks = 1,
                          .shutdown_timeout = 10,
                          .stall_timeout = 600,
                          .restart_backoff = 0.5,
                          .logs.prefix_template = getenv("TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE")};
    int rest = 0;
    launcher_signals_default(&o.stop_signals);
    td_status status = td_options_parse(&command, argc, argv, &o, &rest);
    TD_TRY(status);
    if (status == TD_PENDING) return print_help(td_options_help);
    if (o.help_all) return print_help(td_options_help_all);
    if (rest == 0)
        return td_fail(TD_ERR_ARG, 0, "launcher",
                       "tandem run: which program? As in: tandem run -n 2 -- PROGRAM ARGS");
    argv[1 + rest] = NULL;
    o.program = argv + 1;
    *options = o;
    return TD_OK;
}
