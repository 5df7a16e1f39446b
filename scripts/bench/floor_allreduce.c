/*
 * The floor for an all-reduce of two ranks on this machine: both buffers lie in memory that both processes
 * see, each sums its half of them, one flag barrier before and one after, nothing else. Same protocol as
 * `tandem bench allreduce`: buffers are written anew before each timing, small sizes are timed 16 in a row,
 * every element is checked. Prints {"bytes":N,"median_us":X} a line, for sizes up to the one that is given, and for 0 bytes
 * the hand-over of one line, the floor of a barrier.
 *
 *     cc -O3 -march=native scripts/bench/floor_allreduce.c -o build/floor_allreduce
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SMALL_BYTES = 64 << 10, ROW = 16, MOST_REPEAT = 300 };
static const struct {
    size_t bytes;
    int repeat;
} sizes[] = {
    {8, 300},         {64, 300},      {1 << 10, 300}, {8 << 10, 300}, {64 << 10, 300},
    {256 << 10, 200}, {1 << 20, 200}, {4 << 20, 60},  {25 << 20, 15}, {100 << 20, 7},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

struct flag {
    _Alignas(128) _Atomic unsigned count;
};

static struct flag *flags;
static float *buffers[2];
static int rank;

static void *share(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) exit(1);
    return memory;
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void barrier(void) {
    static unsigned passed;
    atomic_store_explicit(&flags[rank].count, ++passed, memory_order_release);
    while ((int)(atomic_load_explicit(&flags[!rank].count, memory_order_acquire) - passed) < 0)
        __builtin_ia32_pause();
}

static void all_reduce(size_t count) {
    size_t begin = rank ? count / 2 : 0, end = rank ? count : count / 2;
    float *restrict a = buffers[0], *restrict b = buffers[1];
    barrier();
    for (size_t i = begin; i < end; i++) a[i] = b[i] = a[i] + b[i];
    barrier();
}

static float value_at(size_t i, int r) { return (float)(i % 13 + 1 + (size_t)r % 5); }

static double time_one(size_t count, int in_a_row) {
    for (size_t i = 0; i < count; i++) buffers[rank][i] = value_at(i, rank);
    barrier();
    double start = now_us();
    for (int k = 0; k < in_a_row; k++) all_reduce(count);
    double us = (now_us() - start) / in_a_row;
    for (size_t i = 0; i < count; i++)
        if (buffers[rank][i] != (value_at(i, 0) + value_at(i, 1)) * (float)(1 << (in_a_row - 1))) exit(1);
    return us;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double time_hand_over(void) {
    enum { TURNS = 1000 };
    barrier();
    double start = now_us();
    for (int i = 0; i < TURNS; i++) barrier();
    return (now_us() - start) / TURNS;
}

static void print_median(size_t bytes, double *us, int count) {
    qsort(us, (size_t)count, sizeof *us, compare);
    if (rank == 0) printf("{\"bytes\":%zu,\"median_us\":%.4f}\n", bytes, us[count / 2]);
    fflush(stdout);
}

int main(int argc, char **argv) {
    size_t most = argc > 1 ? strtoull(argv[1], NULL, 10) : SIZE_MAX;
    flags = share(2 * sizeof *flags);
    for (int r = 0; r < 2; r++) buffers[r] = share(sizes[SIZES - 1].bytes);
    pid_t child = fork();
    rank = child == 0;
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(rank, &cores);
    sched_setaffinity(0, sizeof cores, &cores);
    double us[MOST_REPEAT];
    for (int i = 0; i < 20; i++) us[i] = time_hand_over();
    print_median(0, us, 20);
    for (int s = 0; s < SIZES && sizes[s].bytes <= most; s++) {
        int in_a_row = sizes[s].bytes <= SMALL_BYTES ? ROW : 1;
        time_one(sizes[s].bytes / sizeof(float), in_a_row); /* warms up */
        for (int i = 0; i < sizes[s].repeat; i++) us[i] = time_one(sizes[s].bytes / sizeof(float), in_a_row);
        print_median(sizes[s].bytes, us, sizes[s].repeat);
    }
    if (child == 0) return 0;
    int how = 0;
    return waitpid(child, &how, 0) == child && how == 0 ? 0 : 1;
}
