/*
 * Where ranks are stuck: their stacks, from gdb where there is one that may look, else from the ranks themselves
 * if they offer it. Takes a bounded time. Central object: launcher_stacks, *yours* from take to close; the loop's
 * thread only.
 */
#ifndef TANDEM_LAUNCHER_STACKS_H
#define TANDEM_LAUNCHER_STACKS_H

#include "launcher/attempt.h"

#include <jansson.h>

typedef struct launcher_stacks launcher_stacks;

enum { LAUNCHER_STACKS_MOST = 4 }; /* ranks that are looked at */

/* Begin with these `count` ranks, LAUNCHER_STACKS_MOST at most. `done` is called once, from the loop; what gdb
 * said is in stderr's format then, and what ranks wrote themselves is their standard error. */
td_status launcher_stacks_take(launcher_attempt *attempt, uv_loop_t *loop, const int *ranks, int count,
                               void (*done)(void *cookie), void *cookie, launcher_stacks **stacks);

/* Print what gdb said. */
void launcher_stacks_print(const launcher_stacks *stacks, FILE *out);

/* The same as JSON; *yours*. NULL is an empty array. */
json_t *launcher_stacks_describe(const launcher_stacks *stacks);

/* Stop all handles and whoever still looks; run the loop once more, then close. NULL inside is fine. */
void launcher_stacks_stop(launcher_stacks *stacks);
void launcher_stacks_close(launcher_stacks **stacks);

#endif
