/* Texts for people; one function per moment. */
#include "worker/summary.h"

#include "base/clock.h"
#include "base/number.h"
#include "worker/sync.h"

#include <stdio.h>

static const char *plural(int64_t count) { return count == 1 ? "" : "s"; }

void worker_say_start(const worker_run *run) {
    worker_display *d = run->display;
    worker_display_line(d, "%s%d rank%s%s, backend %s, %d core%s each; first step after %s",
                        worker_display_bold(d), run->world_size, plural(run->world_size),
                        worker_display_plain(d), td_group_backend(run->group), run->threads,
                        plural(run->threads),
                        td_format_seconds((double)(td_clock_ns() - run->started_ns) * 1e-9).text);
    worker_sync_say(run);
    worker_display_line(d, "%s%s%s: %s parameters; %s training and %s test samples", worker_display_bold(d),
                        run->zoo->name, worker_display_plain(d), td_format_count(run->parameters).text,
                        td_format_count(td_dataset_count(run->data.train)).text,
                        td_format_count(td_dataset_count(run->data.test)).text);
}

void worker_say_score(const worker_run *run, const worker_score *score) {
    worker_display *d = run->display;
    worker_display_drop_bar(d);
    worker_display_line(d, "test accuracy %s%.2f %%%s (%s of %s), loss %.4f", worker_display_bold(d),
                        100 * (double)score->correct / (double)score->samples, worker_display_plain(d),
                        td_format_count(score->correct).text, td_format_count(score->samples).text,
                        score->loss);
}

/* "61.2 MB", "61.2 and 60.9 MB", or the least and the most of many. */
static void describe_memory(const int64_t *bytes, int count, char *text, size_t size) {
    int64_t least = INT64_MAX, most = 0;
    for (int r = 0; r < count; r++) {
        if (bytes[r] < least) least = bytes[r];
        if (bytes[r] > most) most = bytes[r];
    }
    if (count == 1)
        snprintf(text, size, "%s", td_format_bytes(most).text);
    else if (count == 2)
        snprintf(text, size, "%s and %s", td_format_bytes(bytes[0]).text, td_format_bytes(bytes[1]).text);
    else
        snprintf(text, size, "%s to %s", td_format_bytes(least).text, td_format_bytes(most).text);
}

void worker_say_end(const worker_run *run, double seconds, const int64_t *peak_memory) {
    worker_display *d = run->display;
    char memory[96];
    describe_memory(peak_memory, run->world_size, memory, sizeof memory);
    worker_display_line(d, "%s steps in %s, %s samples/s; peak memory per rank %s",
                        td_format_count(run->step).text, td_format_seconds(seconds).text,
                        td_format_count((int64_t)run->totals.samples_per_second).text, memory);
    if (run->options.save) worker_display_line(d, "weights saved in %s", run->options.save);
    if (run->saver.saved.bytes) worker_display_line(d, "checkpoint saved in %s", run->saver.saved.path);
    if (!run->options.checkpoint) worker_say_next(run);
}

void worker_say_stopped(const worker_run *run, const char *path, const char *command) {
    worker_display_finish_bar(run->display);
    worker_display_line(run->display, "stopped after step %s, saved in %s; to go on: %s",
                        td_format_count(run->step).text, path, command);
}
