/* This run's command line, in words that can be pasted into the shell that started it. */
#ifndef TANDEM_WORKER_COMMAND_H
#define TANDEM_WORKER_COMMAND_H

#include "worker/run.h"

/* A line that is built up word by word; what does not fit is cut. */
typedef struct worker_command {
    char text[4096];
    size_t used;
} worker_command;

void worker_command_add(worker_command *line, const char *format, ...) TD_PRINTF(2, 3);
/* " WORD", in quotes where a shell would not leave it alone. */
void worker_command_add_word(worker_command *line, const char *word);
/* Our own arguments, without those that tell a number of ranks. */
void worker_command_add_arguments(worker_command *line, const worker_run *run);
/* "mpirun -np 2 PROGRAM train". */
void worker_command_add_mpirun(worker_command *line, const char *program, int ranks);

/* The command by which this run, stopped, goes on. */
void worker_command_resume(worker_command *line, const worker_run *run);

#endif
