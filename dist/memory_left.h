/* How much memory may still be used before the machine or the container runs out. */
#ifndef TANDEM_DIST_MEMORY_LEFT_H
#define TANDEM_DIST_MEMORY_LEFT_H

#include "base/status.h"

typedef struct td_memory_left {
    uint64_t bytes;       /* UINT64_MAX when nothing can be found out */
    bool by_cgroup;       /* a container's limit is the narrowest; then what follows is valid */
    uint64_t limit, used; /* in bytes; files that the kernel would drop are not counted as used */
    char file[1100];      /* that holds the limit */
} td_memory_left;

/* Reads /proc and /sys below `root`, "" outside tests. */
td_memory_left td_memory_left_read(const char *root);

/* TD_ERR_MEMORY when so many bytes are not left: it tells which limit is in the way, and what it should be. */
td_status td_memory_check(const char *root, uint64_t bytes);

#endif
