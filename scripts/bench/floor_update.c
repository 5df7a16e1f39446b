/*
 * The floor for what follows backward on two ranks of one machine: both ranks' gradients, one copy of the weights
 * and one of the momentum lie in memory that both processes see; each averages its half of the gradients and
 * makes SGD's step on that half, one flag barrier before and one after, nothing else. Prints
 * {"bytes":N,"median_us":X}; gradients are written anew before each timing, the slower rank counts.
 *
 *     cc -O3 -march=native scripts/bench/floor_update.c -o build/floor_update
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REPEAT = 31 };
static const size_t count = ((size_t)100 << 20) / sizeof(float);

struct flag {
    _Alignas(128) _Atomic unsigned turn;
    double us[REPEAT];
};
static struct flag *flags;
static int rank;
static unsigned turn;

static void barrier(void) {
    turn++;
    atomic_store_explicit(&flags[rank].turn, turn, memory_order_release);
    while ((int)(atomic_load_explicit(&flags[!rank].turn, memory_order_acquire) - turn) < 0)
        __builtin_ia32_pause();
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void *share(size_t bytes) {
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void) {
    flags = share(2 * sizeof *flags);
    float *gradients[2] = {share(count * sizeof(float)), share(count * sizeof(float))};
    float *restrict weights = share(count * sizeof(float)), *restrict momentum = share(count * sizeof(float));
    rank = fork() == 0;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(rank, &cpus);
    sched_setaffinity(0, sizeof cpus, &cpus);
    size_t begin = rank ? count / 2 : 0, end = rank ? count : count / 2;
    for (int i = 0; i < REPEAT; i++) {
        for (size_t j = 0; j < count; j++) gradients[rank][j] = (float)(rank + 1);
        barrier();
        double start = now_us();
        barrier();
        const float *restrict x = gradients[0], *restrict y = gradients[1];
        for (size_t j = begin; j < end; j++) {
            float g = .5f * (x[j] + y[j]);
            momentum[j] = .9f * momentum[j] + g;
            weights[j] -= .01f * momentum[j];
        }
        barrier();
        flags[rank].us[i] = now_us() - start;
    }
    barrier();
    if (rank) return 0;
    for (int i = 0; i < REPEAT; i++)
        if (flags[1].us[i] > flags[0].us[i]) flags[0].us[i] = flags[1].us[i];
    qsort(flags[0].us, REPEAT, sizeof(double), compare);
    printf("{\"bytes\":%zu,\"median_us\":%.3f}\n", count * sizeof(float), flags[0].us[REPEAT / 2]);
    wait(NULL);
    return 0;
}
