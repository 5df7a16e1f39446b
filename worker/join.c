/* From here on lines of the library come out through this rank's display, marked with its rank. */
#include "worker/join.h"

#include "base/log.h"
#include "base/parallel.h"
#include "dist/recorder.h"
#include "worker/crash.h"
#include "worker/platform.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "tandem train: rank 1: " , or without the rank where there is only one. */
static void write_prefix(const worker_run *run, char *text, size_t bytes) {
    if (run->world_size > 1)
        snprintf(text, bytes, "tandem train: rank %d: ", run->rank);
    else
        snprintf(text, bytes, "tandem train: ");
}

static void say_note(worker_run *run, const char *kind, const char *text) {
    char prefix[64], line[1024];
    write_prefix(run, prefix, sizeof prefix);
    snprintf(line, sizeof line, "%s%s%s", prefix, kind, text);
    worker_display_note(run->display, line);
}

static void on_log(td_log_level level, const char *origin, const char *text, void *cookie) {
    (void)origin;
    say_note(cookie, level == TD_LOG_WARN ? "warning: " : "", text);
}

void worker_complain(worker_run *run) {
    worker_display_finish_bar(run->display);
    say_note(run, "", td_error_last()->text);
}

/* People's text goes to standard output, or to standard error when that is for machines. */
static td_status open_display(worker_run *run) {
    if (run->rank != 0) return TD_OK;
    FILE *out = run->options.json ? stderr : stdout;
    int columns = td_job_launcher(run->job) == TD_LAUNCHER_TANDEM ? td_job_terminal_columns(run->job)
                                                                  : worker_terminal_columns(fileno(out));
    run->display = worker_display_open(out, columns);
    return run->display ? TD_OK : TD_ERR_MEMORY;
}

static void say_refusals(worker_run *run) {
    if (!run->options.verbose || run->rank != 0) return;
    const char *line = td_group_refusals(run->group);
    for (; *line; line += strcspn(line, "\n"), line += *line == '\n')
        worker_display_line(run->display, "%.*s", (int)strcspn(line, "\n"), line);
}

static td_status settle_threads(worker_run *run) {
    int excess, share = td_group_compute_threads(run->group);
    run->threads = worker_choose_threads(run->options.threads, getenv("OMP_NUM_THREADS"), share, &excess);
    if (excess && run->rank == 0)
        td_log_line(
            TD_LOG_WARN, "train",
            "OMP_NUM_THREADS is %d, but the share of each rank is %d core%s; this is likely to be slow",
            excess, share, share == 1 ? "" : "s");
    return td_parallel_set_threads(run->threads);
}

td_status worker_join(worker_run *run) {
    if (run->options.trace_dir) setenv(TD_ENV_TRACE_DIR, run->options.trace_dir, 1);
    TD_TRY(td_job_open(&run->job));
    run->rank = td_job_rank(run->job);
    run->world_size = td_job_world_size(run->job);
    td_job_progress(run->job, TD_PHASE_JOINING, 0);
    worker_crash_watch(run->job);
    TD_TRY(open_display(run));
    td_log_set_hook(on_log, run->options.verbose ? TD_LOG_INFO : TD_LOG_WARN, run);
    td_group_options options = {.backend = run->options.backend,
                                .device = TD_DEVICE_CPU,
                                .stall_timeout = run->options.stall_timeout};
    TD_TRY(td_group_open(run->job, &options, &run->group));
    say_refusals(run);
    return settle_threads(run);
}

void worker_leave(worker_run *run) {
    td_group_close(&run->group);
    td_log_set_hook(NULL, TD_LOG_WARN, NULL);
    worker_display_close(&run->display);
    td_job_close(&run->job);
}
