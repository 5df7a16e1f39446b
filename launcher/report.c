/* The culprit comes first, with the end of what it wrote to standard error; then, apart, what happened to the
 * others because of it. */
#include "launcher/report.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/number.h"
#include "dist/progress.h"

#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

enum { TAIL_LINES_PRINTED = 5, TAIL_LINES_WRITTEN = 20 };

typedef struct phrase {
    char text[160];
} phrase;
typedef struct word {
    char text[32];
} word;

static word signal_name(int signal) {
    word p;
    const char *name = sigabbrev_np(signal);
    if (name)
        snprintf(p.text, sizeof p.text, "SIG%s", name);
    else
        snprintf(p.text, sizeof p.text, "signal %d", signal);
    return p;
}

static double seconds_of(const launcher_rank *rank) {
    return rank->ended_ns > rank->started_ns ? (double)(rank->ended_ns - rank->started_ns) * 1e-9 : 0;
}

/* "exited with 3", "was killed by SIGSEGV (core dumped)", "could not be executed: Permission denied" */
static phrase describe_end(const launcher_rank *rank) {
    phrase p;
    int status = rank->wait_status;
    if (rank->life == LAUNCHER_UNSTARTED)
        snprintf(p.text, sizeof p.text, "could not be %s: %s",
                 rank->stage == LAUNCHER_STAGE_EXEC   ? "executed"
                 : rank->stage == LAUNCHER_STAGE_BIND ? "bound to its CPUs"
                                                      : "started",
                 strerror(rank->error));
    else if (rank->mpi_fault == LAUNCHER_MPI_ABORTED)
        snprintf(p.text, sizeof p.text, "called MPI_Abort with %d", rank->mpi_code);
    else if (rank->life != LAUNCHER_ENDED)
        snprintf(p.text, sizeof p.text, "did not end");
    else if (WIFSIGNALED(status))
        snprintf(p.text, sizeof p.text, "was killed by %s%s%s", signal_name(WTERMSIG(status)).text,
                 WCOREDUMP(status) ? " (core dumped)" : "",
                 rank->out_of_memory ? ", probably out of memory," : "");
    else
        snprintf(p.text, sizeof p.text, "exited with %d", WEXITSTATUS(status));
    return p;
}

/* ", training, at step 7", where it told. */
static phrase describe_progress(const launcher_rank *rank) {
    phrase p = {""};
    const char *phase = td_phase_name(rank->phase);
    if (rank->step > 0)
        snprintf(p.text, sizeof p.text, ", %s, at step %lld", phase, (long long)rank->step);
    else if (rank->phase != TD_PHASE_NONE)
        snprintf(p.text, sizeof p.text, ", %s", phase);
    return p;
}

/* What it did to those that run MPI with it; empty: nothing. */
static phrase describe_mpi(const launcher_rank *rank) {
    phrase p = {""};
    switch (rank->mpi_fault) {
    case LAUNCHER_MPI_NO_FAULT:
    case LAUNCHER_MPI_ABORTED: break;
    case LAUNCHER_MPI_UNFINISHED: snprintf(p.text, sizeof p.text, ", without MPI_Finalize"); break;
    case LAUNCHER_MPI_MISSED:
        snprintf(p.text, sizeof p.text, ", while others waited for it in MPI_Init or MPI_Finalize");
        break;
    }
    return p;
}

/* The rank that named the culprit; NULL when it failed by itself. */
static const launcher_rank *find_who_lost(const launcher_rank *ranks, int n, int culprit) {
    for (int i = 0; i < n; i++)
        if (i != culprit && ranks[i].lost == culprit) return &ranks[i];
    return NULL;
}

typedef enum victim_cause {
    VICTIM_NONE,    /* left with 0 by itself, or never started */
    VICTIM_LOST,    /* failed because it lost another rank */
    VICTIM_STOPPED, /* left when it was told to */
    VICTIM_KILLED,  /* had to be killed */
    VICTIM_FAILED,  /* failed by itself, later than the culprit */
} victim_cause;
static const char *const cause_names[] = {"none", "lost", "stopped", "killed", "failed"};

