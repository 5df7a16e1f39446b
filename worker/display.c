/* On a terminal the last line is rewritten in place; elsewhere a line is printed at each tenth of the run and
 * whenever nothing has been said for a while. */
#include "worker/display.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/number.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const double BAR_SECONDS = 0.1;  /* between two pictures of the bar */
static const double LINE_SECONDS = 1.4; /* of silence before a plain line is due, whatever the progress */
static const double PLAIN_BEAT = 0.4;   /* with LINE_SECONDS: never silent for 2 s */
enum { NARROWEST_BAR = 10, WIDEST_BAR = 40, LONGEST_LINE = 512 };

struct worker_display {
    FILE *out;
    int columns;
    bool colour;
    pthread_mutex_t lock;       /* for notes from other threads */
    char bar[LONGEST_LINE + 1]; /* what stands on the terminal's last line without its end; "" is nothing */
    int64_t shown_ns;           /* when something was last printed */
    int64_t shown_tenth;        /* of the run, by the last plain line */
};

static double seconds_since(int64_t ns) { return (double)(td_clock_ns() - ns) * 1e-9; }

static bool wants_colour(int columns) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return columns > 0 && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

worker_display *worker_display_open(FILE *out, int columns) {
    worker_display *d = td_calloc(1, sizeof *d);
    if (!d) return NULL;
    d->out = out;
    d->columns = columns;
    d->colour = wants_colour(columns);
    d->shown_ns = td_clock_ns();
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

double worker_display_beat(const worker_display *d) { return d && d->columns ? BAR_SECONDS : PLAIN_BEAT; }

const char *worker_display_bold(const worker_display *d) { return d && d->colour ? "\033[1m" : ""; }
const char *worker_display_plain(const worker_display *d) { return d && d->colour ? "\033[0m" : ""; }

static void wipe_bar(worker_display *d) {
    if (d->bar[0]) fputs("\r\033[K", d->out);
}

static void print_line(worker_display *d, const char *text) {
    pthread_mutex_lock(&d->lock);
    wipe_bar(d);
    fprintf(d->out, "%s\n", text);
    fputs(d->bar, d->out);
    fflush(d->out);
    d->shown_ns = td_clock_ns();
    pthread_mutex_unlock(&d->lock);
}

void worker_display_line(worker_display *d, const char *format, ...) {
    if (!d) return;
    char text[5000]; /* a command line and more */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    print_line(d, text);
}

static void draw_bar(worker_display *d, const char *text) {
    pthread_mutex_lock(&d->lock);
    wipe_bar(d);
    snprintf(d->bar, sizeof d->bar, "%s", text);
    fputs(d->bar, d->out);
    fflush(d->out);
    d->shown_ns = td_clock_ns();
    pthread_mutex_unlock(&d->lock);
}

/* Whole seconds for what is an estimate; nothing at the end. */
static void describe_left(const worker_progress *p, char *text, size_t bytes) {
    double whole = ceil(p->seconds_left);
    *text = 0;
    if (p->step == p->steps) return;
    if (whole < 100)
        snprintf(text, bytes, "  %d s left", (int)whole);
    else
        snprintf(text, bytes, "  %s left", td_format_seconds(whole).text);
}

static void describe_progress(const worker_progress *p, char *text, size_t bytes) {
    char of[32] = "", left[48];
    if (p->epochs) snprintf(of, sizeof of, "/%lld", (long long)p->epochs);
    describe_left(p, left, sizeof left);
    snprintf(text, bytes, "epoch %lld%s  %3d %%  loss %.4f  accuracy %.2f %%  %s samples/s%s",
             (long long)p->epoch, of, (int)(100 * p->step / p->steps), p->loss, 100 * p->accuracy,
             td_format_count((int64_t)p->samples_per_second).text, left);
}

/* [======>     ] of `width` characters, brackets included, or nothing when that is too narrow. */
static void draw_gauge(int64_t done, int64_t count, int width, char *text) {
    *text = 0;
    if (width < NARROWEST_BAR) return;
    if (width > WIDEST_BAR) width = WIDEST_BAR;
    int filled = count ? (int)((width - 2) * done / count) : 0;
    *text++ = '[';
    for (int i = 0; i < width - 2; i++) *text++ = i < filled ? '=' : i == filled ? '>' : ' ';
    memcpy(text, "] ", 3);
}

static void show_bar(worker_display *d, int64_t done, int64_t count, const char *text) {
    char gauge[WIDEST_BAR + 2], line[LONGEST_LINE];
    draw_gauge(done, count, d->columns - (int)strlen(text) - 2, gauge);
    snprintf(line, sizeof line, "%s%s", gauge, text);
    if (d->columns <= (int)strlen(line)) line[d->columns - 1] = 0;
    draw_bar(d, line);
}

void worker_display_progress(worker_display *d, const worker_progress *p) {
    if (!d) return;
    char text[LONGEST_LINE / 2];
    int64_t tenth = 10 * p->step / p->steps;
    bool finished = p->step == p->steps;
    if (d->columns) {
        if (!finished && d->bar[0] && seconds_since(d->shown_ns) < BAR_SECONDS) return;
    } else if (tenth == d->shown_tenth && seconds_since(d->shown_ns) < LINE_SECONDS) {
        return;
    }
    describe_progress(p, text, sizeof text);
    if (d->columns)
        show_bar(d, p->step, p->steps, text);
    else
        print_line(d, text);
    d->shown_tenth = tenth;
}

void worker_display_testing(worker_display *d, int64_t done, int64_t count) {
    if (!d || seconds_since(d->shown_ns) < (d->columns ? BAR_SECONDS : LINE_SECONDS)) return;
    char text[64];
    snprintf(text, sizeof text, "testing  %3d %%", (int)(100 * done / count));
    if (d->columns)
        show_bar(d, done, count, text);
    else
        print_line(d, text);
}

void worker_display_finish_bar(worker_display *d) {
    if (!d || !d->bar[0]) return;
    pthread_mutex_lock(&d->lock);
    fputc('\n', d->out);
    fflush(d->out);
    d->bar[0] = 0;
    pthread_mutex_unlock(&d->lock);
}

void worker_display_drop_bar(worker_display *d) {
    if (!d || !d->bar[0]) return;
    pthread_mutex_lock(&d->lock);
    wipe_bar(d);
    fflush(d->out);
    d->bar[0] = 0;
    pthread_mutex_unlock(&d->lock);
}

void worker_display_note(worker_display *d, const char *text) {
    if (!d) {
        fprintf(stderr, "%s\n", text);
        return;
    }
    pthread_mutex_lock(&d->lock);
    wipe_bar(d);
    fflush(d->out);
    fprintf(stderr, "%s\n", text);
    fputs(d->bar, d->out);
    fflush(d->out);
    pthread_mutex_unlock(&d->lock);
}

void worker_display_close(worker_display **display) {
    worker_display *d = *display;
    if (!d) return;
    worker_display_finish_bar(d);
    pthread_mutex_destroy(&d->lock);
    td_free(d);
    *display = NULL;
}
