/*
 * What follows backward with MPI: an all-reduce of 100 MiB of gradients, then a fused step of SGD with momentum on
 * every rank's own weights. Gradients are written anew before each timing, the slowest rank counts. Prints
 * {"bytes":N,"median_us":X}.
 *
 *     mpicc -O3 -march=native scripts/bench/mpi_update.c -o build/mpi_update
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { REPEAT = 15 };
static const size_t count = ((size_t)100 << 20) / sizeof(float);

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    int rank, ranks;
    double us[REPEAT];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    float *restrict gradient = malloc(count * sizeof(float));
    float *restrict weights = calloc(count, sizeof(float)), *restrict momentum = calloc(count, sizeof(float));
    float share = 1 / (float)ranks;
    for (int i = -1; i < REPEAT; i++) {
        for (size_t j = 0; j < count; j++) gradient[j] = (float)(rank + 1);
        MPI_Barrier(MPI_COMM_WORLD);
        double start = MPI_Wtime();
        MPI_Allreduce(MPI_IN_PLACE, gradient, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        for (size_t j = 0; j < count; j++) {
            momentum[j] = .9f * momentum[j] + share * gradient[j];
            weights[j] -= .01f * momentum[j];
        }
        us[i < 0 ? 0 : i] = (MPI_Wtime() - start) * 1e6;
    }
    MPI_Allreduce(MPI_IN_PLACE, us, REPEAT, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    qsort(us, REPEAT, sizeof *us, compare);
    if (rank == 0) printf("{\"bytes\":%zu,\"median_us\":%.3f}\n", count * sizeof(float), us[REPEAT / 2]);
    MPI_Finalize();
    return 0;
}
