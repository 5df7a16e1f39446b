/* A tick comes twenty times within the shorter of the two limits, so that is how exact they are. */
#include "launcher/clocks.h"

#include "base/clock.h"
#include "launcher/proc.h"

#include <math.h>

enum { TICK_LEAST_MS = 20, TICK_MOST_MS = 5000, TICKS_WITHIN = 20, GAP_MS = 1000 };

static int64_t ns_of(double seconds) { return seconds < 1e9 ? (int64_t)(seconds * 1e9) : INT64_MAX; }

void launcher_clocks_start(launcher_clocks *c, const launcher_options *options, int64_t now) {
    bool asked = options->stall_timeout >= 0;
    *c = (launcher_clocks){.timeout = options->timeout > 0 ? options->timeout : INFINITY,
                           .stall = !asked                       ? LAUNCHER_STALL_TIMEOUT_DEFAULT
                                    : options->stall_timeout > 0 ? options->stall_timeout
                                                                 : INFINITY,
                           .stall_is_asked = asked,
                           .last_tick = now};
    double ms = fmin(c->timeout, c->stall) * 1e3 / TICKS_WITHIN;
    if (isinf(ms)) return;
    c->tick_ns = (int64_t)(fmin(fmax(ms, TICK_LEAST_MS), TICK_MOST_MS) * 1e6);
}

uint64_t launcher_clocks_next(const launcher_clocks *c) {
    int64_t next = c->tick_ns, left = ns_of(c->timeout) - c->job_ns;
    if (left < next) next = left > 0 ? left : 0;
    return c->tick_ns ? (uint64_t)next / 1000000 + 1 : 0;
}

void launcher_clocks_resume(launcher_clocks *c, int64_t now) {
    c->last_tick = now;
    c->moved_ns = c->job_ns;
    c->noticed = false;
}

/* Progress of all kinds as one number that differs when there was some. */
static uint64_t sum_of_progress(const launcher_attempt *a, int rank) {
    return td_progress_see(a->progress, rank).beats + launcher_output_received(a->output, rank);
}

/* Note which ranks have moved since the last look; is there any that has? */
static bool note_moves(const launcher_attempt *a, int64_t now) {
    bool any = false;
    for (int i = 0; i < a->n; i++) {
        launcher_rank *rank = &a->ranks[i];
        uint64_t sum = sum_of_progress(a, i);
        if (rank->life != LAUNCHER_ALIVE || sum == rank->progress_sum) continue;
        rank->progress_sum = sum;
        rank->moved_ns = now;
        any = true;
    }
    return any;
}

/* Does silence of these ranks mean anything? It does for ours, which tell when they get on. */
static bool is_watched(const launcher_clocks *c, const launcher_attempt *a) {
    int alive = 0, ours = 0;
    for (int i = 0; i < a->n; i++) {
        alive += a->ranks[i].life == LAUNCHER_ALIVE;
        ours += a->ranks[i].life == LAUNCHER_ALIVE && td_progress_see(a->progress, i).phase != TD_PHASE_NONE;
    }
    return alive > 0 && (c->stall_is_asked || ours == alive);
}

/* Bytes wait for our reader, who has taken none since the last look. */
static bool is_output_blocked(launcher_clocks *c, const launcher_attempt *a) {
    uint64_t written = launcher_output_written(a->output);
    bool waiting = launcher_output_is_waiting(a->output);
    bool blocked = waiting && c->waiting && written == c->written;
    c->written = written;
    c->waiting = waiting;
    return blocked;
}

static bool is_a_rank_traced(const launcher_attempt *a) {
    for (int i = 0; i < a->n; i++)
        if (a->ranks[i].life == LAUNCHER_ALIVE && launcher_proc_tracer(a->ranks[i].pid) > 0) return true;
    return false;
}

launcher_alarm launcher_clocks_tick(launcher_clocks *c, launcher_attempt *a, bool running, int64_t now) {
    int64_t passed = now - c->last_tick;
    bool gap = passed > c->tick_ns + GAP_MS * INT64_C(1000000);
    bool held = is_output_blocked(c, a) || is_a_rank_traced(a);
    c->last_tick = now;
    td_progress_hold(a->progress, held);
    if (!held && !gap) c->job_ns += passed;
    if (note_moves(a, now) || held || gap || !running || !is_watched(c, a)) launcher_clocks_resume(c, now);
    if (c->job_ns >= ns_of(c->timeout)) return LAUNCHER_ALARM_TIMEOUT;
    int64_t idle = c->job_ns - c->moved_ns, stall = ns_of(c->stall);
    /* Ranks that wait for one another know more than we do, and are given the first word. */
    if (idle > stall && idle - stall >= 2 * c->tick_ns) return LAUNCHER_ALARM_STALL;
    if (idle < stall / 2 || c->noticed) return LAUNCHER_ALARM_NONE;
    c->noticed = true;
    return LAUNCHER_ALARM_NOTICE;
}

double launcher_clocks_idle(const launcher_clocks *c) { return (double)(c->job_ns - c->moved_ns) * 1e-9; }

int launcher_find_stuck(const launcher_attempt *a, int *awaited_by) {
    int stuck = -1;
    *awaited_by = -1;
    for (int i = 0; i < a->n; i++) {
        if (a->ranks[i].life != LAUNCHER_ALIVE) continue;
        int awaits = td_progress_see(a->progress, i).awaits;
        bool is_end = awaits >= 0 && awaits < a->n && a->ranks[awaits].life == LAUNCHER_ALIVE &&
                      td_progress_see(a->progress, awaits).awaits < 0;
        if (is_end) {
            *awaited_by = i;
            return awaits;
        }
        if (stuck < 0 || a->ranks[i].moved_ns < a->ranks[stuck].moved_ns) stuck = i;
    }
    return stuck;
}
