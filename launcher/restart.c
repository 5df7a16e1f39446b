/* torchrun restarts all ranks after any failure, as often as --max-restarts says. Two kinds of failure are not
 * worth it: a program that cannot even be started, and one of ours that fails twice at the same step. */
#include "launcher/restart.h"

#include "base/number.h"

#include <stdio.h>

static const double PAUSE_MOST = 30; /* seconds; it doubles with each restart up to this */

/* Seconds from the first rank's start to the culprit's end. */
static double uptime_of(const launcher_rank *ranks, int n, int culprit) {
    int64_t began = 0;
    for (int i = 0; i < n; i++)
        if (ranks[i].started_ns && (!began || ranks[i].started_ns < began)) began = ranks[i].started_ns;
    int64_t up = ranks[culprit].ended_ns - began;
    return began && up > 0 ? (double)up * 1e-9 : 0;
}

static double pause_before(int64_t restart, double first) {
    double pause = first;
    for (int64_t i = 1; i < restart && pause < PAUSE_MOST; i++) pause *= 2;
    return pause < PAUSE_MOST || first > PAUSE_MOST ? pause : PAUSE_MOST;
}

/* Is this a failure of the kind that restarts are for at all? */
static bool can_be_tried_again(const launcher_verdict *verdict, const launcher_rank *ranks,
                               const launcher_ending *ending) {
    if (verdict->exit_code == 0 || verdict->culprit < 0 || ending->preempted) return false;
    if (ending->stop > LAUNCHER_STOP_STALL) return false;
    return ranks[verdict->culprit].life != LAUNCHER_UNSTARTED;
}

launcher_next launcher_decide_next(launcher_history *history, const launcher_options *options,
                                   const launcher_verdict *verdict, const launcher_rank *ranks, int n,
                                   const launcher_ending *ending) {
    launcher_next next = {0};
    if (options->max_restarts == 0 || !can_be_tried_again(verdict, ranks, ending)) return next;
    const launcher_rank *culprit = &ranks[verdict->culprit];
    double up = uptime_of(ranks, n, verdict->culprit);
    bool knows_step = culprit->step >= 0;
    if (history->restarts >= options->max_restarts) {
        snprintf(next.why_not, sizeof next.why_not, "not restarted again: --max-restarts is %lld",
                 (long long)options->max_restarts);
    } else if (up < options->restart_min_uptime) {
        snprintf(next.why_not, sizeof next.why_not,
                 "not restarted: it was up for %s only, less than --restart-min-uptime",
                 td_format_seconds(up).text);
    } else if (knows_step && history->knows_last_step && culprit->step == history->last_step) {
        snprintf(next.why_not, sizeof next.why_not, "not restarted: it failed at step %lld as it did before",
                 (long long)culprit->step);
    } else {
        next.again = true;
        next.pause = pause_before(++history->restarts, options->restart_backoff);
    }
    history->knows_last_step = knows_step;
    history->last_step = culprit->step;
    return next;
}
