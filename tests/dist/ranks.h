/* Ranks for the tests of dist: as threads of the test, or as processes that it forks. */
#ifndef TANDEM_TESTS_DIST_RANKS_H
#define TANDEM_TESTS_DIST_RANKS_H

#include "dist/arena.h"
#include "dist/group.h"
#include "dist/job.h"

#include <sys/types.h>

enum { RANKS_MAX = 64 };

/* What one rank does; a failed assertion there fails the test. */
typedef void rank_body(td_job *job, void *cookie);

/* Run `body` on `count` ranks that are threads of this process, each with a job of its own. */
void run_threads(int count, rank_body *body, void *cookie);

/* The same as processes. The job's environment is that of `tandem run` with a fresh arena, and with a control
 * channel if `control` is not NULL: control[r] is then the launcher's end. Every rank must exit with 0,
 * except those named in `lost` (a bit for each of the first 32), which must not. */
void run_processes(int count, rank_body *body, void *cookie);
void run_processes_but(int count, rank_body *body, void *cookie, unsigned lost, int *control);

/* For one rank at a time: start and reap by hand. The arena is made with td_job_make_arena. */
pid_t start_rank(int rank, int count, int arena, int control, rank_body *body, void *cookie);
int reap(pid_t pid); /* exit code, or 128 + signal */

/* Have this process stopped and go on at times that `seed` chooses, some milliseconds each, until it is relieved. */
typedef struct tormentor tormentor;
tormentor *torment(unsigned seed);
void relieve(tormentor *t);

/* An environment as a list of "NAME=value" that ends with NULL. */
td_status open_job(const char *const *environment, td_job **job);

#define CPU ((td_device){TD_DEVICE_CPU, 0})

/* Wait until a condition holds, 5 s at most. */
#define eventually(condition)                                                                                \
    do {                                                                                                     \
        int patience = 5000;                                                                                 \
        while (!(condition) && patience-- > 0) usleep(1000);                                                 \
        ck_assert_msg(patience > 0, "%s did not come true", #condition);                                     \
    } while (0)

#endif
