/* The part of the state machine that the guardian moves: ranks begin and end, and leave processes behind. */
#include "launcher/job_state.h"
#include "launcher/proc.h"
#include "launcher/verdict.h"

#include <sys/wait.h>

enum {
    CULPRIT_MS = 1000,    /* for a rank that another has lost to end by itself */
    DRAIN_MS = 200,       /* for processes that outlive ranks which all left with 0 to end by themselves */
    LEFT_BEHIND_MS = 500, /* then their grace */
};

/* How far it had come, if it is a program of ours. */
static void note_progress(launcher_job *j, int number) {
    td_progress_look look = td_progress_see(j->attempt.progress, number);
    if (look.phase == TD_PHASE_NONE) return;
    j->attempt.ranks[number].phase = look.phase;
    j->attempt.ranks[number].step = look.step;
}

/* SIGKILL comes from an administrator or from the kernel, which counts what it kills for lack of memory. */
static void note_memory(launcher_attempt *a, launcher_rank *rank) {
    bool killed = WIFSIGNALED(rank->wait_status) && WTERMSIG(rank->wait_status) == SIGKILL;
    if (!killed || rank->told_to_stop || a->oom_kills < 0) return;
    int64_t kills = launcher_proc_oom_kills("");
    rank->out_of_memory = kills > a->oom_kills;
    a->oom_kills = kills;
}

static void take_exit(launcher_job *j, const guardian_event *event) {
    launcher_rank *rank = &j->attempt.ranks[event->rank];
    if (rank->life == LAUNCHER_UNSTARTED) return; /* its end was that it could not begin */
    rank->ended_ns = event->at_ns;
    rank->told_to_stop = event->told;
    rank->life = LAUNCHER_ENDED;
    rank->wait_status = event->value;
    launcher_mpi_take_exit(j->attempt.mpi, event->rank);
    note_progress(j, event->rank);
    note_memory(&j->attempt, rank);
}

static void take_unstarted(launcher_job *j, const guardian_event *event) {
    launcher_rank *rank = &j->attempt.ranks[event->rank];
    rank->life = LAUNCHER_UNSTARTED;
    rank->error = event->value;
    rank->stage = event->stage;
    rank->ended_ns = event->at_ns;
    if (rank->started_ns == 0) rank->started_ns = event->at_ns;
}

/* What is still there is stopped, or left alone. */
static void on_drained(uv_timer_t *timer) {
    launcher_job *j = timer->data;
    launcher_ending *ending = &j->attempt.ending;
    if (!j->options->leave_daemons) {
        launcher_job_stop_within(j, SIGTERM, LEFT_BEHIND_MS);
        return;
    }
    ending->spared = ending->left_behind;
    ending->left_behind = 0;
    launcher_attempt_order(&j->attempt, (guardian_order){.kind = GUARDIAN_SPARE});
    launcher_job_reap(j);
}

/* All ranks are gone; so many processes of theirs are not. */
static void take_remains(launcher_job *j, int count) {
    launcher_ending *ending = &j->attempt.ending;
    if (count == 0) {
        if (j->state < JOB_STOPPING) ending->left_behind = 0; /* by themselves, in time */
        launcher_job_reap(j);
        return;
    }
    if (j->state >= JOB_STOPPING) {
        /* The ranks' grace is theirs too. A shell's background processes ignore SIGINT and SIGQUIT. */
        if (ending->stop == LAUNCHER_STOP_SIGNAL && ending->signal != SIGTERM) launcher_job_order(j, SIGTERM);
        return;
    }
    ending->left_behind = count;
    launcher_job_set_deadline(j, on_drained, DRAIN_MS);
}

static void take_event(launcher_job *j, const guardian_event *event) {
    bool is_rank = event->rank >= 0 && event->rank < j->attempt.n;
    launcher_rank *rank = is_rank ? &j->attempt.ranks[event->rank] : NULL;
    switch ((guardian_event_kind)event->kind) {
    case GUARDIAN_STARTED:
        rank->life = LAUNCHER_ALIVE;
        rank->pid = event->pid;
        rank->started_ns = event->at_ns;
        break;
    case GUARDIAN_UNSTARTED: take_unstarted(j, event); break;
    case GUARDIAN_RUNNING:
        if (j->state == JOB_SPAWNING) j->state = JOB_RUNNING;
        break;
    case GUARDIAN_EXITED: take_exit(j, event); break;
    case GUARDIAN_REMAINS: take_remains(j, event->value); break;
    }
}

/* The guardian never leaves first, unless someone kills it: its ranks died with it, what they left is ours.
 */
static void lose_guardian(launcher_job *j) {
    launcher_job_fail(j, "the guardian process was killed, and the job with it");
    launcher_cgroup_kill(&j->attempt.group);
    launcher_kill_descendants();
    j->attempt.guardian = 0;
    launcher_job_reap(j);
}

static void on_patience(uv_timer_t *timer) { launcher_job_stop(timer->data, LAUNCHER_STOP_FAILURE, SIGTERM); }

/* A failed rank stops the job. One that says which rank it lost is only a victim: the rank to blame gets a moment
 * to end by itself, so that its own end is what is reported. */
static void stop_for_failure(launcher_job *j) {
    const launcher_attempt *a = &j->attempt;
    bool victims = false;
    if (j->state == JOB_EXAMINING) return; /* comes in a moment */
    if (a->ending.preempted) return;       /* the others are leaving too */
    for (int i = 0; i < a->n; i++) {
        const launcher_rank *rank = &a->ranks[i];
        bool aborts = rank->life == LAUNCHER_ALIVE && rank->mpi_fault == LAUNCHER_MPI_ABORTED;
        if (!aborts && !launcher_has_failed(rank)) continue;
        bool blames_the_living =
            rank->lost >= 0 && rank->lost < a->n && a->ranks[rank->lost].life == LAUNCHER_ALIVE;
        if (!blames_the_living) {
            launcher_job_stop(j, LAUNCHER_STOP_FAILURE, SIGTERM);
            return;
        }
        victims = true;
    }
    if (victims && j->state < JOB_STOPPING && !uv_is_active((uv_handle_t *)&j->deadline))
        launcher_job_set_deadline(j, on_patience, CULPRIT_MS);
}

void launcher_job_mpi_failed(void *cookie) { stop_for_failure(cookie); }

void launcher_job_hear(launcher_attempt *attempt, void *cookie) {
    launcher_job *j = cookie;
    enum { BATCH = 64 };
    guardian_event batch[BATCH];
    int count = 0, got = 1;
    /* All that has happened, before anything is decided on it. */
    while (count < BATCH && (got = launcher_attempt_next_event(attempt, &batch[count])) > 0) count++;
    for (int i = 0; i < count; i++)
        if (batch[i].kind != GUARDIAN_REMAINS) take_event(j, &batch[i]);
    stop_for_failure(j);
    for (int i = 0; i < count; i++)
        if (batch[i].kind == GUARDIAN_REMAINS) take_event(j, &batch[i]);
    if (got < 0) lose_guardian(j);
}
