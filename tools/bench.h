/* What the benches share: their options, statistics of repeated timings, and how busy the machine was with
 * others. */
#ifndef TANDEM_TOOLS_BENCH_H
#define TANDEM_TOOLS_BENCH_H

#include "dist/call.h"
#include "dist/group.h"
#include "dist/job.h"

#include <jansson.h>

typedef struct bench_options {
    int64_t ranks;                        /* 0: the bench's own default */
    int64_t bytes;                        /* collectives: only this size; 0: a range */
    int64_t min_bytes, max_bytes, factor; /* collectives: the range; 0: the usual sizes */
    const char *backend;                  /* NULL: the first that can serve */
    const char *dtype;                    /* collectives */
    bool private_buffers;                 /* collectives: in ordinary memory, not the arena */
    const char *sync;                     /* update; NULL: shared */
    const char *model;                    /* step */
    int64_t batch_size;                   /* step, loader: of all ranks together */
    double bucket_cap_mb;                 /* step: 0: DDP's default */
    int64_t threads;                      /* step: per rank; 0: the rank's share of the cores */
    int64_t repeat;                       /* timings per row; 0: the bench's own default */
    bool json;
} bench_options;

/* A rank of the bench. */
typedef struct bench_rank {
    const bench_options *options;
    td_job *job;
    td_group *group;
    int rank, world_size;
} bench_rank;

/* Microseconds. */
typedef struct bench_times {
    double min, median, p99;
} bench_times;

/* Sorts `us`. `count` is at least 1. */
bench_times bench_summarise(double *us, size_t count);

/* Share of all cores' time that went to others between begin and end, 0 to 1: busy by /proc/stat (stolen time
 * is others' too), less what this process, its finished children and the other ranks of `group` used. */
typedef struct bench_load {
    double busy, own; /* core seconds */
    int64_t start_ns;
} bench_load;
void bench_load_begin(bench_load *load);
/* Every rank of `group` calls it; NULL: this process is alone. */
td_status bench_load_end(const bench_load *load, td_group *group, double *foreign);

double bench_now_us(void);

/* One line on standard output; *given*. */
void bench_print_json(json_t *row);

/* The benches. Those with a rank run on every rank of the job, and rank 0 prints. */
/* One kind of collective over a range of sizes. */
td_status bench_collective(bench_rank *rank, td_call_kind kind, const char *name);
td_status bench_latency(bench_rank *rank);
td_status bench_step(bench_rank *rank);
td_status bench_update(bench_rank *rank);
td_status bench_loader(const bench_options *options);
td_status bench_launch(const bench_options *options);
td_status bench_noop(bench_rank *rank);

/* The running program's path. */
td_status bench_own_path(char *path, size_t bytes);

#endif
