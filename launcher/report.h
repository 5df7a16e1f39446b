/* What the launcher says at the end: a few lines for people, and JSON for `--report`. */
#ifndef TANDEM_LAUNCHER_REPORT_H
#define TANDEM_LAUNCHER_REPORT_H

#include "launcher/stacks.h"
#include "launcher/verdict.h"

#include <jansson.h>
#include <stdio.h>

/* All that is known of an attempt at its end; *lent*. */
typedef struct launcher_account {
    launcher_verdict verdict;
    const launcher_rank *ranks;
    int n;
    int attempt; /* its number, from 0 */
    const launcher_ending *ending;
    const launcher_stacks *stacks; /* of ranks that were stuck; NULL */
} launcher_account;

/* Nothing for an attempt that went well. */
void launcher_report_print(FILE *out, const launcher_account *account);

/* An earlier attempt in a few words, for the report of the last; *yours*, or NULL without memory. */
json_t *launcher_report_summarize(const launcher_account *account);

/* The whole file or nothing. `earlier` is an array of summaries, or NULL. */
td_status launcher_report_write(const char *path, const launcher_account *account, const json_t *earlier);

#endif
