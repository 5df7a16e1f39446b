/*
 * The life of one job, from parsed options to the launcher's exit status.
 *
 *     parsed ──▶ spawning ──▶ running ──▶ reaped
 *                    │           │           ▲
 *                    └───────────┴─▶ stopping ┘
 *
 *     parsed    everything that ranks are given has been made: environments, pipes, channels, arena, port.
 *     spawning  the guardian is there and starts ranks; some may already run, fail or have left.
 *     running   every rank has become its program, or has said why not.
 *     stopping  the ranks have been told to stop (first failure, the user's signal, our reader gone, our own
 *               trouble), or have left and what they left behind has been told. When the grace is over, or at
 *               the user's second signal, SIGKILL.
 *     reaped    no process of the job is left. What the pipes still hold is forwarded; then the report.
 *
 * Only the guardian's events, the user's signals, the output's end and one timer move it. A restart would
 * lead from stopping back to spawning with another guardian.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dist/job_mark.h"
#include "launcher/control.h"
#include "launcher/environment.h"
#include "launcher/guardian.h"
#include "launcher/output.h"
#include "launcher/port.h"
#include "launcher/report.h"
#include "launcher/run.h"
#include "launcher/signals.h"
#include "launcher/uv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CULPRIT_MS = 1000,    /* for a rank that another has lost to end by itself */
    LEFT_BEHIND_MS = 500, /* grace of processes that outlived ranks which all left with 0 */
    GIVE_UP_MS = 5000,    /* after SIGKILL: what is still there is stuck in the kernel */
};

typedef enum job_state { JOB_PARSED, JOB_SPAWNING, JOB_RUNNING, JOB_STOPPING, JOB_REAPED } job_state;

typedef struct job {
    const launcher_options *options;
    int n;
    job_state state;
    launcher_rank *ranks;
    launcher_tail **tails;
    launcher_spawn *spawns;
    launcher_inherited inherited;
    launcher_facts facts;
    launcher_ending ending;
    char path[PATH_MAX];
    int null, arena, port; /* descriptors; -1 */
    launcher_output *output;
    launcher_control *control;
    pid_t guardian;
    int socket; /* to the guardian; -1 */
    bool output_lost;

    uv_loop_t loop;
    uv_poll_t guardian_watch;
    uv_timer_t deadline;
    uv_signal_t signals[LAUNCHER_STOP_SIGNALS], window;
    bool loop_made;
} job;

/* --- orders --------------------------------------------------------------------------------------------- */

static void on_deadline(uv_timer_t *timer);

static void order(job *j, int signal) {
    guardian_order o = {signal};
    if (j->socket >= 0) send(j->socket, &o, sizeof o, MSG_NOSIGNAL);
}

static void kill_all(job *j) {
    if (j->state == JOB_REAPED) return;
    j->state = JOB_STOPPING;
    j->ending.killed = true;
    order(j, SIGKILL);
    uv_timer_start(&j->deadline, on_deadline, GIVE_UP_MS, 0);
}

static void stop_within(job *j, int signal, uint64_t grace_ms) {
    j->state = JOB_STOPPING;
    order(j, signal);
    uv_timer_start(&j->deadline, on_deadline, grace_ms, 0);
}

/* Tell the ranks to stop; the first reason is the one that counts. */
static void stop_ranks(job *j, launcher_stop reason, int signal) {
    if (j->state >= JOB_STOPPING) return;
    double grace = j->options->shutdown_timeout;
    j->ending.stop = reason;
    stop_within(j, signal, grace < 1e9 ? (uint64_t)(grace * 1e3) : (uint64_t)1000000000000);
}

static void stop_for_trouble(job *j, const char *trouble) {
    if (j->ending.stop == LAUNCHER_STOP_OWN) return;
    stop_ranks(j, LAUNCHER_STOP_OWN, SIGTERM);
    j->ending.stop = LAUNCHER_STOP_OWN;
    snprintf(j->ending.trouble, sizeof j->ending.trouble, "%s", trouble);
}

static void become_reaped(job *j) {
    if (j->state == JOB_REAPED) return;
    j->state = JOB_REAPED;
    uv_timer_stop(&j->deadline);
    uv_poll_stop(&j->guardian_watch);
    if (j->socket >= 0) close(j->socket); /* the guardian's leave */
    j->socket = -1;
    launcher_output_finish(j->output);
}