static victim_cause cause_of(const launcher_rank *rank, const launcher_ending *ending) {
    if (rank->life == LAUNCHER_WAITING ||
        (rank->life == LAUNCHER_ENDED && rank->wait_status == 0 && !rank->told_to_stop))
        return VICTIM_NONE;
    if (rank->lost >= 0) return VICTIM_LOST;
    if (!rank->told_to_stop) return VICTIM_FAILED;
    bool killed = rank->life == LAUNCHER_ENDED && WIFSIGNALED(rank->wait_status) &&
                  WTERMSIG(rank->wait_status) == SIGKILL;
    return killed && ending->killed ? VICTIM_KILLED : VICTIM_STOPPED;
}

/* --- for people ----------------------------------------------------------------------------------------- */

static void print_tail_line(const char *line, void *out) { fprintf(out, "  | %s\n", line); }

static void print_culprit(FILE *out, const launcher_rank *ranks, int n, int culprit, int exit_code,
                          const launcher_ending *ending) {
    const launcher_rank *c = &ranks[culprit], *loser = find_who_lost(ranks, n, culprit);
    fprintf(out, "tandem: rank %d", culprit);
    if (c->pid > 0) fprintf(out, " (pid %d)", (int)c->pid);
    if (ending->stop == LAUNCHER_STOP_STALL && !loser)
        fprintf(out, " did not get on for %s%s\n", td_format_seconds(ending->idle).text,
                describe_progress(c).text);
    else if (exit_code == LAUNCHER_EXIT_STALLED && loser)
        fprintf(out, " did not come to %s, where rank %d waited for it\n", loser->lost_in,
                (int)(loser - ranks));
    else if (c->life == LAUNCHER_UNSTARTED)
        fprintf(out, " %s\n", describe_end(c).text);
    else {
        fprintf(out, " %s after %s", describe_end(c).text, td_format_seconds(seconds_of(c)).text);
        if (exit_code == LAUNCHER_EXIT_LEFT_EARLY && c->wait_status == 0 && loser)
            fprintf(out, ", in the middle of %s of rank %d", loser->lost_in, (int)(loser - ranks));
        fprintf(out, "%s%s\n", describe_progress(c).text, describe_mpi(c).text);
    }
    if (c->exception) fprintf(out, "  error: %s\n", c->exception);
    if (n > 1) launcher_tail_lines(&c->errors, TAIL_LINES_PRINTED, print_tail_line, out);
}

/* "rank 3", "ranks 0, 2 and 5", "ranks 1-7": those for which `is` holds. */
static void print_ranks(FILE *out, const bool *is, int n) {
    int count = 0;
    for (int i = 0; i < n; i++) count += is[i];
    fprintf(out, count == 1 ? "  rank" : "  ranks");
    const char *separator = " ";
    for (int i = 0; i < n; i++) {
        if (!is[i]) continue;
        int last = i;
        while (last + 1 < n && is[last + 1]) last++;
        if (last - i >= 2)
            fprintf(out, "%s%d-%d", separator, i, last);
        else
            last = i, fprintf(out, "%s%d", separator, i);
        separator = ", ";
        i = last;
    }
}

/* Many ranks usually share one fate: one line then. */
static void print_fate(FILE *out, const launcher_rank *ranks, int n, int culprit,
                       const launcher_ending *ending, victim_cause cause, const char *fate) {
    bool *is = calloc((size_t)n, sizeof *is);
    bool any = false;
    for (int i = 0; is && i < n; i++) any |= is[i] = i != culprit && cause_of(&ranks[i], ending) == cause;
    if (any) {
        print_ranks(out, is, n);
        fprintf(out, " %s\n", fate);
    }
    free(is);
}

