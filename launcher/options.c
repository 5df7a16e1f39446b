/* The option table of `tandem run`: torchrun's names and meanings first, then mpirun's, then ours. */
#include "launcher/options.h"

#include "base/number.h"
#include "launcher/places.h"
#include "launcher/signals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Classes that only a Python launcher could load: torchrun's own defaults may be named. */
static td_status refuse_class(const char *text, const char *known) {
    if (strcmp(text, known) == 0) return TD_OK;
    return td_fail(TD_ERR_UNSUPPORTED, 0, "launcher",
                   "'%s' is a Python class, which only torchrun can load; here there is just '%s'", text,
                   known);
}
static td_status parse_event_handler(const char *text, void *unused) {
    (void)unused;
    return refuse_class(text, "null");
}
static td_status parse_logs_specs(const char *text, void *unused) {
    (void)unused;
    return refuse_class(text, "default");
}

#define AT(member) offsetof(launcher_options, member)

static const td_option options_table[] = {
    // clang-format off
    {"nproc-per-node", 'n', TD_OPTION_PARSED, AT(count), "N",
     "ranks to start: a number, gpu, cpu or auto (a batch job's tasks, else 1)",
     .parse = launcher_count_parse, .also = "np n", .group = "Ranks"},
    {"module", 'm', TD_OPTION_FLAG, AT(module), NULL, "PROGRAM is a Python module, as for python -m"},
    {"no-python", 0, TD_OPTION_FLAG, AT(no_python), NULL, "execute PROGRAM itself, even if it ends in .py",
     .rare = true},
    {"run-path", 0, TD_OPTION_FLAG, AT(run_path), NULL, "PROGRAM is a Python script, whatever its name",
     .rare = true},
    {"wdir", 0, TD_OPTION_TEXT, AT(folder), "DIR", "run the ranks in this folder", .also = "wd"},
    {"env", 'x', TD_OPTION_LIST, AT(exports), "VAR[=VALUE]",
     "set a variable for the ranks, who have all of ours; may be repeated"},
    {"role", 0, TD_OPTION_TEXT, AT(role), "NAME", "ROLE_NAME of the ranks (default)", .rare = true},
    {"virtual-local-rank", 0, TD_OPTION_FLAG, AT(virtual_local_rank), NULL,
     "each rank sees one GPU only and is local rank 0", .rare = true},
    {"mpi", 0, TD_OPTION_CHOICE, AT(mpi), "HOW",
     "how MPI programs find one another: auto, or a pmix server from the start (auto)", .choices = "auto pmix", .rare = true},
    {"oversubscribe", 0, TD_OPTION_FLAG, AT(oversubscribe), NULL, "accepted: more ranks than cores are fine",
     .rare = true},
    {"bind-to", 0, TD_OPTION_CHOICE, AT(bind_to), "WHAT",
     "give each rank cores of its own, or nodes: auto none core numa package (auto)",
     .choices = "auto none core numa package socket"},
    {"map-by", 0, TD_OPTION_CHOICE, AT(map_by), "WHAT",
     "order in which bound ranks take places: slot core numa package (slot)",
     .choices = "slot core numa package socket", .rare = true},
    {"numa-binding", 0, TD_OPTION_CHOICE, AT(numa_binding), "WHERE",
     "torchrun's: near the rank's GPU: node socket exclusive core-complex",
     .choices = "node socket exclusive core-complex", .rare = true},
    {"dry-run", 0, TD_OPTION_FLAG, AT(dry_run), NULL,
     "show ranks, cores, GPUs and environment, and start nothing"},
    {"json", 0, TD_OPTION_FLAG, AT(json), NULL, "with --dry-run: one JSON object a line", .rare = true},

    {"standalone", 0, TD_OPTION_FLAG, AT(rendezvous.standalone), NULL,
     "a free port and a random id, whatever is said below", .rare = true, .group = "Where the ranks meet"},
    {"master-addr", 0, TD_OPTION_TEXT, AT(rendezvous.master_addr), "HOST", "MASTER_ADDR (127.0.0.1)", .rare = true},
    {"master-port", 0, TD_OPTION_INT, AT(rendezvous.master_port), "PORT", "MASTER_PORT (0: any that is free)",
     .max = 65535, .rare = true},
    {"local-addr", 0, TD_OPTION_TEXT, AT(rendezvous.local_addr), "HOST",
     "MASTER_ADDR where --master-addr does not count", .rare = true},
    {"rdzv-backend", 0, TD_OPTION_PARSED, AT(rendezvous.backend), "NAME",
     "static: --master-addr counts; c10d: it does not (static)", .parse = launcher_parse_backend, .rare = true},
    {"rdzv-endpoint", 0, TD_OPTION_PARSED, AT(rendezvous.endpoint), "HOST:PORT",
     "MASTER_ADDR and MASTER_PORT; with c10d only the port", .parse = launcher_parse_endpoint, .rare = true},
    {"rdzv-id", 0, TD_OPTION_TEXT, AT(rendezvous.id), "ID", "TORCHELASTIC_RUN_ID (a random one)", .rare = true},
    {"rdzv-conf", 0, TD_OPTION_PARSED, 0, "KEY=VALUE,...", "accepted: there is nothing to wait for on one machine",
     .parse = launcher_parse_conf, .rare = true},
    {"nnodes", 0, TD_OPTION_PARSED, 0, "1", "machines: this one", .parse = launcher_parse_nodes, .rare = true},
    {"node-rank", 0, TD_OPTION_PARSED, 0, "0", "which of the machines this is", .parse = launcher_parse_node_rank,
     .rare = true},

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
     "pass SIG on, then wait for all ranks to leave by themselves", .parse = launcher_signal_parse, .rare = true},
    {"report", 0, TD_OPTION_TEXT, AT(report), "FILE", "write how the job ended to FILE, as JSON"},
    {"trace-dir", 0, TD_OPTION_TEXT, AT(trace_dir), "DIR",
     "ranks that fail, or wait for long, write what they called there; see tandem trace"},
    {"shutdown-timeout", 0, TD_OPTION_SECONDS, AT(shutdown_timeout), "TIME",
     "from asking ranks to stop to killing them (10s)", .min = 0, .max = 1e12},
    {"leave-daemons", 0, TD_OPTION_FLAG, AT(leave_daemons), NULL,
     "when all ranks have left with 0, spare the processes that they leave behind", .rare = true},
    {"timeout", 0, TD_OPTION_SECONDS, AT(timeout), "TIME",
     "stop the job when it has run for so long; the status is 124", .min = 0, .max = 1e300},
    {"stall-timeout", 0, TD_OPTION_SECONDS, AT(stall_timeout), "TIME",
     "end a job of which no rank gets on for so long (10m for tandem's own programs, else never)", .min = 0, .max = 1e300},

    {"monitor-interval", 0, TD_OPTION_REAL, AT(monitor_interval), "SECONDS",
     "accepted: a rank's end is seen at once", .max = 1e9, .rare = true, .group = "Of Python launchers only"},
    {"start-method", 0, TD_OPTION_CHOICE, AT(start_method), "NAME", "accepted: spawn, fork or forkserver",
     .choices = "spawn fork forkserver", .rare = true},
    {"event-log-handler", 0, TD_OPTION_PARSED, 0, "null", "accepted", .parse = parse_event_handler, .rare = true},
    {"logs-specs", 0, TD_OPTION_PARSED, 0, "default", "accepted", .parse = parse_logs_specs, .rare = true},

    {"print-completion", 0, TD_OPTION_CHOICE, AT(completion), "SHELL",
     "a script by which bash, zsh or tcsh complete these options", .choices = "bash zsh tcsh", .rare = true,
     .group = "Help"},
    {"help-all", 0, TD_OPTION_FLAG, AT(help_all), NULL, "every option, the rare ones too"},
    {NULL},
    // clang-format on
};