static void on_deadline(uv_timer_t *timer) {
    job *j = timer->data;
    if (!j->ending.killed) {
        kill_all(j);
        return;
    }
    stop_for_trouble(
        j,
        "some processes do not even die of SIGKILL: they hang in the kernel, and are left to the guardian");
    become_reaped(j);
}

/* --- what happens --------------------------------------------------------------------------------------- */

static void take_exit(job *j, const guardian_event *event) {
    launcher_rank *rank = &j->ranks[event->rank];
    if (rank->life == LAUNCHER_UNSTARTED) return; /* its end was that it could not begin */
    rank->ended_ns = event->at_ns;
    rank->told_to_stop = event->told;
    rank->life = LAUNCHER_ENDED;
    rank->wait_status = event->value;
}

static void take_unstarted(job *j, const guardian_event *event) {
    launcher_rank *rank = &j->ranks[event->rank];
    rank->life = LAUNCHER_UNSTARTED;
    rank->error = event->value;
    rank->stage = event->stage;
    rank->ended_ns = event->at_ns;
    if (rank->started_ns == 0) rank->started_ns = event->at_ns;
}

/* All ranks are gone; so many processes of theirs are not. */
static void take_remains(job *j, int count) {
    if (count == 0) {
        become_reaped(j);
        return;
    }
    if (j->state >= JOB_STOPPING) {
        /* The ranks' grace is theirs too. A shell's background processes ignore SIGINT and SIGQUIT. */
        if (j->ending.stop == LAUNCHER_STOP_SIGNAL && j->ending.signal != SIGTERM) order(j, SIGTERM);
        return;
    }
    j->ending.left_behind = count;
    stop_within(j, SIGTERM, LEFT_BEHIND_MS);
}

static void take_event(job *j, const guardian_event *event) {
    launcher_rank *rank = event->rank >= 0 && event->rank < j->n ? &j->ranks[event->rank] : NULL;
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
    j->guardian = 0;
    become_reaped(j);
}

static void on_patience(uv_timer_t *timer) { stop_ranks(timer->data, LAUNCHER_STOP_FAILURE, SIGTERM); }

/* A failed rank stops the job. One that says which rank it lost is only a victim: the rank to blame gets a moment
 * to end by itself, so that its own end is what is reported. */
static void stop_for_failure(job *j) {
    bool victims = false;
    for (int i = 0; i < j->n; i++) {
        const launcher_rank *rank = &j->ranks[i];
        if (!launcher_has_failed(rank)) continue;
        bool blames_the_living =
            rank->lost >= 0 && rank->lost < j->n && j->ranks[rank->lost].life == LAUNCHER_ALIVE;
        if (!blames_the_living) {
            stop_ranks(j, LAUNCHER_STOP_FAILURE, SIGTERM);
            return;
        }
        victims = true;
    }
    if (victims && j->state < JOB_STOPPING && !uv_is_active((uv_handle_t *)&j->deadline))
        uv_timer_start(&j->deadline, on_patience, CULPRIT_MS, 0);
}

static void on_guardian(uv_poll_t *watch, int status, int events) {
    job *j = watch->data;
    (void)status, (void)events;
    guardian_event batch[64];
    int count = 0;
    ssize_t got = -1;
    /* All that has happened, before anything is decided on it. */
    while (count < 64 && (got = recv(j->socket, &batch[count], sizeof *batch, 0)) == (ssize_t)sizeof *batch)
        count++;
    for (int i = 0; i < count; i++)
        if (batch[i].kind != GUARDIAN_REMAINS) take_event(j, &batch[i]);
    stop_for_failure(j);
    for (int i = 0; i < count; i++)
        if (batch[i].kind == GUARDIAN_REMAINS) take_event(j, &batch[i]);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) lose_guardian(j);
}

static void on_signal(uv_signal_t *handle, int signal) {
    job *j = handle->data;
    if (j->ending.signal == 0) j->ending.signal = signal;
    if (j->state == JOB_REAPED)
        uv_stop(&j->loop); /* only our slow reader was still waited for */
    else if (j->state == JOB_STOPPING)
        kill_all(j);
    else
        stop_ranks(j, LAUNCHER_STOP_SIGNAL, signal);
}

