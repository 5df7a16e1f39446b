/* Whether an attempt that failed is followed by another, and after what pause: a pure function of what is
 * known at its end and of the attempts before it. */
#ifndef TANDEM_LAUNCHER_RESTART_H
#define TANDEM_LAUNCHER_RESTART_H

#include "launcher/verdict.h"

/* What the attempts so far leave to the next decision; zero at first. */
typedef struct launcher_history {
    int64_t restarts; /* used up */
    int64_t last_step;
    bool knows_last_step; /* the last culprit was ours and told its step */
} launcher_history;

typedef struct launcher_next {
    bool again;
    double pause;      /* seconds before it */
    char why_not[160]; /* worth telling; "" when it goes without saying */
} launcher_next;

/* Enters the decision into *history. */
launcher_next launcher_decide_next(launcher_history *history, const launcher_options *options,
                                   const launcher_verdict *verdict, const launcher_rank *ranks, int n,
                                   const launcher_ending *ending);

#endif
