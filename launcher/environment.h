/* The environment of each rank: the launcher's own, without what outer launchers set, plus torchrun's
 * contract and our mark. */
#ifndef TANDEM_LAUNCHER_ENVIRONMENT_H
#define TANDEM_LAUNCHER_ENVIRONMENT_H

#include "base/status.h"

/* What is the same for all ranks. */
typedef struct launcher_facts {
    int world_size;
    int port;             /* MASTER_PORT */
    double stall_timeout; /* seconds; may be infinite */
    int arena_fd, progress_fd;
    int restart_count, max_restarts;
    const char *run_id, *role, *master_addr, *signals; /* names, as SIGTERM,SIGINT */
    const char *folder;                                /* PWD, where it is not ours; NULL */
    const char *mpi_components; /* where Open MPI looks for components; NULL: as ever */
    bool virtual_local_rank;    /* each rank is local rank 0 and sees one GPU, its own */
} launcher_facts;

/* What is one rank's own. */
typedef struct launcher_rank_facts {
    int rank;
    int threads;            /* its share of the cores: OMP_NUM_THREADS, where the user gave none */
    int control_fd;         /* its end of the control channel */
    int pmi_fd;             /* its end of the PMI socket; 0: none */
    const char *error_file; /* NULL: none could be made */
    const char *gpu;  /* for virtual_local_rank where no list is set: its UUID; NULL: the rank's number */
    const char *pmix; /* NAME=VALUE entries for a PMIx client, '\x1f' between them; NULL: none */
} launcher_rank_facts;

/* The environment of a rank: ends with NULL, *yours*, one block for td_free; its strings point into `outer`,
 * which stays, or into the block. */
td_status launcher_environment_make(const launcher_facts *facts, const launcher_rank_facts *rank,
                                    char *const *outer, char ***environment);

#endif
