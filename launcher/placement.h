/*
 * Which cores each rank gets. Pure: a machine, the GPUs' places and what the user wishes go in, a plan comes
 * out. The plan is made before ranks are started; binding itself is one system call in each child.
 */
#ifndef TANDEM_LAUNCHER_PLACEMENT_H
#define TANDEM_LAUNCHER_PLACEMENT_H

#include "launcher/machine.h"

#include <sched.h>

typedef enum launcher_bind {
    LAUNCHER_BIND_AUTO, /* to cores where the job has them for itself, else not at all */
    LAUNCHER_BIND_NONE,
    LAUNCHER_BIND_CORE, /* each rank to its own share of the cores */
    LAUNCHER_BIND_NUMA, /* to the whole NUMA nodes that its share lies on */
    LAUNCHER_BIND_PACKAGE,
} launcher_bind;

typedef enum launcher_map {
    LAUNCHER_MAP_SLOT, /* ranks in the order of the cores, near neighbours near */
    LAUNCHER_MAP_NUMA, /* in turn over the NUMA nodes */
    LAUNCHER_MAP_PACKAGE,
} launcher_map;

/* torchrun's --numa-binding (torch/numa/binding.py), by the GPU whose number is the local rank. Without GPUs,
 * where torchrun refuses, the ranks are spread over the NUMA nodes as LAUNCHER_MAP_SLOT does. */
typedef enum launcher_numa_binding {
    LAUNCHER_NUMA_NONE,
    LAUNCHER_NUMA_NODE,
    LAUNCHER_NUMA_SOCKET,
    LAUNCHER_NUMA_EXCLUSIVE,    /* the node's cores divided among its GPUs */
    LAUNCHER_NUMA_CORE_COMPLEX, /* one of the node's groups of cores with a cache of their own */
} launcher_numa_binding;

typedef struct launcher_placing {
    int ranks;
    launcher_bind bind;
    launcher_map map;
    launcher_numa_binding numa_binding;
    const int *gpu_numa; /* the NUMA node of GPU i, which is local rank i's; -1: unknown */
    int gpus;            /* 0: ranks have none */
    bool alone;          /* the job has its CPUs for itself, which is what AUTO asks */
    double cpu_limit;    /* of the control groups, in CPUs; 0: none */
} launcher_placing;

typedef struct launcher_seat {
    cpu_set_t *mask; /* NULL: not bound */
    int cores;       /* in the mask, or in all */
    int threads;     /* its share of them: what OMP_NUM_THREADS should be */
} launcher_seat;

typedef struct launcher_plan {
    launcher_bind bound; /* NONE, or what was done; CORE for a numa_binding */
    size_t mask_bytes;   /* of each seat's mask */
    int ranks;
    launcher_seat *seats;
} launcher_plan;

/* The plan, *yours*, one block for td_free. TD_ERR_ARG when what is wished cannot be: more ranks than cores
 * to bind them to, a rank without a GPU. */
td_status launcher_plan_make(const launcher_machine *machine, const launcher_placing *placing,
                             launcher_plan **plan);

/* How many threads each of `ranks` gets that share `cores` under a limit of `cpu_limit` CPUs (0: none). */
int launcher_threads_share(double cores, double cpu_limit, int ranks);

/* "0-3,8" for the CPUs of a mask; cut to `size`. */
void launcher_cpu_list(const cpu_set_t *mask, size_t bytes, char *text, size_t size);

#endif
