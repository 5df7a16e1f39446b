/* From the options' texts to a table of routes. */
#include "launcher/routes.h"

#include "base/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { OUT = 1, ERR = 2, STREAMS_MOST = OUT | ERR };

/* --- reading texts -------------------------------------------------------------------------------------- */

/* A decimal number at *at, which moves behind it; -1 when there is none. */
static long read_number(const char **at) {
    if (**at < '0' || **at > '9') return -1;
    char *end;
    errno = 0;
    long number = strtol(*at, &end, 10);
    *at = end;
    return errno || number > INT_MAX ? -1 : number;
}

static td_status refuse_streams(const char *option, const char *text) {
    return td_fail(
        TD_ERR_ARG, 0, "launcher",
        "--%s %s: give 0 (none), 1 (stdout), 2 (stderr) or 3 (both), or that for each local rank, as "
        "in 0:3,1:2",
        option, text);
}

/* "3" for all ranks, or "0:1,1:2"; ranks that are not named, or not there, do not count. */
static td_status read_streams(const char *option, const char *text, int n, unsigned char *streams) {
    memset(streams, 0, (size_t)n);
    if (!text) return TD_OK;
    const char *at = text;
    long number = read_number(&at);
    if (number >= 0 && *at == 0) {
        if (number > STREAMS_MOST) return refuse_streams(option, text);
        memset(streams, (int)number, (size_t)n);
        return TD_OK;
    }
    for (;;) {
        if (number < 0 || *at++ != ':') return refuse_streams(option, text);
        long value = read_number(&at);
        if (value < 0 || value > STREAMS_MOST) return refuse_streams(option, text);
        if (number < n) streams[number] = (unsigned char)value;
        if (*at == 0) return TD_OK;
        if (*at++ != ',') return refuse_streams(option, text);
        number = read_number(&at);
    }
}

/* "0,2": which ranks are shown. */
static td_status read_ranks(const char *text, int n, bool *shown) {
    for (int i = 0; i < n; i++) shown[i] = !text || !*text;
    if (!text || !*text) return TD_OK;
    for (const char *at = text;; at++) {
        while (*at == ' ') at++;
        long rank = read_number(&at);
        while (*at == ' ') at++;
        if (rank < 0 || (*at && *at != ','))
            return td_fail(TD_ERR_ARG, 0, "launcher",
                           "--local-ranks-filter %s: give local ranks with commas between them, as in 0,1,2",
                           text);
        if (rank < n) shown[rank] = true;
        if (*at == 0) return TD_OK;
    }
}

/* Cut at commas; a double comma is one that is meant. */
static td_status read_filters(const char *text, char ***filters) {
    *filters = NULL;
    if (!text) return TD_OK;
    size_t n = strlen(text), most = 2;
    for (const char *c = text; *c; c++) most += *c == ',';
    char **list = td_alloc(most * sizeof *list + n + 1);
    if (!list) return TD_ERR_MEMORY;
    char *to = (char *)(list + most);
    size_t count = 0;
    list[count++] = to;
    for (const char *at = text; *at; at++) {
        if (*at != ',') {
            *to++ = *at;
        } else if (at[1] == ',') {
            *to++ = *at++;
        } else {
            *to++ = 0;
            list[count++] = to;
        }
    }
    *to = 0;
    list[count] = NULL;
    *filters = list;
    return TD_OK;
}

static td_status read_input(const launcher_log_options *options, int n, int *input) {
    const char *text = options->input ? options->input : "0", *at = text;
    *input = -1;
    if (strcmp(text, "none") == 0) return TD_OK;
    long rank = read_number(&at);
    if (rank < 0 || *at)
        return td_fail(TD_ERR_ARG, 0, "launcher",
                       "--stdin %s: give the rank that reads our standard input, or none", text);
    if (rank >= n)
        return td_fail(TD_ERR_ARG, 0, "launcher", "--stdin %s: the job has %d rank%s, 0 to %d", text, n,
                       n == 1 ? "" : "s", n - 1);
    *input = (int)rank;
    return TD_OK;
}

