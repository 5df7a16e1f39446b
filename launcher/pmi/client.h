/*
 * The wire to launcher/pmi.c from inside an MPI program: lines of words over the inherited socket PMI_FD, a
 * question and its answer at a time. This folder is a library of its own that only Open MPI loads; it uses
 * nothing of Tandem's. One thread: MPI_Init and MPI_Finalize are not called from two.
 */
#ifndef TANDEM_LAUNCHER_PMI_CLIENT_H
#define TANDEM_LAUNCHER_PMI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

enum { PMI_LINE_MOST = 4352 }; /* LAUNCHER_PMI_LINE_MOST and what an answer adds to it */

/* Is this process, or the one that started it, a rank of `tandem run` and of no nearer launcher? Only ours writes
 * PMI_FD with a plus sign, which atoi and strtol read over. */
bool pmi_is_rank(void);

/* Send the question (a whole line) and give its answer without the newline: valid until the next. NULL: the
 * launcher is gone or has closed the conversation. */
const char *pmi_ask(const char *question);

/* Send without waiting for an answer. */
bool pmi_tell(const char *line);

/* The number after `name` ("rc=") in a line; `missing` when it is not there. */
int pmi_number(const char *line, const char *name, int missing);

#endif
