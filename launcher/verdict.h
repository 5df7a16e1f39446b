/* Who is to blame, and what the launcher's exit status is: a pure function of what is known at the end. */
#ifndef TANDEM_LAUNCHER_VERDICT_H
#define TANDEM_LAUNCHER_VERDICT_H

#include "launcher/job.h"

typedef struct launcher_verdict {
    const char *status; /* "ok", "failed", "interrupted" (by a signal), "closed" (our reader), "timeout",
                   "error" (ours) */
    int exit_code;
    int culprit; /* a rank; -1: none */
} launcher_verdict;

launcher_verdict launcher_judge(const launcher_rank *ranks, int n, const launcher_ending *ending);

/* Has this rank failed by itself: unstarted, killed by a signal, or a status other than 0? */
bool launcher_has_failed(const launcher_rank *rank);

/* The status that a shell would show: 0 to 255. Of an unstarted rank 126, 127 or, when it could not even be
 * forked, 125. */
int launcher_exit_code(const launcher_rank *rank);

#endif