static const td_command command = {
    .name = "tandem run",
    .summary = "Start N ranks of a program on this machine and look after them.",
    .example = "  tandem run -n 2 -- tandem train --model mnist-cnn --data mnist\n"
               "  tandem run -n 4 train.py",
    .options = options_table,
    .positional = "PROGRAM [ARGS]",
    .stop_at_positional = true,
    .environment = "PET_",
};

static td_status end_of_print(void) {
    if (fflush(stdout) == 0) return TD_PENDING;
    return td_fail_errno(errno, "launcher", "tandem run: cannot write to standard output");
}

static td_status check(const launcher_options *o, int words) {
    if (words == 0)
        return td_fail(TD_ERR_ARG, 0, "launcher",
                       "tandem run: which program? As in: tandem run -n 2 -- PROGRAM ARGS");
    if (o->no_python && o->module && !o->run_path)
        return td_fail(TD_ERR_ARG, 0, "launcher", "tandem run: --no-python and --module exclude each other");
    if (o->json && !o->dry_run)
        return td_fail(TD_ERR_ARG, 0, "launcher",
                       "tandem run: --json goes with --dry-run; --report FILE has the end of a job as JSON");
    for (int i = 0; i < o->exports.count; i++)
        if (strchr("=", *o->exports.items[i]))
            return td_fail(TD_ERR_ARG, 0, "launcher", "tandem run: --env: '%s' names no variable",
                           o->exports.items[i]);
    return TD_OK;
}

/* torchrun's variable for it, in seconds. */
static td_status read_shutdown_timeout(double *seconds) {
    const char *text = getenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT");
    if (!text || !*text) return TD_OK;
    double value = 0;
    if (td_parse_seconds(text, &value) < 0 || value < 0)
        return td_fail(TD_ERR_ARG, 0, "launcher",
                       "tandem run: TORCH_ELASTIC_SHUTDOWN_TIMEOUT: '%s' is no number of seconds", text);
    *seconds = value;
    return TD_OK;
}

td_status launcher_options_parse(int argc, char **argv, launcher_options *options) {
    launcher_options o = {.shutdown_timeout = 10,
                          .stall_timeout = -1,
                          .restart_backoff = 0.5,
                          .logs.prefix_template = getenv("TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"),
                          .role = "default",
                          .rendezvous.backend = "static"};
    int rest = 0;
    TD_TRY(read_shutdown_timeout(&o.shutdown_timeout));
    TD_TRY(launcher_signals_parse("SIGTERM,SIGINT,SIGHUP,SIGQUIT", &o.stop_signals));
    td_status status = td_options_parse(&command, argc, argv, &o, &rest);
    TD_TRY(status);
    if (status == TD_PENDING)
        td_options_help(&command, stdout);
    else if (o.help_all)
        td_options_help_all(&command, stdout);
    else if (o.completion)
        td_options_complete(&command, o.completion, stdout);
    if (status == TD_PENDING || o.help_all || o.completion) return end_of_print();
    TD_TRY(check(&o, rest));
    argv[1 + rest] = NULL;
    o.program = argv + 1;
    *options = o;
    return TD_OK;
}
