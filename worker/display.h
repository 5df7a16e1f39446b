/*
 * What people see of a run: a header, a progress bar where there is a terminal and a line now and then where
 * there is none, results. Central object: worker_display, opened by the one rank that speaks (others pass
 * NULL everywhere, which does nothing). Warnings of the library go through it too, so that they never land in
 * the middle of the bar; so any thread may call worker_display_note, everything else is for the training
 * thread.
 */
#ifndef TANDEM_WORKER_DISPLAY_H
#define TANDEM_WORKER_DISPLAY_H

#include "base/types.h"

#include <stdio.h>

typedef struct worker_display worker_display;

/* Where training stands, for the whole job. */
typedef struct worker_progress {
    int64_t epoch, epochs; /* epoch counts from 1; epochs 0: as many as the steps take */
    int64_t step, steps;   /* done, and to do in all */
    double loss;           /* mean over all samples of the last step */
    double accuracy;       /* of the epoch's training samples so far, 0 to 1 */
    double samples_per_second;
    double seconds_left;
} worker_progress;

typedef struct worker_score {
    int64_t correct, samples;
    double loss; /* mean */
} worker_score;

/* `out` is *lent* until close. `columns` of the terminal behind it, 0 when there is none. NULL when there is
 * no memory, which costs the run its display only. */
worker_display *worker_display_open(FILE *out, int columns);

/* Seconds between two calls of worker_display_progress that keep the display lively. */
double worker_display_beat(const worker_display *display);

/* A line of its own, in full. */
void worker_display_line(worker_display *display, const char *format, ...) TD_PRINTF(2, 3);

/* Training goes on; shown when it is time. */
void worker_display_progress(worker_display *display, const worker_progress *progress);

/* `done` of `count` test samples are evaluated; shown when it is time. */
void worker_display_testing(worker_display *display, int64_t done, int64_t count);

/* The bar, if any, becomes a finished line that stays. */
void worker_display_finish_bar(worker_display *display);
/* Or it goes. */
void worker_display_drop_bar(worker_display *display);

/* A warning: to standard error, above the bar. With display NULL too. */
void worker_display_note(worker_display *display, const char *text);

void worker_display_close(worker_display **display);

/* "\033[1m" and such where the display is a terminal that may have colours, else "". */
const char *worker_display_bold(const worker_display *display);
const char *worker_display_plain(const worker_display *display);

#endif
