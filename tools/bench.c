/* `tandem bench`: a table of benches. One that needs ranks and was not started by a launcher becomes `tandem
 * run` of itself; under a launcher it is one of its ranks. */
#include "tools/bench.h"

#include "base/options.h"
#include "tools/tools.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, DEFAULT_RANKS = 2 };

typedef struct bench {
    const char *name;
    td_status (*run_rank)(bench_rank *rank); /* one of these two */
    td_status (*run_alone)(const bench_options *options);
} bench;

static const bench benches[] = {
    {"allreduce", bench_allreduce, NULL}, {"step", bench_step, NULL}, {"loader", NULL, bench_loader},
    {"launch", NULL, bench_launch},       {"noop", bench_noop, NULL},
};
enum { BENCHES = sizeof benches / sizeof *benches };

#define AT(field) offsetof(bench_options, field)
/* clang-format off */
static const td_option options_table[] = {
    {"nproc-per-node", 'n', TD_OPTION_INT,  AT(ranks),      "N",     "ranks to launch; 2", NULL, 1, 4096},
    {"bytes",            0, TD_OPTION_SIZE, AT(bytes),      "SIZE",  "allreduce: only this size; 8 to 100M", NULL, 4, 1e12},
    {"model",            0, TD_OPTION_TEXT, AT(model),      "NAME",  "step: mlp or mnist-cnn; mnist-cnn"},
    {"batch-size",       0, TD_OPTION_INT,  AT(batch_size), "N",     "step, loader: samples of all ranks together; 64", NULL, 1, 1e9},
    {"threads",          0, TD_OPTION_INT,  AT(threads),    "N",     "step: compute threads per rank; its share of the cores", NULL, 1, 1024},
    {"repeat",           0, TD_OPTION_INT,  AT(repeat),     "N",     "timings per row", NULL, 1, 1e9},
    {"json",             0, TD_OPTION_FLAG, AT(json),       NULL,    "one JSON object a line"},
    {0},
};
/* clang-format on */

static const td_command command = {
    .name = "tandem bench",
    .summary = "Measure: allreduce (of all sizes), step (of training), loader, launch (of ranks that do "
               "nothing; noop\n"
               "is what they run). Medians, and the share of the machine that others used meanwhile.",
    .example = "  tandem bench allreduce\n"
               "  tandem bench step -n 1 --threads 2 --json",
    .options = options_table,
    .positional = "allreduce|step|loader|launch|noop",
};

static td_status find_bench(const char *name, const bench **found) {
    const char *known[BENCHES + 1] = {0};
    for (int i = 0; i < BENCHES; i++) {
        known[i] = benches[i].name;
        if (strcmp(name, benches[i].name) == 0) {
            *found = &benches[i];
            return TD_OK;
        }
    }
    const char *nearest = td_nearest_name(name, known);
    return td_fail(TD_ERR_ARG, 0, "bench", "tandem bench: unknown bench %s; did you mean %s?", name,
                   nearest ? nearest : "allreduce");
}

static td_status read_options(int argc, char **argv, bench_options *options, const bench **found) {
    int rest;
    td_status status = td_options_parse(&command, argc, argv, options, &rest);
    if (status != TD_OK) return status;
    if (rest != 1) return td_fail(TD_ERR_ARG, 0, "bench", "tandem bench: name one of %s", command.positional);
    return find_bench(argv[1], found);
}

td_status bench_own_path(char *path, size_t bytes) {
    ssize_t length = readlink("/proc/self/exe", path, bytes - 1);
    if (length < 0) return td_fail_errno(errno, "bench", "/proc/self/exe");
    path[length] = 0;
    return TD_OK;
}

/* Become `tandem run -n N -- tandem bench ...`; returns only on failure. */
static td_status launch_itself(const bench_options *options, const bench *b) {
    char self[PATH_MAX], numbers[4][24];
    TD_TRY(bench_own_path(self, sizeof self));
    char *arguments[24] = {self, "run", "-n"};
    int n = 3;
    snprintf(numbers[0], sizeof numbers[0], "%lld",
             (long long)(options->ranks ? options->ranks : DEFAULT_RANKS));
    char *const before[] = {
        numbers[0], "--", self, "bench", (char *)b->name, "--model", (char *)options->model};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) arguments[n++] = before[i];
    const struct {
        char *name;
        int64_t value;
    } values[] = {{"--bytes", options->bytes},
                  {"--batch-size", options->batch_size},
                  {"--threads", options->threads},
                  {"--repeat", options->repeat}};
    char texts[sizeof values / sizeof *values][24];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        if (!values[i].value) continue;
        snprintf(texts[i], sizeof texts[i], "%lld", (long long)values[i].value);
        arguments[n++] = values[i].name;
        arguments[n++] = texts[i];
    }
    if (options->json) arguments[n++] = "--json";
    execv(self, arguments);
    return td_fail_errno(errno, "bench", "cannot run %s", self);
}

static td_status run_rank(const bench *b, const bench_options *options) {
    bench_rank rank = {.options = options};
    TD_TRY(td_job_open(&rank.job));
    td_status status = TD_OK;
    bool alone = td_job_launcher(rank.job) == TD_LAUNCHER_NONE;
    if (alone && options->ranks != 1) status = launch_itself(options, b);
    if (status >= 0) status = td_group_open(rank.job, NULL, &rank.group);
    if (status >= 0) {
        rank.rank = td_group_rank(rank.group);
        rank.world_size = td_group_size(rank.group);
        status = b->run_rank(&rank);
        if (status < 0) td_group_abort(rank.group, td_error_last()->text);
    }
    td_group_close(&rank.group);
    td_job_close(&rank.job);
    return status;
}

int tandem_bench_main(int argc, char **argv) {
    bench_options options = {.model = "mnist-cnn", .batch_size = 64};
    const bench *b = NULL;
    td_status status = read_options(argc, argv, &options, &b);
    if (status == TD_PENDING) {
        td_options_help(&command, stdout);
        return fflush(stdout) == 0 ? 0 : EXIT_FAILED;
    }
    if (status < 0) {
        fprintf(stderr, "%s\n", td_error_last()->text);
        return EXIT_USAGE;
    }
    status = b->run_alone ? b->run_alone(&options) : run_rank(b, &options);
    if (status >= 0) return 0;
    fprintf(stderr, "tandem bench %s: %s\n", b->name, td_error_last()->text);
    return EXIT_FAILED;
}
