/*
 * What the user wants of the ranks' output and input, and what that means for each stream of each rank: shown on
 * our output, written into a file, copied by lines into a combined file. Pure functions of the options; the words
 * and the rules are torchrun's (torch/distributed/elastic/multiprocessing/api.py), where it has them.
 */
#ifndef TANDEM_LAUNCHER_ROUTES_H
#define TANDEM_LAUNCHER_ROUTES_H

#include "base/status.h"

/* As given on the command line; a text that was not is NULL. All *lent*. */
typedef struct launcher_log_options {
    const char *dir;                             /* --log-dir */
    const char *redirects, *tee;                 /* "0" to "3", or "0:1,1:3" */
    const char *prefix_template;                 /* --log-line-prefix-template */
    const char *ranks_filter;                    /* --local-ranks-filter: "0,1,2" */
    const char *stdout_filters, *stderr_filters; /* --duplicate-...-filters: "apple,orange" */
    const char *input;                           /* --stdin: "0", or "none" */
    bool prefix, fold, pty;
} launcher_log_options;

/* The streams of a rank, by index. The third is there with --pty only: what is `on_terminal` of the others comes out
 * of it together, and goes where it goes. */
enum { LAUNCHER_OUT, LAUNCHER_ERR, LAUNCHER_TERMINAL, LAUNCHER_STREAMS };

/* One stream of one rank. */
typedef struct launcher_route {
    bool on_terminal;
    bool console;   /* to our own output */
    bool file;      /* to DIR/RUN/attempt_N/RANK/{stdout,stderr}.log */
    bool duplicate; /* its matching lines also to DIR/RUN/attempt_N/filtered_{stdout,stderr}.log */
} launcher_route;

typedef struct launcher_routes {
    int n;
    launcher_route (*of)[LAUNCHER_STREAMS]; /* of[rank] */
    char **filters[2];        /* of standard output and error: substrings, ends with NULL; NULL: none given */
    const char *template;     /* of the prefix; NULL: none */
    const char *tee_template; /* of teed streams */
    int input;                /* the rank that has our standard input; -1: none */
    bool fold, pty;
    bool wants_files; /* --log-dir names a place, or some stream needs one */
} launcher_routes;

/* TD_ERR_ARG names the option and what it should look like; *routes is then empty. */
td_status launcher_routes_make(const launcher_log_options *options, int n, launcher_routes *routes);
void launcher_routes_free(launcher_routes *routes);

/* Does the line contain one of these? */
bool launcher_filters_match(char *const *filters, const char *line, size_t n);

#endif
