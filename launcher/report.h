/* What the launcher says at the end: a few lines for people, and JSON for `--report`. */
#ifndef TANDEM_LAUNCHER_REPORT_H
#define TANDEM_LAUNCHER_REPORT_H

#include "launcher/verdict.h"

#include <stdio.h>

/* Nothing for a job that went well. */
void launcher_report_print(FILE *out, const launcher_verdict *verdict, const launcher_rank *ranks, int n,
                           const launcher_ending *ending);

/* The whole file or nothing. */
td_status launcher_report_write(const char *path, const launcher_verdict *verdict, const launcher_rank *ranks,
                                int n, const launcher_ending *ending);

#endif
