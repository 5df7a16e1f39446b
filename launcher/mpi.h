/*
 * MPI programs as ranks: the sockets over which they speak PMI-1 with pmi.c, what their MPI leaves on disk, and
 * ends that only MPI makes a failure. A rank that leaves with 0 while it is inside MPI, or while another waits
 * for it in MPI_Init or MPI_Finalize, leaves the others waiting for ever, and MPI_Abort in a shell script's
 * program ends the job whatever the script does. Where an MPI speaks PMIx only, a server is started for it when it
 * asks (pmix.h). A program that uses no MPI costs a socket pair and some variables. One object per attempt, *yours* from open to close; the loop's thread only.
 */
#ifndef TANDEM_LAUNCHER_MPI_H
#define TANDEM_LAUNCHER_MPI_H

#include "launcher/job.h"

#include <uv.h>

typedef struct launcher_mpi launcher_mpi;

typedef struct launcher_mpi_facts {
    int attempt;
    bool crowded; /* more ranks than cores */
    const char
        *folder; /* where Open MPI's files of this attempt shall be; it does not exist. *Lent* until close */
} launcher_mpi_facts;

/* The folder to give: in tmpfs, named by user, run and attempt. */
typedef struct launcher_mpi_folder {
    char path[128];
} launcher_mpi_folder;
launcher_mpi_folder launcher_mpi_name_folder(const char *run_id, int attempt);

/* Remove it with all that is in it. Nothing happens when it is not there. */
void launcher_mpi_remove_folder(const char *path);

/* The value of OMPI_MCA_mca_base_component_path that makes Open MPI find us; `outer` is the one that the user has set,
 * or NULL. *Yours*. TD_ERR_SYSTEM when our library is not installed. */
td_status launcher_mpi_component_path(const char *outer, char **path);

/* Make a socket per rank. `ranks` is *lent* until close. */
td_status launcher_mpi_open(launcher_rank *ranks, int n, launcher_mpi_facts facts, launcher_mpi **mpi);
/* The rank's end, to be inherited; close-on-exec, *lent*. */
int launcher_mpi_end(const launcher_mpi *mpi, int rank);

typedef struct launcher_mpi_events {
    void (*failed)(void *cookie);                   /* a rank's mpi_fault has been set */
    void (*refused)(const char *why, void *cookie); /* a rank cannot be made part of an MPI job */
    void *cookie;
} launcher_mpi_events;

/* Start the PMIx server before the ranks, for an MPI that does not come to us by itself; blocks until it is there.
 * `mpi` is not started yet. */
td_status launcher_mpi_start_pmix(launcher_mpi *mpi);
/* What it needs in the rank's environment; NULL unless it was started so. *Lent* until close. */
const char *launcher_mpi_environment(const launcher_mpi *mpi, int rank);

/* The ranks have been started: close their ends here and listen. */
td_status launcher_mpi_start(launcher_mpi *mpi, uv_loop_t *loop, launcher_mpi_events events);

/* The rank has ended: read its last words, and judge whether it left the others waiting. */
void launcher_mpi_take_exit(launcher_mpi *mpi, int rank);

/* Stop all handles; run the loop once more, then close. NULL inside is fine. */
void launcher_mpi_stop(launcher_mpi *mpi);
void launcher_mpi_close(launcher_mpi **mpi);

#endif
