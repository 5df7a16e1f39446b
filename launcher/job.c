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
 * Only the guardian's events, the ranks' words, the user's signals, the output's end and two timers move it.
 * Several machines would add a guardian per machine; the states are the job's and stay.
 */
#include "base/clock.h"
#include "base/number.h"
#include "launcher/job_state.h"
#include "launcher/records.h"
#include "launcher/report.h"
#include "launcher/run.h"
#include "launcher/uv.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>

enum { GIVE_UP_MS = 5000 }; /* after SIGKILL: what is still there is stuck in the kernel */

/* --- orders --------------------------------------------------------------------------------------------- */

static void on_deadline(uv_timer_t *timer);

void launcher_job_set_deadline(launcher_job *j, uv_timer_cb then, uint64_t ms) {
    j->then = then;
    j->patience_ms = ms;
    uv_timer_start(&j->deadline, then, ms, 0);
}

uint64_t launcher_job_ms(double seconds) {
    return seconds < 1e9 ? (uint64_t)(seconds * 1e3) : (uint64_t)1000000000000;
}

void launcher_job_order(launcher_job *j, int signal) {
    launcher_attempt_order(&j->attempt, (guardian_order){GUARDIAN_STOP, signal});
}

void launcher_job_kill(launcher_job *j) {
    if (j->state >= JOB_REAPED) return;
    j->state = JOB_STOPPING;
    j->attempt.ending.killed = true;
    launcher_job_order(j, SIGKILL);
    launcher_job_set_deadline(j, on_deadline, GIVE_UP_MS);
}

void launcher_job_stop_within(launcher_job *j, int signal, uint64_t grace_ms) {
    j->state = JOB_STOPPING;
    launcher_job_order(j, signal);
    launcher_job_set_deadline(j, on_deadline, grace_ms);
}

/* Tell the ranks to stop; the first reason is the one that counts. */
void launcher_job_stop(launcher_job *j, launcher_stop reason, int signal) {
    if (j->state >= JOB_STOPPING) return;
    j->attempt.ending.stop = reason;
    launcher_job_stop_within(j, signal, launcher_job_ms(j->options->shutdown_timeout));
}

void launcher_job_fail(launcher_job *j, const char *trouble) {
    launcher_ending *ending = &j->attempt.ending;
    if (ending->stop == LAUNCHER_STOP_OWN) return;
    launcher_job_stop(j, LAUNCHER_STOP_OWN, SIGTERM);
    ending->stop = LAUNCHER_STOP_OWN;
    snprintf(ending->trouble, sizeof ending->trouble, "%s", trouble);
}

void launcher_job_reap(launcher_job *j) {
    if (j->state >= JOB_REAPED) return;
    j->state = JOB_REAPED;
    uv_timer_stop(&j->deadline);
    launcher_attempt_read_errors(&j->attempt);
    launcher_attempt_finish(&j->attempt);
}

static void on_deadline(uv_timer_t *timer) {
    launcher_job *j = timer->data;
    if (!j->attempt.ending.killed) {
        launcher_job_kill(j);
        return;
    }
    launcher_job_fail(
        j,
        "some processes do not even die of SIGKILL: they hang in the kernel, and are left to the guardian");
    launcher_job_reap(j);
}

void launcher_job_end_rest(launcher_job *j) {
    j->state = JOB_OVER;
    uv_stop(&j->loop);
}

/* --- our output ----------------------------------------------------------------------------------------- */

static void on_output_failed(int fd, const char *path, int error, void *cookie) {
    launcher_job *j = cookie;
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
        launcher_job_stop(j, LAUNCHER_STOP_OUTPUT, SIGTERM);
        return;
    }
    j->output_lost = true;
    fprintf(stderr, "tandem: cannot write the ranks' standard output: %s; the job goes on without\n",
            strerror(error));
}

static void on_mpi_refused(const char *why, void *cookie) { launcher_job_fail(cookie, why); }

