/* What an environment says about this process's place in a job; the pure part of td_job_open. */
#ifndef TANDEM_DIST_JOB_FACTS_H
#define TANDEM_DIST_JOB_FACTS_H

#include "dist/job.h"

typedef struct td_job_facts {
    td_launcher launcher;
    int rank, world_size;
    int local_rank, local_world_size;
    int node, node_count;
    char id[256];         /* "" in a world of one */
    int arena_fd;         /* inherited, or -1 */
    int control_fd;       /* inherited, or -1 */
    int progress_fd;      /* inherited, or -1 */
    double stall_timeout; /* seconds */
    char trace_dir[1024]; /* where flight recorders are written by themselves; "": nowhere */
} td_job_facts;

#define TD_STALL_TIMEOUT_DEFAULT 600.0

/* For tests: how many ranks each node has, "2,2,1" or "2(x2),1" in the order of ranks, whatever the launcher says. */
#define TD_ENV_NODES "TANDEM_NODES"

/* TD_ERR_ARG when the variables contradict each other, with both values. */
td_status td_job_facts_read(td_env_lookup *lookup, void *cookie, td_job_facts *facts);

#endif
