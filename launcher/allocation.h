/* The share of a cluster that this process runs in, if a batch system gave one: how many ranks it is meant for. */
#ifndef TANDEM_LAUNCHER_ALLOCATION_H
#define TANDEM_LAUNCHER_ALLOCATION_H

#include "dist/job.h"

typedef struct launcher_allocation {
    const char
        *system; /* "Slurm"; NULL: there is no allocation, or a nearer launcher has already dealt it out */
    int slots;   /* ranks that it is meant for; 0: it does not say */
    int nodes;
    int cpus; /* that it gives on this node; 0: it does not say */
} launcher_allocation;

/* Pure. TD_ERR_ARG when a variable of the batch system is not what it should be. */
td_status launcher_allocation_read(td_env_lookup *lookup, void *cookie, launcher_allocation *allocation);

#endif
