/*
 * Collectives over a range of sizes, in the table that users of nccl-tests know; "size" is theirs too: the bytes
 * of the whole buffer, all ranks' parts together where there are parts. Each timing starts from freshly written
 * buffers behind a barrier and lasts until the slowest rank has its result, of which every element is checked.
 * Small sizes are timed several in a row, since a look at the clock costs as much as one of them; an all-reduce
 * is in place, so its sums then grow by the number of ranks each time.
 */
#include "base/memory.h"
#include "base/number.h"
#include "dist/arena.h"
#include "dist/call.h"
#include "tools/bench.h"
#include "tools/bench_values.h"

#include <stdio.h>
#include <string.h>

enum { SMALL_BYTES = 64 << 10, ROW = 16 };

static const struct {
    size_t bytes;
    int64_t repeat;
} sizes[] = {
    {8, 300},         {64, 300},      {1 << 10, 300}, {8 << 10, 300}, {64 << 10, 300},
    {256 << 10, 200}, {1 << 20, 200}, {4 << 20, 60},  {25 << 20, 15}, {100 << 20, 7},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

typedef struct course {
    bench_rank *rank;
    const char *bench;
    td_call call;
    uint8_t *input, *output; /* the same for calls in place */
    size_t size;             /* bytes, as the table has it */
    int in_a_row;
} course;

static bool is_in_place(td_call_kind kind) { return kind == TD_CALL_ALL_REDUCE || kind == TD_CALL_BROADCAST; }

/* Which of `count` elements from `at` of the output come from whom. */
static size_t count_wrong(const course *c, size_t at, size_t count, bench_expected expected) {
    return bench_count_wrong(c->output + at * td_dtype_size(c->call.dtype), c->call.dtype, count, expected);
}

static td_status check(const course *c) {
    int n = c->rank->world_size, me = c->rank->rank, root = c->call.root;
    size_t part = c->call.count, mine = (size_t)me * part, wrong = 0;
    size_t count = td_call_output_count(&c->call, me, n);
    bench_expected all = {.first = 0, .last = n - 1, .op = c->call.op, .again = c->in_a_row - 1};
    switch (c->call.kind) {
    case TD_CALL_ALL_REDUCE: wrong = count_wrong(c, 0, part, all); break;
    case TD_CALL_REDUCE:
    case TD_CALL_REDUCE_SCATTER:
        all.again = 0;
        if (c->call.kind == TD_CALL_REDUCE_SCATTER) all.at = mine;
        wrong = count_wrong(c, 0, count, all);
        break;
    case TD_CALL_ALL_GATHER:
    case TD_CALL_ALL_TO_ALL:
        for (int s = 0; s < n; s++)
            wrong += count_wrong(
                c, (size_t)s * part, part,
                (bench_expected){.first = s, .last = s, .at = c->call.kind == TD_CALL_ALL_TO_ALL ? mine : 0});
        break;
    default: wrong = count_wrong(c, 0, count, (bench_expected){.first = root, .last = root});
    }
    if (!wrong) return TD_OK;
    return td_fail(TD_ERR_INTERNAL, 0, "bench", "%s: %zu of %zu elements are wrong on rank %d", c->bench,
                   wrong, count, me);
}

static void refill(const course *c) {
    int me = c->rank->rank, n = c->rank->world_size;
    size_t in = td_call_input_count(&c->call, me, n), out = td_call_output_count(&c->call, me, n);
    if (c->output != c->input)
        bench_spoil(c->output, c->call.dtype, out);
    else
        in = c->call.count;
    bench_fill(c->input, c->call.dtype, in, me);
}

static td_status time_one(const course *c, double *us) {
    refill(c);
    TD_TRY(td_group_barrier(c->rank->group, NULL));
    double start = bench_now_us();
    for (int k = 0; k < c->in_a_row; k++) TD_TRY(td_group_post(c->rank->group, &c->call, NULL));
    *us = (bench_now_us() - start) / c->in_a_row;
    return check(c);
}

/* What a link carries of the size: nccl-tests' doc/PERFORMANCE.md. */
static double bus_factor(td_call_kind kind, int n) {
    switch (kind) {
    case TD_CALL_ALL_REDUCE: return 2.0 * (n - 1) / n;
    case TD_CALL_BROADCAST:
    case TD_CALL_REDUCE: return 1;
    default: return (double)(n - 1) / n;
    }
}

static void print_head(const bench_rank *rank, const course *c) {
    if (rank->rank != 0 || rank->options->json) return;
    printf("# tandem bench %s: %d ranks, backend %s, buffers in %s, %s\n", c->bench, rank->world_size,
           td_group_backend(rank->group), rank->options->private_buffers ? "private memory" : "shared memory",
           is_in_place(c->call.kind) ? "in place" : "out of place");
    printf("#%11s %12s %6s %7s %5s %11s %11s %11s %8s %8s %7s %7s\n", "size", "count", "type", "redop",
           "root", "min", "median", "p99", "algbw", "busbw", "#wrong", "others");
    printf("#%11s %12s %6s %7s %5s %11s %11s %11s %8s %8s %7s %7s\n", "(B)", "(elements)", "", "", "", "(us)",
           "(us)", "(us)", "(GB/s)", "(GB/s)", "", "(%)");
}

static void print_row(const course *c, bench_times t, double foreign) {
    const bench_rank *rank = c->rank;
    const td_call_traits *traits = td_call_traits_of(c->call.kind);
    int n = rank->world_size;
    double algbw = (double)c->size / t.median * 1e-3, busbw = algbw * bus_factor(c->call.kind, n); /* GB/s */
    if (rank->options->json) {
        bench_print_json(json_pack(
            "{ss ss si sI ss ss sb sf sf sf sf sf sf}", "bench", c->bench, "backend",
            td_group_backend(rank->group), "ranks", n, "bytes", (json_int_t)c->size, "dtype",
            td_dtype_name(c->call.dtype), "redop", traits->reduces ? td_reduce_name(c->call.op) : "none",
            "private", rank->options->private_buffers, "min_us", t.min, "median_us", t.median, "p99_us",
            t.p99, "algbw_gbps", algbw, "busbw_gbps", busbw, "foreign_cpu", foreign));
        return;
    }
    printf(" %11zu %12zu %6s %7s %5d %11.2f %11.2f %11.2f %8.2f %8.2f %7d %7.0f\n", c->size, c->call.count,
           td_dtype_name(c->call.dtype), traits->reduces ? td_reduce_name(c->call.op) : "none",
           traits->rooted ? c->call.root : -1, t.min, t.median, t.p99, algbw, busbw, 0, 100 * foreign);
    fflush(stdout);
}

static td_status measure(course *c, double *us, int64_t repeat, double *foreign) {
    bench_load load;
    TD_TRY(time_one(c, us)); /* warms up */
    bench_load_begin(&load);
    for (int64_t i = 0; i < repeat; i++) TD_TRY(time_one(c, &us[i]));
    TD_TRY(bench_load_end(&load, c->rank->group, foreign));
    return td_group_all_reduce(c->rank->group, us, (size_t)repeat, TD_DTYPE_F64, TD_REDUCE_MAX,
                               (td_device){0}, NULL, NULL);
}

/* One row; sizes that give a rank no element are left out. */
static td_status run_size(course *c, size_t size, int64_t repeat) {
    const td_call_traits *traits = td_call_traits_of(c->call.kind);
    size_t element = td_dtype_size(c->call.dtype), parts = traits->parts ? (size_t)c->rank->world_size : 1;
    if (c->rank->options->repeat) repeat = c->rank->options->repeat;
    c->call.count = size / element / parts;
    c->size = c->call.count * parts * element;
    c->in_a_row = size <= SMALL_BYTES ? ROW : 1;
    if (!c->call.count) return TD_OK;
    double *us = td_alloc((size_t)repeat * sizeof *us), foreign = 0;
    if (!us) return TD_ERR_MEMORY;
    td_status status = measure(c, us, repeat, &foreign);
    if (status >= 0 && c->rank->rank == 0) print_row(c, bench_summarise(us, (size_t)repeat), foreign);
    td_free(us);
    return status;
}

static int64_t repeat_for(size_t bytes) {
    for (int i = 0; i < SIZES; i++)
        if (bytes <= sizes[i].bytes) return sizes[i].repeat;
    return sizes[SIZES - 1].repeat;
}

/* --bytes, or from --min-bytes to --max-bytes by --factor, or the usual sizes. */
static td_status run_sizes(course *c, size_t most) {
    const bench_options *o = c->rank->options;
    if (o->bytes) return run_size(c, (size_t)o->bytes, repeat_for((size_t)o->bytes));
    if (!o->min_bytes && !o->max_bytes && !o->factor) {
        for (int i = 0; i < SIZES; i++) TD_TRY(run_size(c, sizes[i].bytes, sizes[i].repeat));
        return TD_OK;
    }
    int64_t factor = o->factor ? o->factor : 2;
    for (size_t bytes = o->min_bytes ? (size_t)o->min_bytes : 8; bytes <= most; bytes *= (size_t)factor)
        TD_TRY(run_size(c, bytes, repeat_for(bytes)));
    return TD_OK;
}

static size_t most_bytes(const bench_options *o) {
    if (o->bytes) return (size_t)o->bytes;
    return o->max_bytes ? (size_t)o->max_bytes : sizes[SIZES - 1].bytes;
}

static td_status take(const bench_rank *rank, size_t bytes, void **block) {
    if (!rank->options->private_buffers) return td_arena_alloc(td_group_arena(rank->group), bytes, block);
    *block = td_alloc_aligned(bytes);
    return *block ? TD_OK : TD_ERR_MEMORY;
}

static void give_back(const bench_rank *rank, void **block) {
    if (rank->options->private_buffers)
        td_free(*block);
    else
        td_arena_free(td_group_arena(rank->group), block);
}

/* All-reduces in a row start from each other's results. Only wide floats have room for sums that grow so; with
 * the others a reduction is timed that leaves equal values as they are. */
static td_reduce repeatable(td_dtype dtype) {
    if (!td_dtype_is_floating(dtype)) return TD_REDUCE_MAX;
    return td_dtype_size(dtype) == 2 ? TD_REDUCE_AVG : TD_REDUCE_SUM;
}

td_status bench_collective(bench_rank *rank, td_call_kind kind, const char *name) {
    size_t most = most_bytes(rank->options);
    td_dtype dtype;
    TD_TRY(td_dtype_parse(rank->options->dtype, &dtype));
    void *input = NULL, *output = NULL;
    TD_TRY(take(rank, most, &input));
    td_status status = is_in_place(kind) ? TD_OK : take(rank, most, &output);
    course c = {.rank = rank, .bench = name, .input = input, .output = output ? output : input};
    c.call = (td_call){.kind = kind,
                       .dtype = dtype,
                       .op = kind == TD_CALL_ALL_REDUCE ? repeatable(dtype) : TD_REDUCE_SUM,
                       .input = c.input,
                       .output = c.output};
    print_head(rank, &c);
    if (status >= 0) status = run_sizes(&c, most);
    if (status < 0) return status; /* the group's memory goes with it */
    if (output) give_back(rank, &output);
    give_back(rank, &input);
    return TD_OK;
}

/* --- the smallest of each ------------------------------------------------------------------------------- */

static td_status time_barriers(bench_rank *rank, double *us, int64_t repeat) {
    for (int64_t i = -1; i < repeat; i++) {
        TD_TRY(td_group_barrier(rank->group, NULL));
        double start = bench_now_us();
        for (int k = 0; k < ROW; k++) TD_TRY(td_group_barrier(rank->group, NULL));
        us[i < 0 ? 0 : i] = (bench_now_us() - start) / ROW;
    }
    return TD_OK;
}

static void print_latency(const bench_rank *rank, const char *call, bench_times t, double foreign) {
    if (rank->options->json)
        bench_print_json(json_pack("{ss ss ss si sf sf sf sf}", "bench", "latency", "call", call, "backend",
                                   td_group_backend(rank->group), "ranks", rank->world_size, "min_us", t.min,
                                   "median_us", t.median, "p99_us", t.p99, "foreign_cpu", foreign));
    else
        printf("%-16s  min %8.3f us  median %8.3f us  p99 %8.3f us  others %2.0f %%\n", call, t.min, t.median,
               t.p99, 100 * foreign);
}

td_status bench_latency(bench_rank *rank) {
    int64_t repeat = rank->options->repeat ? rank->options->repeat : 300;
    float small[2] = {0};
    double *us = td_alloc((size_t)repeat * sizeof *us), foreign = 0;
    if (!us) return TD_ERR_MEMORY;
    bench_load load;
    bench_load_begin(&load);
    td_status status = time_barriers(rank, us, repeat);
    if (status >= 0) status = bench_load_end(&load, rank->group, &foreign);
    if (status >= 0 && rank->rank == 0)
        print_latency(rank, "barrier", bench_summarise(us, (size_t)repeat), foreign);
    static const td_call_kind kinds[] = {TD_CALL_ALL_REDUCE, TD_CALL_BROADCAST};
    for (int k = 0; k < 2 && status >= 0; k++) {
        course c = {.rank = rank,
                    .bench = "latency",
                    .input = (uint8_t *)small,
                    .output = (uint8_t *)small,
                    .in_a_row = ROW};
        c.call =
            (td_call){.kind = kinds[k], .dtype = TD_DTYPE_F32, .count = 2, .input = small, .output = small};
        status = measure(&c, us, repeat, &foreign);
        if (status >= 0 && rank->rank == 0)
            print_latency(rank, td_call_name(kinds[k]), bench_summarise(us, (size_t)repeat), foreign);
    }
    td_free(us);
    return status;
}
