/*
 * Open MPI doing what `tandem bench allreduce` and `tandem bench noop` do, with the same protocol: buffers
 * are written anew before each timing, small sizes are timed 16 in a row, every element is checked. Buffers
 * are ordinary memory, as MPI programs hand it over. Prints {"bytes":N,"median_us":X} a line; with `noop`
 * all-reduces one number and leaves.
 *
 *     mpicc -O3 -march=native scripts/bench/mpi_peer.c -o build/mpi_peer -lm
 */
#include <math.h>
#include <mpi.h>
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

static int rank, ranks;

static float value_at(size_t i, int r) { return (float)(i % 13 + 1 + (size_t)r % 5); }

static double time_one(float *data, size_t count, int in_a_row) {
    for (size_t i = 0; i < count; i++) data[i] = value_at(i, rank);
    MPI_Barrier(MPI_COMM_WORLD);
    double start = MPI_Wtime();
    for (int k = 0; k < in_a_row; k++)
        MPI_Allreduce(MPI_IN_PLACE, data, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    double us = (MPI_Wtime() - start) * 1e6 / in_a_row;
    float growth = powf((float)ranks, (float)(in_a_row - 1));
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (int r = 0; r < ranks; r++) sum += value_at(i, r);
        if (fabsf(data[i] - sum * growth) > 1e-4f * sum * growth) MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return us;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(void) {
    float *data = malloc(sizes[SIZES - 1].bytes);
    if (!data) MPI_Abort(MPI_COMM_WORLD, 1);
    for (int s = 0; s < SIZES; s++) {
        double us[MOST_REPEAT];
        int in_a_row = sizes[s].bytes <= SMALL_BYTES ? ROW : 1;
        time_one(data, sizes[s].bytes / sizeof *data, in_a_row); /* warms up */
        for (int i = 0; i < sizes[s].repeat; i++)
            us[i] = time_one(data, sizes[s].bytes / sizeof *data, in_a_row);
        qsort(us, (size_t)sizes[s].repeat, sizeof *us, compare);
        if (rank == 0)
            printf("{\"bytes\":%zu,\"median_us\":%.4f}\n", sizes[s].bytes, us[sizes[s].repeat / 2]);
        fflush(stdout);
    }
    free(data);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc > 1 && strcmp(argv[1], "noop") == 0) {
        double sum = rank + 1;
        MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        if (sum != 0.5 * ranks * (ranks + 1)) MPI_Abort(MPI_COMM_WORLD, 1);
    } else {
        measure();
    }
    MPI_Finalize();
    return 0;
}