static void print_victims(FILE *out, const launcher_rank *ranks, int n, int culprit,
                          const launcher_ending *ending) {
    for (int i = 0; i < n; i++) {
        const launcher_rank *r = &ranks[i];
        if (i == culprit) continue;
        if (cause_of(r, ending) == VICTIM_LOST)
            fprintf(out, "  rank %d (pid %d) lost rank %d in %s and %s\n", i, (int)r->pid, r->lost,
                    r->lost_in, describe_end(r).text);
        if (cause_of(r, ending) == VICTIM_FAILED) {
            fprintf(out, "  rank %d (pid %d) %s", i, (int)r->pid, describe_end(r).text);
            if (culprit >= 0)
                fprintf(out, ", %s later",
                        td_format_seconds((double)(r->ended_ns - ranks[culprit].ended_ns) * 1e-9).text);
            fputc('\n', out);
        }
    }
    print_fate(out, ranks, n, culprit, ending, VICTIM_STOPPED,
               culprit >= 0 ? "stopped because of that" : "stopped");
    print_fate(out, ranks, n, culprit, ending, VICTIM_KILLED,
               "did not stop when told to, and had to be killed");
}

void launcher_report_print(FILE *out, const launcher_account *account) {
    const launcher_verdict *verdict = &account->verdict;
    const launcher_rank *ranks = account->ranks;
    const launcher_ending *ending = account->ending;
    int n = account->n;
    switch (ending->stop) {
    case LAUNCHER_STOP_NONE:
    case LAUNCHER_STOP_FAILURE: break;
    case LAUNCHER_STOP_OWN: fprintf(out, "tandem: %s\n", ending->trouble); break;
    case LAUNCHER_STOP_STALL: break; /* is the culprit's */
    case LAUNCHER_STOP_TIMEOUT: fprintf(out, "tandem: stopped, because --timeout is over\n"); break;
    case LAUNCHER_STOP_SIGNAL:
        fprintf(out, "tandem: stopped by %s\n", signal_name(ending->signal).text);
        break;
    case LAUNCHER_STOP_OUTPUT:
        fprintf(out, "tandem: stopped, because whoever read the output has closed it\n");
        break;
    }
    if (verdict->culprit >= 0) print_culprit(out, ranks, n, verdict->culprit, verdict->exit_code, ending);
    if (verdict->exit_code != 0) print_victims(out, ranks, n, verdict->culprit, ending);
    if (ending->left_behind > 0)
        fprintf(out, "tandem: %d process%s left behind by the ranks had to be stopped\n", ending->left_behind,
                ending->left_behind == 1 ? "" : "es");
    if (ending->spared > 0)
        fprintf(out, "tandem: %d process%s left behind by the ranks (--leave-daemons)\n", ending->spared,
                ending->spared == 1 ? "" : "es");
}

/* --- for machines --------------------------------------------------------------------------------------- */

static void append_tail_line(const char *line, void *array) {
    json_array_append_new(array, json_string(line));
}

/* "2026-11-24T15:30:00.123Z" of a moment on the monotonic clock. */
static word time_of(int64_t at_ns) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - (td_clock_ns() - at_ns);
    struct tm tm;
    time_t seconds = (time_t)(ns / 1000000000);
    word text;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(text.text, sizeof text.text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text.text + n, sizeof text.text - n, ".%03dZ", (int)(ns % 1000000000 / 1000000));
    return text;
}

static const char *const mpi_names[] = {NULL, "aborted", "unfinished", "missed"}; /* by launcher_mpi_fault */

