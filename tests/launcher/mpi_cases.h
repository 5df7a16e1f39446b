/* What holds for the ranks of any MPI under `tandem run`; each MPI has a test program of its own. */
#ifndef TANDEM_TESTS_LAUNCHER_MPI_CASES_H
#define TANDEM_TESTS_LAUNCHER_MPI_CASES_H

#include "launch.h"

/* Given by the test program. */
extern const char *const mpi_program;       /* mpi_program.c, built for this MPI */
extern const char *const mpi_launcher;      /* its own mpirun */
extern const char *const mpi_environment[]; /* as launch_setup's */

/* What Open MPI's own mpirun wants: it refuses root, which tests may be, and more ranks than cores. */
#define MPIRUN_ENVIRONMENT                                                                                   \
    "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", "OMPI_MCA_rmaps_base_oversubscribe=1"

/* The cases that hold for each. */
TCase *mpi_cases(void);

/* NULL, or why this MPI cannot be tested. */
const char *mpi_skip_reason(void);

#define RUN_MPI(l, ...) RUN_WITH(l, (launch_setup){.environment = mpi_environment}, __VA_ARGS__)

/* How often `part` stands in the text. */
int count_of(const char *text, const char *part);

#endif
