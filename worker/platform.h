/* What the machine says about this process: its memory, its cores. Plain functions. */
#ifndef TANDEM_WORKER_PLATFORM_H
#define TANDEM_WORKER_PLATFORM_H

#include "base/status.h"

/* The most memory this program has had resident, shared pages included, in bytes; 0 when the system does not
 * tell. (getrusage's figure would include what the process was before it became this program.) */
int64_t worker_peak_memory(void);

/* Compute threads of this rank: what --threads says, else OMP_NUM_THREADS, else `share` (its share of the
 * cores). When the user's OMP_NUM_THREADS is more than the share, *excess becomes it, else 0. */
int worker_choose_threads(int64_t wanted, const char *omp_num_threads, int share, int *excess);

/* The program as its user can call it again from this folder: "build/tandem", "tandem" when it is on the
 * PATH, else the whole path. */
void worker_program_name(char *name, size_t bytes);

/* Is a program of that name on the PATH? */
bool worker_is_on_path(const char *program);

/* Columns of the terminal behind a descriptor, 0 when it is none. */
int worker_terminal_columns(int fd);

#endif