static json_t *describe_rank(const launcher_rank *rank, int number) {
    bool ended = rank->life == LAUNCHER_ENDED, signaled = ended && WIFSIGNALED(rank->wait_status);
    json_t *lines = json_array();
    launcher_tail_lines(&rank->errors, TAIL_LINES_WRITTEN, append_tail_line, lines);
    json_t *o = json_object();
    json_object_set_new(o, "rank", json_integer(number));
    json_object_set_new(o, "pid", rank->pid > 0 ? json_integer(rank->pid) : json_null());
    json_object_set_new(o, "exit_code",
                        ended && !signaled ? json_integer(WEXITSTATUS(rank->wait_status)) : json_null());
    json_object_set_new(o, "signal",
                        signaled ? json_string(signal_name(WTERMSIG(rank->wait_status)).text) : json_null());
    json_object_set_new(o, "core_dumped", json_boolean(signaled && WCOREDUMP(rank->wait_status)));
    json_object_set_new(o, "out_of_memory", json_boolean(rank->out_of_memory));
    json_object_set_new(o, "ended_at",
                        rank->ended_ns ? json_string(time_of(rank->ended_ns).text) : json_null());
    json_object_set_new(o, "seconds", json_real(seconds_of(rank)));
    json_object_set_new(o, "reason", json_string(describe_end(rank).text));
    json_object_set_new(o, "mpi",
                        mpi_names[rank->mpi_fault] ? json_string(mpi_names[rank->mpi_fault]) : json_null());
    json_object_set_new(o, "step", rank->step >= 0 ? json_integer(rank->step) : json_null());
    json_object_set_new(o, "phase", rank->step >= 0 ? json_string(td_phase_name(rank->phase)) : json_null());
    json_object_set_new(o, "lost_rank", rank->lost >= 0 ? json_integer(rank->lost) : json_null());
    json_object_set_new(o, "lost_in", rank->lost >= 0 ? json_string(rank->lost_in) : json_null());
    json_object_set_new(o, "error", rank->exception ? json_string(rank->exception) : json_null());
    json_object_set_new(o, "traceback", rank->traceback ? json_string(rank->traceback) : json_null());
    json_object_set_new(o, "stderr_tail", lines);
    return o;
}

static json_t *describe_victims(const launcher_account *account, bool in_full) {
    json_t *victims = json_array();
    for (int i = 0; i < account->n; i++) {
        victim_cause cause = cause_of(&account->ranks[i], account->ending);
        if (i == account->verdict.culprit || cause == VICTIM_NONE || account->verdict.exit_code == 0)
            continue;
        json_t *victim = describe_rank(&account->ranks[i], i);
        if (!in_full) json_object_del(victim, "stderr_tail"), json_object_del(victim, "traceback");
        json_object_set_new(victim, "cause", json_string(cause_names[cause]));
        json_array_append_new(victims, victim);
    }
    return victims;
}

static json_t *describe(const launcher_account *account, bool in_full) {
    const launcher_ending *ending = account->ending;
    int culprit = account->verdict.culprit;
    json_t *o = json_object();
    json_object_set_new(o, "status", json_string(account->verdict.status));
    json_object_set_new(o, "exit_code", json_integer(account->verdict.exit_code));
    json_object_set_new(o, "attempt", json_integer(account->attempt));
    json_object_set_new(o, "ranks", json_integer(account->n));
    json_object_set_new(o, "signal",
                        ending->signal ? json_string(signal_name(ending->signal).text) : json_null());
    json_object_set_new(o, "trouble", *ending->trouble ? json_string(ending->trouble) : json_null());
    json_object_set_new(o, "left_behind", json_integer(ending->left_behind));
    json_object_set_new(o, "spared", json_integer(ending->spared));
    json_object_set_new(o, "preempted", json_boolean(ending->preempted));
    json_object_set_new(o, "culprit",
                        culprit >= 0 ? describe_rank(&account->ranks[culprit], culprit) : json_null());
    json_object_set_new(o, "victims", describe_victims(account, in_full));
    return o;
}

json_t *launcher_report_summarize(const launcher_account *account) { return describe(account, false); }

td_status launcher_report_write(const char *path, const launcher_account *account, const json_t *earlier) {
    json_t *o = describe(account, true);
    json_object_set_new(o, "stacks", launcher_stacks_describe(account->stacks));
    json_object_set_new(o, "earlier_attempts", earlier ? json_deep_copy(earlier) : json_array());
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(o);
    if (!text) return td_fail(TD_ERR_MEMORY, 0, "launcher", "no memory for the report");
    size_t length = strlen(text);
    text[length] = '\n'; /* over the closing zero, which td_file_write_whole does not need */
    td_status status = td_file_write_whole(path, text, length + 1);
    free(text);
    return status;
}
