/* `tandem bench`: a table of benches. One that needs ranks and was not started by a launcher becomes `tandem
 * run` of itself; under a launcher it is one of its ranks. */
#include "tools/bench.h"

#include "base/memory.h"
#include "base/options.h"
#include "tools/tools.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, DEFAULT_RANKS = 2 };

typedef struct bench {
    const char *name;
    td_status (*run_rank)(bench_rank *rank); /* one of these two */
    td_status (*run_alone)(const bench_options *options);
    td_call_kind kind; /* or a collective */
} bench;

static const bench benches[] = {
    {"allreduce", .kind = TD_CALL_ALL_REDUCE},
    {"reduce_scatter", .kind = TD_CALL_REDUCE_SCATTER},
    {"all_gather", .kind = TD_CALL_ALL_GATHER},
    {"broadcast", .kind = TD_CALL_BROADCAST},
    {"all_to_all", .kind = TD_CALL_ALL_TO_ALL},
    {"reduce", .kind = TD_CALL_REDUCE},
    {"latency", bench_latency},
    {"update", bench_update},
    {"step", bench_step},
    {"loader", NULL, bench_loader},
    {"launch", NULL, bench_launch},
    {"noop", bench_noop},
};
enum { BENCHES = sizeof benches / sizeof *benches };

#define AT(field) offsetof(bench_options, field)
/* clang-format off */
static const td_option options_table[] = {
    {"nproc-per-node", 'n', TD_OPTION_INT,  AT(ranks),      "N",     "ranks to launch; 2", NULL, 1, 4096},
    {"bytes",            0, TD_OPTION_SIZE, AT(bytes),      "SIZE",  "collectives: only this size; 8 to 100M. update: 100 MiB", NULL, 4, 1e12},
    {"min-bytes",      'b', TD_OPTION_SIZE, AT(min_bytes),  "SIZE",  "collectives: the smallest size; 8", NULL, 4, 1e12},
    {"max-bytes",      'e', TD_OPTION_SIZE, AT(max_bytes),  "SIZE",  "collectives: the largest; 100M", NULL, 4, 1e12},
    {"factor",         'f', TD_OPTION_INT,  AT(factor),     "N",     "collectives: from one size to the next; 2", NULL, 2, 1e9},
    {"backend",          0, TD_OPTION_TEXT, AT(backend),    "NAME",  "how ranks exchange data; the first that can serve"},
    {"dtype",            0, TD_OPTION_TEXT, AT(dtype),      "NAME",  "collectives: f32, f64, f16, bf16, i8, u8, i16, i32, i64 or bool; f32"},
    {"private",          0, TD_OPTION_FLAG, AT(private_buffers), NULL, "collectives: buffers in ordinary memory"},
    {"sync",             0, TD_OPTION_CHOICE, AT(sync),     "HOW",   "update: replicated, shared or zero1; shared", "replicated shared zero1"},
    {"model",            0, TD_OPTION_TEXT, AT(model),      "NAME",  "step: mlp, mlp-large, mnist-bn or mnist-cnn; mnist-cnn"},
    {"batch-size",       0, TD_OPTION_INT,  AT(batch_size), "N",     "step, loader: samples of all ranks together; 64", NULL, 1, 1e9},
    {"bucket-cap-mb",    0, TD_OPTION_REAL, AT(bucket_cap_mb), "MIB", "step: gradients reduced at a time; 1", NULL, 1e-6, 1e6},
    {"threads",          0, TD_OPTION_INT,  AT(threads),    "N",     "step: compute threads per rank; its share of the cores", NULL, 1, 1024},
    {"repeat",           0, TD_OPTION_INT,  AT(repeat),     "N",     "timings per row", NULL, 1, 1e9},
    {"json",             0, TD_OPTION_FLAG, AT(json),       NULL,    "one JSON object a line"},
    {0},
};
/* clang-format on */

static const td_command command = {
    .name = "tandem bench",
    .summary =
        "Measure: a collective (that the backend has) over a range of sizes, latency (of the smallest), step "
        "(of training),\n"
        "update (what follows backward: gradients reduced, and SGD with momentum, of 100 MiB or --bytes), "
        "loader,\n"
        "launch (of ranks that do nothing; noop is what they run). Medians, and the share of the machine\n"
        "that others used meanwhile.",
    .example = "  tandem bench allreduce -b 8 -e 128M -f 2\n"
               "  tandem bench step -n 1 --threads 2 --json",
    .options = options_table,
    .positional =
        "allreduce|reduce_scatter|all_gather|broadcast|all_to_all|reduce|latency|update|step|loader|launch",
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

/* Become `tandem run -n N -- tandem bench ...` with the same words; returns only on failure. */
static td_status launch_itself(const bench_options *options, char **words) {
    char self[PATH_MAX], ranks[24];
    int count = 0;
    while (words[count]) count++;
    char **arguments = td_calloc((size_t)count + 7, sizeof *arguments);
    if (!arguments) return TD_ERR_MEMORY;
    td_status status = bench_own_path(self, sizeof self);
    snprintf(ranks, sizeof ranks, "%lld", (long long)(options->ranks ? options->ranks : DEFAULT_RANKS));
    char *const before[] = {self, "run", "-n", ranks, "--", self};
    memcpy(arguments, before, sizeof before);
    memcpy(arguments + 6, words, (size_t)count * sizeof *words);
    if (status >= 0) {
        execv(self, arguments);
        status = td_fail_errno(errno, "bench", "cannot run %s", self);
    }
    td_free(arguments);
    return status;
}

static td_status run_rank(const bench *b, const bench_options *options, char **words) {
    bench_rank rank = {.options = options};
    TD_TRY(td_job_open(&rank.job));
    td_status status = TD_OK;
    bool alone = td_job_launcher(rank.job) == TD_LAUNCHER_NONE;
    if (alone && options->ranks != 1) status = launch_itself(options, words);
    if (status >= 0)
        status = td_group_open(rank.job, &(td_group_options){.backend = options->backend}, &rank.group);
    if (status >= 0) {
        rank.rank = td_group_rank(rank.group);
        rank.world_size = td_group_size(rank.group);
        status = b->run_rank ? b->run_rank(&rank) : bench_collective(&rank, b->kind, b->name);
        if (status < 0) td_group_abort(rank.group, td_error_last()->text);
    }
    td_group_close(&rank.group);
    td_job_close(&rank.job);
    return status;
}

int tandem_bench_main(int argc, char **argv) {
    bench_options options = {.model = "mnist-cnn", .batch_size = 64, .dtype = "f32"};
    const bench *b = NULL;
    char **words = td_calloc((size_t)argc + 1, sizeof *words); /* parsing reorders them */
    if (!words) return EXIT_FAILED;
    memcpy(words, argv, (size_t)argc * sizeof *words);
    td_status status = read_options(argc, argv, &options, &b);
    if (status == TD_PENDING) {
        td_options_help(&command, stdout);
        td_free(words);
        return fflush(stdout) == 0 ? 0 : EXIT_FAILED;
    }
    if (status < 0) {
        fprintf(stderr, "%s\n", td_error_last()->text);
        td_free(words);
        return EXIT_USAGE;
    }
    status = b->run_alone ? b->run_alone(&options) : run_rank(b, &options, words);
    td_free(words);
    if (status >= 0) return 0;
    fprintf(stderr, "tandem bench %s: %s\n", b->name, td_error_last()->text);
    return EXIT_FAILED;
}
