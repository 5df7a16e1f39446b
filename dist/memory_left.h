/* How much memory may still be used before the machine or the container runs out. */
#ifndef TANDEM_DIST_MEMORY_LEFT_H
#define TANDEM_DIST_MEMORY_LEFT_H

#include "base/status.h"

typedef struct td_memory_left {
    uint64_t bytes; /* UINT64_MAX when nothing can be found out */
    bool by_cgroup; /* the container's limit is the narrower one */
} td_memory_left;

/* Reads /proc and /sys below `root`, "" outside tests. */
td_memory_left td_memory_left_read(const char *root);

#endif
