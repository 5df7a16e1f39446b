/*
 * Where the ranks of a job go: how many there are, which GPUs and cores each gets, how many threads. Found once,
 * after the options are read and before anything is started; the same for every attempt. What is not asked for
 * is not looked at: an ordinary start reads neither topology nor driver.
 */
#ifndef TANDEM_LAUNCHER_PLACES_H
#define TANDEM_LAUNCHER_PLACES_H

#include "launcher/allocation.h"
#include "launcher/gpus.h"
#include "launcher/options.h"
#include "launcher/placement.h"

typedef struct launcher_places {
    int ranks;
    int cores;                       /* that this job may use */
    int threads;                     /* each rank's, where there is no plan */
    const launcher_plan *plan;       /* NULL: nobody is bound, and the topology was not read */
    const launcher_gpus *gpus;       /* GPU i is local rank i's; NULL: the ranks were given none */
    const launcher_machine *machine; /* NULL: not read */
    launcher_allocation allocation;
    const char *ranks_from; /* why so many: "-n", "GPUs", "Slurm", ...; static */
} launcher_places;

/* TD_ERR_ARG and TD_ERR_UNSUPPORTED say what cannot be had. On success close it. */
td_status launcher_places_find(const launcher_options *options, launcher_places *places);
void launcher_places_close(launcher_places *places);

/* A rank's OMP_NUM_THREADS. */
int launcher_places_threads(const launcher_places *places, int rank);

/* --nproc-per-node: a number, auto, cpu or gpu. */
td_status launcher_count_parse(const char *text, void *member);

#endif
