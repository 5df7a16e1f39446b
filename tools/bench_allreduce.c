/*
 * All-reduce (sum, f32) of buffers in the group's arena, for a range of sizes. Each timing starts from
 * freshly written buffers behind a barrier, ends when the result is there, and every element of the result is
 * checked. Small sizes are timed several in a row, since a look at the clock costs as much as one of them;
 * then the sums grow by the number of ranks each time, which is part of the check.
 */
#include "base/memory.h"
#include "base/number.h"
#include "dist/arena.h"
#include "tools/bench.h"

#include <math.h>
#include <stdio.h>

enum { SMALL_BYTES = 64 << 10, ROW = 16 };

static const struct {
    size_t bytes;
    int64_t repeat;
} sizes[] = {
    {8, 300},         {64, 300},      {1 << 10, 300}, {8 << 10, 300}, {64 << 10, 300},
    {256 << 10, 200}, {1 << 20, 200}, {4 << 20, 60},  {25 << 20, 15}, {100 << 20, 7},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Small integers, so that sums are exact. */
static float value_at(size_t i, int rank) { return (float)(i % 13 + 1 + (size_t)rank % 5); }

static void refill(float *data, size_t count, int rank) {
    for (size_t i = 0; i < count; i++) data[i] = value_at(i, rank);
}

static td_status check(const float *data, size_t count, int ranks, int in_a_row) {
    float growth = powf((float)ranks, (float)(in_a_row - 1));
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (int r = 0; r < ranks; r++) sum += value_at(i, r);
        if (fabsf(data[i] - sum * growth) > 1e-4f * sum * growth)
            return td_fail(TD_ERR_INTERNAL, 0, "bench", "element %zu of %zu is %g, not %g", i, count,
                           (double)data[i], (double)(sum * growth));
    }
    return TD_OK;
}

static td_status time_one(bench_rank *rank, float *data, size_t count, int in_a_row, double *us) {
    td_device cpu = {0};
    refill(data, count, rank->rank);
    TD_TRY(td_group_barrier(rank->group, NULL));
    double start = bench_now_us();
    for (int k = 0; k < in_a_row; k++)
        TD_TRY(td_group_all_reduce(rank->group, data, count, TD_DTYPE_F32, TD_REDUCE_SUM, cpu, NULL, NULL));
    *us = (bench_now_us() - start) / in_a_row;
    return check(data, count, rank->world_size, in_a_row);
}

static void print_row(const bench_rank *rank, size_t bytes, bench_times t, double foreign) {
    int n = rank->world_size;
    double algbw = (double)bytes / t.median * 1e-3, busbw = algbw * 2 * (n - 1) / n; /* GB/s */
    const char *backend = td_group_backend(rank->group);
    if (rank->options->json) {
        bench_print_json(json_pack("{ss ss si sI ss sf sf sf sf sf sf}", "bench", "allreduce", "backend",
                                   backend, "ranks", n, "bytes", (json_int_t)bytes, "dtype", "f32", "min_us",
                                   t.min, "median_us", t.median, "p99_us", t.p99, "algbw_gbps", algbw,
                                   "busbw_gbps", busbw, "foreign_cpu", foreign));
    } else {
        printf("allreduce  %d ranks  %s  %9s  min %8.2f us  median %8.2f us  p99 %8.2f us  %6.2f GB/s  "
               "others %2.0f %%\n",
               n, backend, td_format_bytes((int64_t)bytes).text, t.min, t.median, t.p99, busbw,
               100 * foreign);
    }
}

static td_status run_size(bench_rank *rank, float *data, size_t bytes, int64_t repeat) {
    if (rank->options->repeat) repeat = rank->options->repeat;
    int in_a_row = bytes <= SMALL_BYTES ? ROW : 1;
    double *us = td_alloc((size_t)repeat * sizeof *us);
    if (!us) return TD_ERR_MEMORY;
    bench_load load;
    double foreign = 0;
    td_status status = time_one(rank, data, bytes / sizeof *data, in_a_row, us); /* warms up */
    bench_load_begin(&load);
    for (int64_t i = 0; i < repeat && status >= 0; i++)
        status = time_one(rank, data, bytes / sizeof *data, in_a_row, &us[i]);
    if (status >= 0) status = bench_load_end(&load, rank->group, &foreign);
    if (status >= 0 && rank->rank == 0) print_row(rank, bytes, bench_summarise(us, (size_t)repeat), foreign);
    td_free(us);
    return status;
}

td_status bench_allreduce(bench_rank *rank) {
    size_t only = (size_t)rank->options->bytes / sizeof(float) * sizeof(float);
    void *data = NULL;
    td_arena *arena = td_group_arena(rank->group);
    TD_TRY(td_arena_alloc(arena, only ? only : sizes[SIZES - 1].bytes, &data));
    td_status status = TD_OK;
    if (only) status = run_size(rank, data, only, only <= SMALL_BYTES ? 300 : 30);
    for (int i = 0; i < SIZES && !only && status >= 0; i++)
        status = run_size(rank, data, sizes[i].bytes, sizes[i].repeat);
    td_arena_free(arena, &data);
    return status;
}
