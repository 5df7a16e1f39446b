/* What is one per process: MPI itself, its two communicators, and the numbers given out. */
#ifndef TANDEM_DIST_MPI_PROCESS_H
#define TANDEM_DIST_MPI_PROCESS_H

#include "dist/mpi/mpi.h"

/* Test hooks: what is asked of MPI ("single", "funneled", "serialized"; otherwise "multiple"), and how many bytes
 * go in one message at most (at least 512). */
#define TD_ENV_MPI_THREADS "TANDEM_MPI_THREADS"
#define TD_ENV_MPI_PIECE   "TANDEM_MPI_PIECE"

/* Begin MPI, unless the program has, and make the communicators; waits for all ranks of the job, up to the group's
 * stall timeout, the first time. */
td_status td_mpi_begin(td_group *group);
void td_mpi_communicators(MPI_Comm *calls, MPI_Comm *data);

/* A context that no group of the job has yet. */
int64_t td_mpi_new_context(const td_job *job);
/* Has MPI tags for it? */
td_status td_mpi_check_context(int64_t context);

/* A group was broken, so ranks may be lost. */
void td_mpi_note_broken(void);
/* States of closed groups that MPI still has a hand on; under td_mpi_lock. */
td_mpi **td_mpi_kept(void);

#endif