static void on_disk_filled(const char *path, void *cookie) {
    ((launcher_job *)cookie)->output_lost = true;
    fprintf(stderr, "tandem: the disk is full: the end of %s, which its rank wrote itself, may be missing\n",
            path);
}

static void on_output_finished(void *cookie) { uv_stop(&((launcher_job *)cookie)->loop); }

static void on_rested(uv_timer_t *timer) { uv_stop(&((launcher_job *)timer->data)->loop); }

/* --- the loop ------------------------------------------------------------------------------------------- */

static void choose_run_id(launcher_constants *constants) {
    uint8_t id[16] = {0};
    if (getrandom(id, sizeof id, GRND_NONBLOCK) < 0) memcpy(id, &(int64_t){td_clock_ns()}, sizeof(int64_t));
    for (size_t i = 0; i < sizeof id; i++) snprintf(constants->random_id + 2 * i, 3, "%02x", id[i]);
    constants->run_id = launcher_rendezvous_id(&constants->options->rendezvous);
    if (!constants->run_id) constants->run_id = constants->random_id;
}

/* torchrun names the folder of a run without an id "none". */
static bool open_logs(launcher_job *j) {
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
static td_status make_loop(launcher_job *j) {
    if (j->loop_made) return TD_OK;
    TD_TRY(launcher_from_uv(uv_loop_init(&j->loop), "cannot make the event loop"));
    j->loop_made = true;
    uv_timer_init(&j->loop, &j->deadline);
    j->deadline.data = j;
    launcher_job_start_clocks(j);
    return launcher_job_watch_signals(j);
}

static void close_handle(uv_handle_t *handle, void *cookie) {
    (void)cookie;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void release(launcher_job *j) {
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

static td_status start_attempt(launcher_job *j, int number) {
    j->state = JOB_STARTING;
    TD_TRY(launcher_attempt_start(&j->attempt, &j->constants, number));
    j->state = JOB_SPAWNING;
    TD_TRY(make_loop(j));
    launcher_attempt_events events = {.guardian = launcher_job_hear,
                                      .silent = launcher_job_silent,
                                      .output = {on_output_failed, on_disk_filled, on_output_finished, j},
                                      .mpi_failed = launcher_job_mpi_failed,
                                      .mpi_refused = on_mpi_refused,
                                      .cookie = j};
    return launcher_attempt_watch(&j->attempt, &j->loop, events);
}

static launcher_account account_of(const launcher_job *j) {
    const launcher_attempt *a = &j->attempt;
    return (launcher_account){
        launcher_judge(a->ranks, a->n, &a->ending), a->ranks, a->n, a->number, &a->ending, j->stacks};
}

/* Run an attempt to its end; false when it could not be started. */
static bool run_attempt(launcher_job *j, int number) {
    if (start_attempt(j, number) < 0) {
        fprintf(stderr, "tandem: %s\n", td_error_last()->text);
        return false;
    }
    uv_run(&j->loop, UV_RUN_DEFAULT);
    uv_run(&j->loop, UV_RUN_NOWAIT); /* the last words on the control channels */
    return true;
}

/* Say how the attempt ended; true when another is to follow, after the pause. */
static bool go_on(launcher_job *j, int *exit_code) {
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
    launcher_job_set_deadline(j, on_rested, launcher_job_ms(next.pause));
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

static void write_report(launcher_job *j, int *exit_code) {
    launcher_account account = account_of(j);
    account.verdict.exit_code = *exit_code;
    if (!j->options->report || launcher_report_write(j->options->report, &account, j->earlier) >= 0) return;
    fprintf(stderr, "tandem: the report is not written: %s\n", td_error_last()->text);
    if (*exit_code == 0) *exit_code = LAUNCHER_EXIT_OWN;
}

int launcher_run_job(const launcher_options *options) {
    launcher_job j = {.options = options, .constants.options = options};
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
