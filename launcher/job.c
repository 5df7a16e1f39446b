/*
 * The life of one job, from parsed options to the launcher's exit status.
 *
 *     starting ──▶ spawning ──▶ running ──────────────▶ reaped ──▶ over
 *        ▲             │         │    │                   ▲ │
 *        │             │         ▼    ▼                   │ │
 *        │             │   examining ▶ stopping ──────────┘ │
 *        │             └──────────────────▲                 │
 *        └────────────────────── resting ◀──────────────────┘
 *
 *     starting  an attempt is made: environments, pipes, channels, arena, port; then its guardian.
 *     spawning  the guardian is there and starts ranks; some may already run, fail or have left.
 *     running   every rank has become its program, or has said why not.
 *     examining a rank is stuck: its stack is being read, and then it is stopped. Failures wait for that.
 *     stopping  the ranks have been told to stop (first failure, the user's signal, our reader gone, our own
 *               trouble), or have left and what they left behind has been told. When the grace is over, or at
 *               the user's second signal, SIGKILL.
 *     reaped    no process of the attempt is left. What the pipes still hold is forwarded; then its report.
 *     resting   the attempt failed and another follows after a pause (restart.c decides).
 *     over      the user's signal ended the rest; or the report of the last attempt is the job's.
 *
 * Only the guardian's events, the ranks' words, the user's signals, the output's end and two timers move it. Several machines
 * would add a guardian per machine; the states are the job's and stay.
 */
#include "base/clock.h"
#include "base/number.h"
#include "launcher/attempt.h"
#include "launcher/clocks.h"
#include "launcher/proc.h"
#include "launcher/records.h"
#include "launcher/report.h"
#include "launcher/restart.h"
#include "launcher/run.h"
#include "launcher/signals.h"
#include "launcher/stacks.h"
#include "launcher/uv.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CULPRIT_MS = 1000,    /* for a rank that another has lost to end by itself */
    DRAIN_MS = 200,       /* for processes that outlive ranks which all left with 0 to end by themselves */
    LEFT_BEHIND_MS = 500, /* then their grace */
    GIVE_UP_MS = 5000,    /* after SIGKILL: what is still there is stuck in the kernel */
};

typedef enum job_state {
    JOB_STARTING,
    JOB_SPAWNING,
    JOB_RUNNING,
    JOB_EXAMINING,
    JOB_STOPPING,
    JOB_REAPED,
    JOB_RESTING,
    JOB_OVER,
} job_state;

typedef struct job {
    const launcher_options *options;
    launcher_constants constants;
    job_state state;
    launcher_attempt attempt; /* the current one, or while resting the last */
    launcher_history history;
    json_t *earlier; /* summaries of the attempts before */
    int signal;      /* the user's first that asked to stop; 0 */
    bool output_lost;

    uv_loop_t loop;
    uv_timer_t deadline;
    uv_timer_cb then;     /* at the deadline */
    uint64_t patience_ms; /* from when it was set */
    uv_timer_t tick;
    launcher_clocks clocks;
    launcher_stacks *stacks; /* of ranks that are stuck; NULL */
    launcher_signals signals;
    bool loop_made;
} job;

/* --- orders --------------------------------------------------------------------------------------------- */

static void on_deadline(uv_timer_t *timer);

static void set_deadline(job *j, uv_timer_cb then, uint64_t ms) {
    j->then = then;
    j->patience_ms = ms;
    uv_timer_start(&j->deadline, then, ms, 0);
}

static uint64_t milliseconds(double seconds) {
    return seconds < 1e9 ? (uint64_t)(seconds * 1e3) : (uint64_t)1000000000000;
}

static void order_stop(job *j, int signal) {
    launcher_attempt_order(&j->attempt, (guardian_order){GUARDIAN_STOP, signal});
}