/* --- the table ------------------------------------------------------------------------------------------ */

static launcher_route decide(bool redirected, bool teed, bool shown, bool filtered) {
    return (launcher_route){.console = shown && (teed || !redirected),
                            .file = redirected || teed,
                            .duplicate = filtered && teed && shown};
}

static td_status fill(const launcher_log_options *options, launcher_routes *r, unsigned char *redirects,
                      unsigned char *tee, bool *shown) {
    bool nowhere = options->dir && strcmp(options->dir, "/dev/null") == 0;
    TD_TRY(read_streams("redirects", options->redirects, r->n, redirects));
    TD_TRY(read_streams("tee", options->tee, r->n, tee));
    TD_TRY(read_ranks(options->ranks_filter, r->n, shown));
    TD_TRY(read_filters(options->stdout_filters, &r->filters[0]));
    TD_TRY(read_filters(options->stderr_filters, &r->filters[1]));
    TD_TRY(read_input(options, r->n, &r->input));
    if (nowhere && (r->filters[0] || r->filters[1]))
        return td_fail(TD_ERR_ARG, 0, "launcher",
                       "--duplicate-%s-filters writes a file, but --log-dir /dev/null means no files",
                       r->filters[0] ? "stdout" : "stderr");
    r->wants_files = !nowhere && options->dir;
    for (int i = 0; i < r->n; i++)
        for (int stream = 0; stream < 2; stream++) {
            int bit = stream == 0 ? OUT : ERR;
            launcher_route *route = &r->of[i][stream];
            *route = nowhere ? (launcher_route){.console = true}
                             : decide(redirects[i] & bit, tee[i] & bit, shown[i], r->filters[stream] != NULL);
            r->wants_files |= route->file;
        }
    return TD_OK;
}

/* What of a rank's streams is not for a file alone comes out of its terminal as one. */
static void join_on_terminal(launcher_route route[LAUNCHER_STREAMS]) {
    for (int stream = LAUNCHER_ERR; stream >= LAUNCHER_OUT; stream--) {
        launcher_route *r = &route[stream], *terminal = &route[LAUNCHER_TERMINAL];
        if (r->file && !r->console) continue;
        r->on_terminal = true;
        terminal->console |= r->console;
        terminal->file |= r->file;
        terminal->duplicate |= r->duplicate;
    }
}

td_status launcher_routes_make(const launcher_log_options *options, int n, launcher_routes *routes) {
    launcher_routes r = {.n = n, .fold = options->fold, .pty = options->pty};
    r.of = td_calloc((size_t)n, sizeof *r.of);
    unsigned char *scratch = td_calloc(3, (size_t)n);
    td_status status = r.of && scratch ? TD_OK : TD_ERR_MEMORY;
    if (status >= 0) status = fill(options, &r, scratch, scratch + n, (bool *)(scratch + 2 * n));
    td_free(scratch);
    if (status < 0) {
        launcher_routes_free(&r);
        *routes = r;
        return status;
    }
    for (int i = 0; r.pty && i < n; i++) join_on_terminal(r.of[i]);
    r.template = options->prefix_template && *options->prefix_template ? options->prefix_template
                 : options->prefix                                     ? "[rank ${rank}] "
                                                                       : NULL;
    r.tee_template = r.template ? r.template : "[${role_name}${local_rank}]:";
    *routes = r;
    return TD_OK;
}

void launcher_routes_free(launcher_routes *routes) {
    td_free(routes->of);
    for (int i = 0; i < 2; i++) td_free(routes->filters[i]);
    *routes = (launcher_routes){0};
}

bool launcher_filters_match(char *const *filters, const char *line, size_t n) {
    for (; *filters; filters++)
        if (memmem(line, n, *filters, strlen(*filters))) return true;
    return false;
}