static void on_window(uv_signal_t *handle, int signal) {
    job *j = handle->data;
    (void)signal;
    launcher_control_tell_terminal(j->control);
}

static void on_output_failed(int fd, int error, void *cookie) {
    job *j = cookie;
    if (fd != 1) return; /* nobody to tell */
    if (error == EPIPE) {
        stop_ranks(j, LAUNCHER_STOP_OUTPUT, SIGTERM);
        return;
    }
    j->output_lost = true;
    fprintf(stderr, "tandem: cannot write the ranks' standard output: %s; the job goes on without\n",
            strerror(error));
}

static void on_output_finished(void *cookie) { uv_stop(&((job *)cookie)->loop); }

/* --- making it ------------------------------------------------------------------------------------------ */

static td_status open_descriptors(job *j) {
    j->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (j->null < 0) return td_fail_errno(errno, "launcher", "cannot open /dev/null");
    TD_TRY(td_job_make_arena(&j->arena));
    TD_TRY(launcher_port_reserve(&j->facts.port, &j->port));
    TD_TRY(launcher_output_open(j->n, j->options->prefix, j->tails, &j->output));
    return launcher_control_open(j->ranks, j->n, &j->control);
}

static void gather_facts(job *j) {
    uint8_t id[16] = {0};
    int share = td_core_count() / j->n;
    j->facts.world_size = j->n;
    j->facts.threads = share > 1 ? share : 1;
    j->facts.stall_timeout = j->options->stall_timeout;
    j->facts.arena_fd = j->arena;
    if (getrandom(id, sizeof id, GRND_NONBLOCK) < 0) memcpy(id, &(int64_t){td_clock_ns()}, sizeof(int64_t));
    for (size_t i = 0; i < sizeof id; i++) snprintf(j->facts.run_id + 2 * i, 3, "%02x", id[i]);
}

/* Does a terminal stand behind our standard input that is at the moment somebody else's? Rank 0 is in a
 * session of its own, so nothing would keep it from taking the shell's keystrokes. */
static bool is_in_background(void) {
    pid_t foreground = tcgetpgrp(0);
    return foreground > 0 && foreground != getpgrp();
}

static td_status prepare_ranks(job *j) {
    extern char **environ;
    int first_input = is_in_background() ? j->null : -1;
    for (int i = 0; i < j->n; i++) {
        launcher_spawn *s = &j->spawns[i];
        int control = launcher_control_end(j->control, i);
        *s = (launcher_spawn){.path = j->path, .argv = j->options->program, .inherited = &j->inherited};
        TD_TRY(launcher_environment_make(&j->facts, i, control, environ, &s->envp));
        s->standard[0] = i == 0 ? first_input : j->null;
        s->standard[1] = launcher_output_end(j->output, i, 1);
        s->standard[2] = launcher_output_end(j->output, i, 2);
        s->kept[0] = j->arena;
        s->kept[1] = control;
        s->kept[2] = -1;
    }
    return TD_OK;
}

static td_status make_ranks(job *j) {
    size_t n = (size_t)j->n;
    j->ranks = td_calloc(n, sizeof *j->ranks);
    j->tails = td_calloc(n, sizeof *j->tails);
    j->spawns = td_calloc(n, sizeof *j->spawns);
    if (!j->ranks || !j->tails || !j->spawns) return TD_ERR_MEMORY;
    for (int i = 0; i < j->n; i++) {
        j->ranks[i].lost = -1;
        j->tails[i] = &j->ranks[i].errors;
    }
    return TD_OK;
}

static td_status watch_signals(job *j) {
    for (int i = 0; launcher_stop_signals[i]; i++) {
        if (sigismember(&j->inherited.ignored, launcher_stop_signals[i])) continue;
        TD_TRY(launcher_from_uv(uv_signal_init(&j->loop, &j->signals[i]), "cannot watch signals"));
        j->signals[i].data = j;
        TD_TRY(launcher_from_uv(uv_signal_start(&j->signals[i], on_signal, launcher_stop_signals[i]),
                                "cannot watch signals"));
    }
    if (!isatty(2)) return TD_OK;
    TD_TRY(launcher_from_uv(uv_signal_init(&j->loop, &j->window), "cannot watch signals"));
    j->window.data = j;
    return launcher_from_uv(uv_signal_start(&j->window, on_window, SIGWINCH), "cannot watch signals");
}

