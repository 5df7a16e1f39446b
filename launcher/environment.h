/* The environment of each rank: the launcher's own, without what outer launchers set, plus torchrun's
 * contract and our mark. */
#ifndef TANDEM_LAUNCHER_ENVIRONMENT_H
#define TANDEM_LAUNCHER_ENVIRONMENT_H

#include "base/status.h"

typedef struct launcher_facts {
    int world_size;
    int port;             /* MASTER_PORT */
    int threads;          /* a rank's share of the cores: OMP_NUM_THREADS, where the user gave none */
    double stall_timeout; /* seconds; may be infinite */
    int arena_fd, progress_fd;
    int restart_count, max_restarts;
    char run_id[33];
} launcher_facts;

/* The environment of `rank`, whose end of the control channel is control_fd: ends with NULL, *yours*, one
 * block for td_free; its strings point into `outer`, which stays, or into the block. */
td_status launcher_environment_make(const launcher_facts *facts, int rank, int control_fd, char *const *outer,
                                    char ***environment);

#endif
