/*
 * The program `tandem`: a table of sub-commands. With -n N any of them launches itself on N ranks, exactly as
 * `tandem run -n N -- tandem NAME ...` would.
 */
#include "base/options.h"
#include "config.h"
#include "launcher/program.h"
#include "launcher/run.h"
#include "tools/tools.h"
#include "worker/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct subcommand {
    const char *name;
    int (*entry)(int argc, char **argv); /* argv[0] is the name; gives the exit status */
    const char *summary;
    bool is_launcher;                    /* -n is its own business */
    int (*check)(int argc, char **argv); /* asked before ranks are launched: go on (negative), or
                                            all is said, with this exit status; NULL: go on */
} subcommand;

/* A new one is a row here, with its entry function in the header of its folder. */
static const subcommand subcommands[] = {
    // clang-format off
    {"train",   tandem_train_main,   "train a model on all ranks", .check = tandem_train_check},
    {"run",     launcher_run_main,   "start N ranks of any program and look after them", true},
    {"sampler", tandem_sampler_main, "show which samples each rank receives, step by step", false},
    {"bench",   tandem_bench_main,   "measure collectives, training steps, loading, launching", true},
    {"trace",   tandem_trace_main,   "say from the ranks' flight recorders who hangs, differs or is late", true},
    // clang-format on
};
enum { SUBCOMMANDS = sizeof subcommands / sizeof *subcommands };

static void print_help(FILE *out) {
    fputs("Tandem trains neural networks on many processes that stay in step.\n\n"
          "Example\n"
          "  tandem train -n 2 --model mnist-cnn --data mnist\n\n"
          "Usage  tandem COMMAND [options]\n\n"
          "Commands\n",
          out);
    for (int i = 0; i < SUBCOMMANDS; i++)
        fprintf(out, "  %-12s%s\n", subcommands[i].name, subcommands[i].summary);
    fputs("\nWith -n N any command runs on N ranks of this machine.\n"
          "tandem COMMAND --help tells more; tandem --version says which this is.\n",
          out);
}

static const subcommand *find_subcommand(const char *name) {
    for (int i = 0; i < SUBCOMMANDS; i++)
        if (strcmp(subcommands[i].name, name) == 0) return &subcommands[i];
    return NULL;
}

static int answer_unknown(const char *name) {
    const char *known[SUBCOMMANDS + 1] = {0};
    for (int i = 0; i < SUBCOMMANDS; i++) known[i] = subcommands[i].name;
    const char *nearest = td_nearest_name(name, known);
    if (nearest)
        fprintf(stderr, "tandem: unknown command %s; did you mean %s?\n", name, nearest);
    else
        fprintf(stderr, "tandem: unknown command %s; tandem --help lists them\n", name);
    return LAUNCHER_EXIT_OWN;
}

/* --- -n of any sub-command ------------------------------------------------------------------------------ */

/* Options of `tandem run` that may stand among a sub-command's own when it launches itself. */
static const char *const launch_options[] = {"--shutdown-timeout", "--report",        "--trace-dir",
                                             "--bind-to",          "--map-by",        "--max-restarts",
                                             "--restart-backoff",  "--preempt-signal"};

/* How many arguments from argv[0] on are the option -n with its value; 0: it is another. */
static int match_ranks(char **argv) {
    const char *a = argv[0];
    if (strncmp(a, "-n", 2) == 0 && a[2] >= '0' && a[2] <= '9') return 1;
    if (strncmp(a, "--nproc-per-node=", 17) == 0 || strncmp(a, "--nproc_per_node=", 17) == 0) return 1;
    bool named =
        strcmp(a, "-n") == 0 || strcmp(a, "--nproc-per-node") == 0 || strcmp(a, "--nproc_per_node") == 0;
    return named ? (argv[1] ? 2 : 1) : 0;
}

static int match_launch_option(char **argv) {
    for (size_t i = 0; i < sizeof launch_options / sizeof *launch_options; i++) {
        size_t n = strlen(launch_options[i]);
        if (strncmp(argv[0], launch_options[i], n) != 0) continue;
        if (argv[0][n] == '=') return 1;
        if (argv[0][n] == 0) return argv[1] ? 2 : 1;
    }
    if (strcmp(argv[0], "--prefix") == 0) return 1;
    return 0;
}

static bool asks_for_ranks(char **argv) {
    for (; *argv && strcmp(*argv, "--") != 0; argv++)
        if (match_ranks(argv) > 0) return true;
    return false;
}

/* `train -n 2 --model mlp` becomes `run -n 2 -- SELF train --model mlp`. */
static int launch_itself(const subcommand *command, int argc, char **argv) {
    static char self[4096];
    if (launcher_own_path(self, sizeof self) < 0) {
        fprintf(stderr, "tandem: %s\n", td_error_last()->text);
        return LAUNCHER_EXIT_OWN;
    }
    char **run = calloc((size_t)argc + 4, sizeof *run);
    if (!run) return LAUNCHER_EXIT_OWN;
    int n = 0, own_from = 0;
    run[n++] = "run";
    for (int pass = 0; pass < 2; pass++) { /* what is the launcher's, then what is the command's */
        if (pass == 1) run[n++] = "--", run[n++] = self, own_from = n, run[n++] = argv[0];
        bool own = true;
        for (int i = 1; i < argc;) {
            own = own && strcmp(argv[i], "--") != 0;
            int taken = own ? match_ranks(argv + i) : 0;
            if (own && taken == 0) taken = match_launch_option(argv + i);
            bool wanted = (taken > 0) == (pass == 0);
            for (int k = 0; k < (taken > 0 ? taken : 1); k++, i++)
                if (wanted) run[n++] = argv[i];
        }
    }
    int status = command->check ? command->check(n - own_from, run + own_from) : -1;
    if (status < 0) status = launcher_run_main(n, run);
    free(run);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return LAUNCHER_EXIT_OWN;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return fflush(stdout) == 0 ? 0 : LAUNCHER_EXIT_OWN;
    }
    if (strcmp(name, "--version") == 0) {
        printf("tandem %s\n", TD_VERSION);
        return fflush(stdout) == 0 ? 0 : LAUNCHER_EXIT_OWN;
    }
    const subcommand *command = find_subcommand(name);
    if (!command) return answer_unknown(name);
    if (!command->is_launcher && asks_for_ranks(argv + 2)) return launch_itself(command, argc - 1, argv + 1);
    return command->entry(argc - 1, argv + 1);
}
