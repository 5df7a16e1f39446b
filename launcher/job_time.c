/* The part of the state machine that time moves: ranks that are stuck, and a job that takes too long. */
#include "base/clock.h"
#include "base/number.h"
#include "launcher/job_state.h"

static void on_examined(void *cookie) {
    launcher_job *j = cookie;
    if (j->state != JOB_EXAMINING) return;
    j->state = JOB_RUNNING;
    launcher_job_stop(j, LAUNCHER_STOP_STALL, SIGTERM);
}

/* These ranks are stuck, the first of them most likely for a reason of its own. See where they are; then stop. */
static void examine(launcher_job *j, const int *stuck, int count) {
    launcher_ending *ending = &j->attempt.ending;
    if (j->state >= JOB_EXAMINING || j->stacks) return;
    ending->stuck = stuck[0];
    ending->idle = launcher_clocks_idle(&j->clocks);
    j->state = JOB_EXAMINING;
    uv_timer_stop(&j->deadline);
    if (launcher_stacks_take(&j->attempt, &j->loop, stuck, count, on_examined, j, &j->stacks) < 0)
        on_examined(j);
}

/* A rank has waited --stall-timeout for this one. */
void launcher_job_silent(int rank, void *cookie) {
    launcher_job *j = cookie;
    if (rank >= 0 && rank < j->attempt.n && j->attempt.ranks[rank].life == LAUNCHER_ALIVE)
        examine(j, &rank, 1);
}

static void give_notice(const launcher_job *j) {
    int awaited_by, stuck = launcher_find_stuck(&j->attempt, &awaited_by);
    if (stuck < 0) return;
    td_progress_look look = td_progress_see(j->attempt.progress, stuck);
    fprintf(stderr, "tandem: no rank has got on for %s; --stall-timeout is %s\n",
            td_format_seconds(launcher_clocks_idle(&j->clocks)).text,
            td_format_seconds(j->clocks.stall).text);
    if (awaited_by >= 0)
        fprintf(stderr, "  rank %d waits for rank %d (pid %d), which is %s, at step %lld\n", awaited_by,
                stuck, (int)j->attempt.ranks[stuck].pid, td_phase_name(look.phase), (long long)look.step);
    else
        fprintf(stderr, "  silent for longest: rank %d (pid %d)\n", stuck, (int)j->attempt.ranks[stuck].pid);
}

static void end_stall(launcher_job *j) {
    int stuck[LAUNCHER_STACKS_MOST], awaited_by, count = 1;
    stuck[0] = launcher_find_stuck(&j->attempt, &awaited_by);
    if (stuck[0] < 0) return;
    for (int i = 0; i < j->attempt.n && count < LAUNCHER_STACKS_MOST; i++)
        if (i != stuck[0] && j->attempt.ranks[i].life == LAUNCHER_ALIVE) stuck[count++] = i;
    examine(j, stuck, count);
}

static void end_time(launcher_job *j) {
    if (j->state == JOB_RESTING) {
        j->attempt.ending.stop = LAUNCHER_STOP_TIMEOUT;
        launcher_job_end_rest(j);
    } else {
        launcher_job_stop(j, LAUNCHER_STOP_TIMEOUT, SIGTERM);
    }
}

static void on_tick(uv_timer_t *timer) {
    launcher_job *j = timer->data;
    bool running = j->state == JOB_SPAWNING || j->state == JOB_RUNNING;
    switch (launcher_clocks_tick(&j->clocks, &j->attempt, running, td_clock_ns())) {
    case LAUNCHER_ALARM_NONE: break;
    case LAUNCHER_ALARM_NOTICE: give_notice(j); break;
    case LAUNCHER_ALARM_STALL: end_stall(j); break;
    case LAUNCHER_ALARM_TIMEOUT: end_time(j); break;
    }
    uv_timer_start(timer, on_tick, launcher_clocks_next(&j->clocks), 0);
}

void launcher_job_start_clocks(launcher_job *j) {
    uv_timer_init(&j->loop, &j->tick);
    j->tick.data = j;
    launcher_clocks_start(&j->clocks, j->options, td_clock_ns());
    if (launcher_clocks_next(&j->clocks))
        uv_timer_start(&j->tick, on_tick, launcher_clocks_next(&j->clocks), 0);
}
