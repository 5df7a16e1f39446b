/*
 * An MPI doing what `tandem bench` does for collectives, with the same protocol: buffers are written anew before
 * each timing behind a barrier, small sizes are timed 16 in a row, a timing lasts until the slowest rank has its
 * result, every element is checked. Buffers are ordinary memory, as MPI programs hand it over. Prints
 * {"bytes":N,"median_us":X} a line; the bytes are those of the whole buffer, all ranks' parts together.
 *
 *     mpi_peer KIND [MAX_BYTES]     allreduce, reduce_scatter, all_gather, broadcast, all_to_all or barrier
 *     mpi_peer noop                 all-reduces one number and leaves
 *
 *     mpicc -O3 -march=native scripts/bench/mpi_peer.c -o build/mpi_peer -lm
 */
#include <math.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_BYTES = 64 << 10, ROW = 16, MOST_REPEAT = 300 };
static const struct {
    size_t bytes;
    int repeat;
} sizes[] = {
    {8, 300},         {64, 300},      {1 << 10, 300}, {8 << 10, 300}, {64 << 10, 300},
    {256 << 10, 200}, {1 << 20, 200}, {4 << 20, 60},  {25 << 20, 15}, {100 << 20, 7},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

enum kind { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, ALL_TO_ALL, BARRIER, KINDS };
static const char *const names[KINDS] = {"allreduce", "reduce_scatter", "all_gather",
                                         "broadcast", "all_to_all",     "barrier"};

static int rank, ranks;

/* One size: `part` is a rank's part where there are parts, else the whole. */
typedef struct course {
    enum kind kind;
    float *input, *output; /* the same for calls in place */
    size_t part, inputs, outputs;
    int in_a_row;
} course;

static void call(const course *c) {
    int part = (int)c->part;
    switch (c->kind) {
    case ALL_REDUCE: MPI_Allreduce(MPI_IN_PLACE, c->output, part, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); break;
    case REDUCE_SCATTER:
        MPI_Reduce_scatter_block(c->input, c->output, part, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        break;
    case ALL_GATHER:
        MPI_Allgather(c->input, part, MPI_FLOAT, c->output, part, MPI_FLOAT, MPI_COMM_WORLD);
        break;
    case BROADCAST: MPI_Bcast(c->output, part, MPI_FLOAT, 0, MPI_COMM_WORLD); break;
    case ALL_TO_ALL:
        MPI_Alltoall(c->input, part, MPI_FLOAT, c->output, part, MPI_FLOAT, MPI_COMM_WORLD);
        break;
    default: MPI_Barrier(MPI_COMM_WORLD);
    }
}

static float value_at(size_t i, int r) { return (float)(i % 13 + 1 + (size_t)r % 5); }

static float sum_at(size_t i) {
    float sum = 0;
    for (int r = 0; r < ranks; r++) sum += value_at(i, r);
    return sum;
}

static float expected_at(const course *c, size_t i) {
    size_t mine = (size_t)rank * c->part;
    switch (c->kind) {
    case ALL_REDUCE: return sum_at(i) * powf((float)ranks, (float)(c->in_a_row - 1));
    case REDUCE_SCATTER: return sum_at(mine + i);
    case ALL_GATHER: return value_at(i % c->part, (int)(i / c->part));
    case ALL_TO_ALL: return value_at(mine + i % c->part, (int)(i / c->part));
    default: return value_at(i, 0);
    }
}

static double time_one(const course *c) {
    for (size_t i = 0; c->input != c->output && i < c->outputs; i++) c->output[i] = -1;
    for (size_t i = 0; i < c->inputs; i++) c->input[i] = value_at(i, rank);
    MPI_Barrier(MPI_COMM_WORLD);
    double start = MPI_Wtime();
    for (int k = 0; k < c->in_a_row; k++) call(c);
    double us = (MPI_Wtime() - start) * 1e6 / c->in_a_row;
    for (size_t i = 0; i < c->outputs; i++)
        if (fabsf(c->output[i] - expected_at(c, i)) > 1e-4f * expected_at(c, i)) MPI_Abort(MPI_COMM_WORLD, 1);
    return us;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure_size(course *c, size_t bytes, int repeat) {
    double us[MOST_REPEAT];
    int parted = c->kind == REDUCE_SCATTER || c->kind == ALL_GATHER || c->kind == ALL_TO_ALL;
    size_t n = parted ? (size_t)ranks : 1;
    c->part = bytes / sizeof(float) / n;
    if (!c->part && c->kind != BARRIER) return;
    c->inputs = c->kind == ALL_GATHER ? c->part : c->part * n;
    c->outputs = c->kind == REDUCE_SCATTER ? c->part : c->part * n;
    c->in_a_row = bytes <= SMALL_BYTES ? ROW : 1;
    time_one(c); /* warms up */
    for (int i = 0; i < repeat; i++) us[i] = time_one(c);
    MPI_Allreduce(MPI_IN_PLACE, us, repeat, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    qsort(us, (size_t)repeat, sizeof *us, compare);
    if (rank == 0)
        printf("{\"bytes\":%zu,\"median_us\":%.4f}\n", c->part * n * sizeof(float), us[repeat / 2]);
    fflush(stdout);
}

static void measure(enum kind kind, size_t most) {
    course c = {.kind = kind};
    if (kind == BARRIER) {
        measure_size(&c, 0, MOST_REPEAT);
        return;
    }
    if (most > sizes[SIZES - 1].bytes) most = sizes[SIZES - 1].bytes;
    c.input = malloc(most);
    c.output = kind == ALL_REDUCE || kind == BROADCAST ? c.input : malloc(most);
    if (!c.input || !c.output) MPI_Abort(MPI_COMM_WORLD, 1);
    for (int s = 0; s < SIZES && sizes[s].bytes <= most; s++)
        measure_size(&c, sizes[s].bytes, sizes[s].repeat);
    if (c.output != c.input) free(c.output);
    free(c.input);
}

static void noop(void) {
    double sum = rank + 1;
    MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    if (sum != 0.5 * ranks * (ranks + 1)) MPI_Abort(MPI_COMM_WORLD, 1);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "allreduce";
    size_t most = argc > 2 ? strtoull(argv[2], NULL, 10) : SIZE_MAX;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (strcmp(what, "noop") == 0) noop();
    for (int k = 0; k < KINDS; k++)
        if (strcmp(what, names[k]) == 0) measure((enum kind)k, most);
    MPI_Finalize();
    return 0;
}