/* The guardian is there: watch it, and all that ranks may say. */
static td_status start_watching(job *j) {
    TD_TRY(launcher_from_uv(uv_loop_init(&j->loop), "cannot make the event loop"));
    j->loop_made = true;
    uv_timer_init(&j->loop, &j->deadline);
    j->deadline.data = j;
    TD_TRY(watch_signals(j));
    TD_TRY(
        launcher_from_uv(uv_poll_init(&j->loop, &j->guardian_watch, j->socket), "cannot watch the guardian"));
    j->guardian_watch.data = j;
    TD_TRY(launcher_from_uv(uv_poll_start(&j->guardian_watch, UV_READABLE | UV_DISCONNECT, on_guardian),
                            "cannot watch the guardian"));
    TD_TRY(launcher_control_start(j->control, &j->loop));
    return launcher_output_start(j->output, &j->loop,
                                 (launcher_output_events){on_output_failed, on_output_finished, j});
}

static void close_handle(uv_handle_t *handle, void *cookie) {
    (void)cookie;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void release(job *j) {
    launcher_output_stop(j->output);
    launcher_control_stop(j->control);
    if (j->loop_made) {
        uv_walk(&j->loop, close_handle, NULL);
        uv_run(&j->loop, UV_RUN_DEFAULT);
        uv_loop_close(&j->loop);
    }
    launcher_output_close(&j->output);
    launcher_control_close(&j->control);
    if (j->socket >= 0) close(j->socket); /* ends the guardian, and with it whatever runs */
    if (j->guardian > 0) waitpid(j->guardian, NULL, 0);
    for (int i = 0; i < j->n && j->ranks && j->spawns; i++) {
        launcher_tail_free(&j->ranks[i].errors);
        td_free(j->spawns[i].envp);
    }
    td_free(j->ranks);
    td_free(j->tails);
    td_free(j->spawns);
    for (int *fd = (int[]){j->null, j->arena, j->port, INT_MIN}; *fd != INT_MIN; fd++)
        if (*fd >= 0) close(*fd);
}

/* --- from beginning to end ------------------------------------------------------------------------------ */

static td_status start(job *j, int *exit_code) {
    TD_TRY(launcher_find_program(j->options->program[0], j->path, sizeof j->path, exit_code));
    TD_TRY(make_ranks(j));
    TD_TRY(open_descriptors(j));
    gather_facts(j);
    TD_TRY(prepare_ranks(j));
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* heir to the guardian, should that be killed */
    TD_TRY(launcher_guardian_start(j->spawns, j->n, &j->guardian, &j->socket));
    j->state = JOB_SPAWNING;
    return start_watching(j);
}

/* Judge, report, and give the status. */
static int conclude(job *j) {
    uv_run(&j->loop, UV_RUN_NOWAIT); /* the last words on the control channels */
    launcher_verdict verdict = launcher_judge(j->ranks, j->n, &j->ending);
    if (verdict.exit_code == 0 && j->output_lost) verdict.exit_code = LAUNCHER_EXIT_OWN;
    if (launcher_output_is_mid_line(j->output) && verdict.exit_code != 0) fputc('\n', stderr);
    launcher_report_print(stderr, &verdict, j->ranks, j->n, &j->ending);
    int exit_code = verdict.exit_code;
    if (j->options->report &&
        launcher_report_write(j->options->report, &verdict, j->ranks, j->n, &j->ending) < 0) {
        fprintf(stderr, "tandem: the report is not written: %s\n", td_error_last()->text);
        if (exit_code == 0) exit_code = LAUNCHER_EXIT_OWN;
    }
    fflush(stderr);
    return exit_code;
}

int launcher_run_job(const launcher_options *options) {
    job j = {.options = options, .n = (int)options->ranks, .null = -1, .arena = -1, .port = -1, .socket = -1};
    int exit_code = LAUNCHER_EXIT_OWN;
    launcher_settle(&j.inherited);
    if (start(&j, &exit_code) < 0) {
        fprintf(stderr, "tandem: %s\n", td_error_last()->text);
    } else {
        uv_run(&j.loop, UV_RUN_DEFAULT);
        exit_code = conclude(&j);
    }
    int signal = j.ending.signal;
    release(&j);
    return signal ? launcher_die_of(signal) : exit_code;
}
