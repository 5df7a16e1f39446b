/* A rank's beginning and end: its place in the job, its group, its threads, its voice. */
#ifndef TANDEM_WORKER_JOIN_H
#define TANDEM_WORKER_JOIN_H

#include "worker/run.h"

/* Find out which rank of which job this is, join the others, open the display on rank 0, and settle how many
 * threads compute. */
td_status worker_join(worker_run *run);

/* The last thing a rank says of a failure (the calling thread's record), to standard error, with its rank. */
void worker_complain(worker_run *run);

/* Leave: closes what worker_join opened, however far it came. */
void worker_leave(worker_run *run);

#endif
