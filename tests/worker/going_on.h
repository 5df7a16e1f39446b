/* Runs that are killed again and again, and go on; for the quick suite and the slow one. */
#ifndef TANDEM_TESTS_WORKER_GOING_ON_H
#define TANDEM_TESTS_WORKER_GOING_ON_H

#include "worker/runs.h"

typedef struct going_on_case {
    const char *name;
    const char *arguments[20]; /* of `tandem train`, beyond data, files and --json */
} going_on_case;

/* Run to the end in one go and save the weights at `path`. */
void going_on_whole(const going_on_case *c, const char *path);

/* The same with kill -9 of a rank or of the launcher, `kills` times, at moments that `seed` decides; weights at
 * `path`. Every time it goes on from what it saved, and nothing was damaged. */
void going_on_killed(const going_on_case *c, int kills, unsigned seed, const char *path);

#endif
