/* The part of the state machine that the user's signals move. Three kinds: those that stop the job, those of the
 * terminal (Ctrl-Z, another size), and those that are passed on. */
#include "base/clock.h"
#include "launcher/job_state.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The first is passed on, the second kills. */
static void take_stop_signal(launcher_job *j, int signal) {
    if (j->signal == 0) j->signal = j->attempt.ending.signal = signal;
    switch (j->state) {
    case JOB_REAPED: uv_stop(&j->loop); break; /* only our slow reader was still waited for */
    case JOB_STOPPING: launcher_job_kill(j); break;
    case JOB_RESTING:
        j->attempt.ending.stop = LAUNCHER_STOP_SIGNAL;
        launcher_job_end_rest(j);
        break;
    default: launcher_job_stop(j, LAUNCHER_STOP_SIGNAL, signal);
    }
}

static void forward(const launcher_job *j, int signal) {
    launcher_attempt_order(&j->attempt, (guardian_order){GUARDIAN_FORWARD, signal});
}

static void take_preempt_signal(launcher_job *j, int signal) {
    if (j->state >= JOB_STOPPING && j->state != JOB_RESTING) return;
    bool first = !j->attempt.ending.preempted;
    j->attempt.ending.preempted = true;
    if (j->state == JOB_RESTING) {
        launcher_job_end_rest(j);
    } else {
        forward(j, signal);
        if (first)
            fprintf(stderr, "tandem: SIG%s passed on; waiting for the ranks to leave\n",
                    sigabbrev_np(signal));
    }
}

/* After a stand-still all patience begins anew. */
static void resume(launcher_job *j) {
    forward(j, SIGCONT);
    if (j->attempt.output) launcher_output_resume(j->attempt.output);
    uv_update_time(&j->loop);
    launcher_clocks_resume(&j->clocks, td_clock_ns());
    if (uv_is_active((uv_handle_t *)&j->deadline)) launcher_job_set_deadline(j, j->then, j->patience_ms);
}

/* Ctrl-Z. The ranks are in sessions of their own, where SIGTSTP would be lost on them. */
static void suspend(launcher_job *j) {
    forward(j, SIGSTOP);
    if (j->attempt.output) launcher_output_suspend(j->attempt.output);
    raise(SIGSTOP); /* here it lasts until somebody sends SIGCONT */
    resume(j);
}

/* Our terminal has another size. */
static void tell_size(launcher_job *j) {
    if (j->attempt.control) launcher_control_tell_terminal(j->attempt.control);
    if (j->attempt.output) launcher_output_resize(j->attempt.output);
}

static void on_signal(uv_signal_t *handle, int signal) {
    launcher_job *j = handle->data;
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

td_status launcher_job_watch_signals(launcher_job *j) {
    sigset_t heard = j->options->stop_signals.set;
    for (const int *s = (const int[]){SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, 0}; *s; s++) sigaddset(&heard, *s);
    if (j->options->preempt_signal) sigaddset(&heard, j->options->preempt_signal);
    if (isatty(2) || j->options->logs.pty) sigaddset(&heard, SIGWINCH);
    return launcher_signals_watch(&j->signals, &j->loop, &heard, &j->constants.inherited, on_signal, j);
}