static void kill_all(job *j) {
    if (j->state >= JOB_REAPED) return;
    j->state = JOB_STOPPING;
    j->attempt.ending.killed = true;
    order_stop(j, SIGKILL);
    set_deadline(j, on_deadline, GIVE_UP_MS);
}

static void stop_within(job *j, int signal, uint64_t grace_ms) {
    j->state = JOB_STOPPING;
    order_stop(j, signal);
    set_deadline(j, on_deadline, grace_ms);
}

/* Tell the ranks to stop; the first reason is the one that counts. */
static void stop_ranks(job *j, launcher_stop reason, int signal) {
    if (j->state >= JOB_STOPPING) return;
    j->attempt.ending.stop = reason;
    stop_within(j, signal, milliseconds(j->options->shutdown_timeout));
}

static void stop_for_trouble(job *j, const char *trouble) {
    launcher_ending *ending = &j->attempt.ending;
    if (ending->stop == LAUNCHER_STOP_OWN) return;
    stop_ranks(j, LAUNCHER_STOP_OWN, SIGTERM);
    ending->stop = LAUNCHER_STOP_OWN;
    snprintf(ending->trouble, sizeof ending->trouble, "%s", trouble);
}

static void become_reaped(job *j) {
    if (j->state >= JOB_REAPED) return;
    j->state = JOB_REAPED;
    uv_timer_stop(&j->deadline);
    launcher_attempt_read_errors(&j->attempt);
    launcher_attempt_finish(&j->attempt);
}

static void on_deadline(uv_timer_t *timer) {
    job *j = timer->data;
    if (!j->attempt.ending.killed) {
        kill_all(j);
        return;
    }
    stop_for_trouble(
        j,
        "some processes do not even die of SIGKILL: they hang in the kernel, and are left to the guardian");
    become_reaped(j);
}

/* --- what the guardian tells ---------------------------------------------------------------------------- */

