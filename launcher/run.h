/* `tandem run`: start ranks of a program and look after them. */
#ifndef TANDEM_LAUNCHER_RUN_H
#define TANDEM_LAUNCHER_RUN_H

#include "launcher/job.h"

/* The sub-command; gives the process's exit status. Call while the process has one thread. */
int launcher_run_main(int argc, char **argv);

/* The job itself. Prints what goes wrong; may die of the signal that stopped the job instead of returning. */
int launcher_run_job(const launcher_options *options);

#endif