/* How far it had come, if it is a program of ours. */
static void note_progress(job *j, int number) {
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

static void take_exit(job *j, const guardian_event *event) {
    launcher_rank *rank = &j->attempt.ranks[event->rank];
    if (rank->life == LAUNCHER_UNSTARTED) return; /* its end was that it could not begin */
    rank->ended_ns = event->at_ns;
    rank->told_to_stop = event->told;
    rank->life = LAUNCHER_ENDED;
    rank->wait_status = event->value;
    note_progress(j, event->rank);
    note_memory(&j->attempt, rank);
}

static void take_unstarted(job *j, const guardian_event *event) {
    launcher_rank *rank = &j->attempt.ranks[event->rank];
    rank->life = LAUNCHER_UNSTARTED;
    rank->error = event->value;
    rank->stage = event->stage;
    rank->ended_ns = event->at_ns;
    if (rank->started_ns == 0) rank->started_ns = event->at_ns;
}

/* What is still there is stopped, or left alone. */
static void on_drained(uv_timer_t *timer) {
    job *j = timer->data;
    launcher_ending *ending = &j->attempt.ending;
    if (!j->options->leave_daemons) {
        stop_within(j, SIGTERM, LEFT_BEHIND_MS);
        return;
    }
    ending->spared = ending->left_behind;
    ending->left_behind = 0;
    launcher_attempt_order(&j->attempt, (guardian_order){.kind = GUARDIAN_SPARE});
    become_reaped(j);
}

/* All ranks are gone; so many processes of theirs are not. */
static void take_remains(job *j, int count) {
    launcher_ending *ending = &j->attempt.ending;
    if (count == 0) {
        if (j->state < JOB_STOPPING) ending->left_behind = 0; /* by themselves, in time */
        become_reaped(j);
        return;
    }
    if (j->state >= JOB_STOPPING) {
        /* The ranks' grace is theirs too. A shell's background processes ignore SIGINT and SIGQUIT. */
        if (ending->stop == LAUNCHER_STOP_SIGNAL && ending->signal != SIGTERM) order_stop(j, SIGTERM);
        return;
    }
    ending->left_behind = count;
    set_deadline(j, on_drained, DRAIN_MS);
}

static void take_event(job *j, const guardian_event *event) {
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
static void lose_guardian(job *j) {
    stop_for_trouble(j, "the guardian process was killed, and the job with it");
    launcher_kill_descendants();
    j->attempt.guardian = 0;
    become_reaped(j);
}

static void on_patience(uv_timer_t *timer) { stop_ranks(timer->data, LAUNCHER_STOP_FAILURE, SIGTERM); }

/* A failed rank stops the job. One that says which rank it lost is only a victim: the rank to blame gets a moment
 * to end by itself, so that its own end is what is reported. */
static void stop_for_failure(job *j) {
    const launcher_attempt *a = &j->attempt;
    bool victims = false;
    if (j->state == JOB_EXAMINING) return; /* comes in a moment */
    if (a->ending.preempted) return;       /* the others are leaving too */
    for (int i = 0; i < a->n; i++) {
        const launcher_rank *rank = &a->ranks[i];
        if (!launcher_has_failed(rank)) continue;
        bool blames_the_living =
            rank->lost >= 0 && rank->lost < a->n && a->ranks[rank->lost].life == LAUNCHER_ALIVE;
        if (!blames_the_living) {
            stop_ranks(j, LAUNCHER_STOP_FAILURE, SIGTERM);
            return;
        }
        victims = true;
    }
    if (victims && j->state < JOB_STOPPING && !uv_is_active((uv_handle_t *)&j->deadline))
        set_deadline(j, on_patience, CULPRIT_MS);
}

static void on_guardian(launcher_attempt *attempt, void *cookie) {
    job *j = cookie;
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

/* --- time ----------------------------------------------------------------------------------------------- */

static void on_examined(void *cookie) {
    job *j = cookie;
    if (j->state != JOB_EXAMINING) return;
    j->state = JOB_RUNNING;
    stop_ranks(j, LAUNCHER_STOP_STALL, SIGTERM);
}

/* These ranks are stuck, the first of them most likely for a reason of its own. See where they are; then stop. */
static void examine(job *j, const int *stuck, int count) {
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
static void on_silent(int rank, void *cookie) {
    job *j = cookie;
    if (rank >= 0 && rank < j->attempt.n && j->attempt.ranks[rank].life == LAUNCHER_ALIVE)
        examine(j, &rank, 1);
}

static void give_notice(const job *j) {
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

static void end_stall(job *j) {
    int stuck[8], awaited_by, count = 0;
    stuck[0] = launcher_find_stuck(&j->attempt, &awaited_by);
    if (stuck[0] < 0) return;
    for (int i = -1; i < j->attempt.n && count < 8; i++)
        if (i < 0 || (i != stuck[0] && j->attempt.ranks[i].life == LAUNCHER_ALIVE))
            stuck[count++] = i < 0 ? stuck[0] : i;
    examine(j, stuck, count);
}

static void end_time(job *j) {
    if (j->state == JOB_RESTING) {
        j->attempt.ending.stop = LAUNCHER_STOP_TIMEOUT;
        j->state = JOB_OVER;
        uv_stop(&j->loop);
    } else {
        stop_ranks(j, LAUNCHER_STOP_TIMEOUT, SIGTERM);
    }
}

static void on_tick(uv_timer_t *timer) {
    job *j = timer->data;
    bool running = j->state == JOB_SPAWNING || j->state == JOB_RUNNING;
    switch (launcher_clocks_tick(&j->clocks, &j->attempt, running, td_clock_ns())) {
    case LAUNCHER_ALARM_NONE: break;
    case LAUNCHER_ALARM_NOTICE: give_notice(j); break;
    case LAUNCHER_ALARM_STALL: end_stall(j); break;
    case LAUNCHER_ALARM_TIMEOUT: end_time(j); break;
    }
    uv_timer_start(timer, on_tick, launcher_clocks_next(&j->clocks), 0);
}

static void start_clocks(job *j) {
    uv_timer_init(&j->loop, &j->tick);
    j->tick.data = j;
    launcher_clocks_start(&j->clocks, j->options, td_clock_ns());
    if (launcher_clocks_next(&j->clocks))
        uv_timer_start(&j->tick, on_tick, launcher_clocks_next(&j->clocks), 0);
}

/* --- signals to the launcher ---------------------------------------------------------------------------- */

/* The first is passed on, the second kills. */
static void take_stop_signal(job *j, int signal) {
    if (j->signal == 0) j->signal = j->attempt.ending.signal = signal;
    switch (j->state) {
    case JOB_REAPED: uv_stop(&j->loop); break; /* only our slow reader was still waited for */
    case JOB_STOPPING: kill_all(j); break;
    case JOB_RESTING:
        j->attempt.ending.stop = LAUNCHER_STOP_SIGNAL;
        j->state = JOB_OVER;
        uv_stop(&j->loop);
        break;
    default: stop_ranks(j, LAUNCHER_STOP_SIGNAL, signal);
    }
}

static void forward(const job *j, int signal) {
    launcher_attempt_order(&j->attempt, (guardian_order){GUARDIAN_FORWARD, signal});
}

static void take_preempt_signal(job *j, int signal) {
    if (j->state >= JOB_STOPPING && j->state != JOB_RESTING) return;
    bool first = !j->attempt.ending.preempted;
    j->attempt.ending.preempted = true;
    if (j->state == JOB_RESTING) {
        j->state = JOB_OVER;
        uv_stop(&j->loop);
    } else {
        forward(j, signal);
        if (first)
            fprintf(stderr, "tandem: SIG%s passed on; waiting for the ranks to leave\n",
                    sigabbrev_np(signal));
    }
}

/* After a stand-still all patience begins anew. */
static void resume(job *j) {
    forward(j, SIGCONT);
    if (j->attempt.output) launcher_output_resume(j->attempt.output);
    uv_update_time(&j->loop);
    launcher_clocks_resume(&j->clocks, td_clock_ns());
    if (uv_is_active((uv_handle_t *)&j->deadline)) set_deadline(j, j->then, j->patience_ms);
}

/* Ctrl-Z. The ranks are in sessions of their own, where SIGTSTP would be lost on them. */
static void suspend(job *j) {
    forward(j, SIGSTOP);
    if (j->attempt.output) launcher_output_suspend(j->attempt.output);
    raise(SIGSTOP); /* here it lasts until somebody sends SIGCONT */
    resume(j);
}

/* Our terminal has another size. */
static void tell_size(job *j) {
    if (j->attempt.control) launcher_control_tell_terminal(j->attempt.control);
    if (j->attempt.output) launcher_output_resize(j->attempt.output);
}

static void on_signal(uv_signal_t *handle, int signal) {
    job *j = handle->data;
    const launcher_options *o = j->options;
    bool stops = sigismember(&o->stop_signals.set, signal) == 1;
    if (signal == o->preempt_signal && !(stops && j->attempt.ending.preempted))
        take_preempt_signal(j, signal);
    else if (stops)
        take_stop_signal(j, signal);
    else if (signal == SIGTSTP)
        suspend(j);
    else if (signal == SIGCONT)
        resume(j);
    else if (signal == SIGWINCH)
        tell_size(j);
    else
        forward(j, signal);
}

static td_status watch_signals(job *j) {
    sigset_t heard = j->options->stop_signals.set;
    for (const int *s = (const int[]){SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, 0}; *s; s++) sigaddset(&heard, *s);
    if (j->options->preempt_signal) sigaddset(&heard, j->options->preempt_signal);
    if (isatty(2) || j->options->logs.pty) sigaddset(&heard, SIGWINCH);
    return launcher_signals_watch(&j->signals, &j->loop, &heard, &j->constants.inherited, on_signal, j);
}

/* --- our output ----------------------------------------------------------------------------------------- */

static void on_output_failed(int fd, const char *path, int error, void *cookie) {
    job *j = cookie;
    const char *logs = launcher_logs_folder(j->constants.logs);
    if (path) {
        j->output_lost = true;
        fprintf(stderr, "tandem: cannot write %s: %s; the job goes on without it\n", path, strerror(error));
        return;
    }
    if (fd != 1) return; /* nobody to tell */
    if (error == EPIPE && logs) {
        fprintf(stderr,
                "tandem: whoever read the output has closed it; the job goes on, its log files are in %s\n",
                logs);
        return;
    }
    if (error == EPIPE) {
        stop_ranks(j, LAUNCHER_STOP_OUTPUT, SIGTERM);
        return;
    }
    j->output_lost = true;
    fprintf(stderr, "tandem: cannot write the ranks' standard output: %s; the job goes on without\n",
            strerror(error));
}

static void on_output_finished(void *cookie) { uv_stop(&((job *)cookie)->loop); }

static void on_rested(uv_timer_t *timer) { uv_stop(&((job *)timer->data)->loop); }

/* --- the loop ------------------------------------------------------------------------------------------- */

static void choose_run_id(launcher_constants *constants) {
    uint8_t id[16] = {0};
    if (getrandom(id, sizeof id, GRND_NONBLOCK) < 0) memcpy(id, &(int64_t){td_clock_ns()}, sizeof(int64_t));
    for (size_t i = 0; i < sizeof id; i++) snprintf(constants->random_id + 2 * i, 3, "%02x", id[i]);
    constants->run_id = launcher_rendezvous_id(&constants->options->rendezvous);
    if (!constants->run_id) constants->run_id = constants->random_id;
}

/* torchrun names the folder of a run without an id "none". */
static bool open_logs(job *j) {
    launcher_constants *c = &j->constants;
    const char *run = c->run_id == c->random_id ? "none" : c->run_id;
    if (launcher_logs_open(&j->options->logs, (int)j->options->ranks, run, j->options->role, &c->logs) < 0) {
        fprintf(stderr, "tandem: %s\n", td_error_last()->text);
        return false;
    }
    const char *folder = launcher_logs_folder(c->logs);
    if (folder && !launcher_logs_are_named(c->logs)) fprintf(stderr, "tandem: log files are in %s\n", folder);
    return true;
}

/* After the first guardian's fork, which need not copy it. */
static td_status make_loop(job *j) {
    if (j->loop_made) return TD_OK;
    TD_TRY(launcher_from_uv(uv_loop_init(&j->loop), "cannot make the event loop"));
    j->loop_made = true;
    uv_timer_init(&j->loop, &j->deadline);
    j->deadline.data = j;
    start_clocks(j);
    return watch_signals(j);
}

static void close_handle(uv_handle_t *handle, void *cookie) {
    (void)cookie;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void release(job *j) {
    launcher_attempt_stop(&j->attempt);
    launcher_stacks_stop(j->stacks);
    if (j->loop_made) {
        uv_walk(&j->loop, close_handle, NULL);
        uv_run(&j->loop, UV_RUN_DEFAULT);
        uv_loop_close(&j->loop);
    }
    launcher_attempt_close(&j->attempt);
    launcher_logs_close(&j->constants.logs);
    launcher_stacks_close(&j->stacks);
    json_decref(j->earlier);
}

/* --- from beginning to end ------------------------------------------------------------------------------ */

static td_status start_attempt(job *j, int number) {
    j->state = JOB_STARTING;
    TD_TRY(launcher_attempt_start(&j->attempt, &j->constants, number));
    j->state = JOB_SPAWNING;
    TD_TRY(make_loop(j));
    launcher_attempt_events events = {on_guardian, on_silent, {on_output_failed, on_output_finished, j}, j};
    return launcher_attempt_watch(&j->attempt, &j->loop, events);
}

static launcher_account account_of(const job *j) {
    const launcher_attempt *a = &j->attempt;
    return (launcher_account){
        launcher_judge(a->ranks, a->n, &a->ending), a->ranks, a->n, a->number, &a->ending, j->stacks};
}

/* Run an attempt to its end; false when it could not be started. */
static bool run_attempt(job *j, int number) {
    if (start_attempt(j, number) < 0) {
        fprintf(stderr, "tandem: %s\n", td_error_last()->text);
        return false;
    }
    uv_run(&j->loop, UV_RUN_DEFAULT);
    uv_run(&j->loop, UV_RUN_NOWAIT); /* the last words on the control channels */
    return true;
}

/* Say how the attempt ended; true when another is to follow, after the pause. */
static bool go_on(job *j, int *exit_code) {
    const launcher_attempt *a = &j->attempt;
    launcher_account account = account_of(j);
    if (account.verdict.exit_code == 0 && j->output_lost) account.verdict.exit_code = LAUNCHER_EXIT_OWN;
    if (launcher_output_is_mid_line(a->output) && account.verdict.exit_code != 0) fputc('\n', stderr);
    if (j->stacks) launcher_stacks_print(j->stacks, stderr);
    launcher_report_print(stderr, &account);
    launcher_records_write(a->arena, &account, j->options->trace_dir);
    *exit_code = account.verdict.exit_code;
    if (j->signal) return false;
    launcher_next next =
        launcher_decide_next(&j->history, j->options, &account.verdict, a->ranks, a->n, &a->ending);
    if (*next.why_not) fprintf(stderr, "tandem: %s\n", next.why_not);
    if (!next.again) return false;
    fprintf(stderr, "tandem: all ranks start anew in %s (restart %lld of %lld)\n",
            td_format_seconds(next.pause).text, (long long)j->history.restarts,
            (long long)j->options->max_restarts);
    j->state = JOB_RESTING;
    launcher_attempt_stop(&j->attempt);
    launcher_stacks_stop(j->stacks);
    set_deadline(j, on_rested, milliseconds(next.pause));
    uv_run(&j->loop, UV_RUN_DEFAULT);
    if (j->state == JOB_RESTING) {
        if (!j->earlier) j->earlier = json_array();
        json_array_append_new(j->earlier, launcher_report_summarize(&account));
        launcher_attempt_close(&j->attempt);
        launcher_stacks_close(&j->stacks);
        return true;
    }
    account = account_of(j);
    launcher_report_print(stderr, &account);
    *exit_code = account.verdict.exit_code;
    return false;
}

static void write_report(job *j, int *exit_code) {
    launcher_account account = account_of(j);
    account.verdict.exit_code = *exit_code;
    if (!j->options->report || launcher_report_write(j->options->report, &account, j->earlier) >= 0) return;
    fprintf(stderr, "tandem: the report is not written: %s\n", td_error_last()->text);
    if (*exit_code == 0) *exit_code = LAUNCHER_EXIT_OWN;
}

int launcher_run_job(const launcher_options *options) {
    job j = {.options = options, .constants.options = options};
    int exit_code = LAUNCHER_EXIT_OWN, number = 0;
    if (launcher_program_find(options, &j.constants.program, &exit_code) < 0) {
        fprintf(stderr, "tandem: %s\n", td_error_last()->text);
        return exit_code;
    }
    launcher_settle(&j.constants.inherited);
    choose_run_id(&j.constants);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* heir to the guardian, should that be killed */
    if (!open_logs(&j)) return exit_code;
    bool ran;
    do ran = run_attempt(&j, number++);
    while (ran && go_on(&j, &exit_code));
    if (ran) write_report(&j, &exit_code);
    fflush(stderr);
    int signal = j.signal;
    release(&j);
    return signal ? launcher_die_of(signal) : exit_code;
}
