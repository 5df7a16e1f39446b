/* The flight recorders of an attempt that failed: ranks write their own when they notice, if they get so far; what
 * the others called stands in the shared memory that the launcher holds. */
#ifndef TANDEM_LAUNCHER_RECORDS_H
#define TANDEM_LAUNCHER_RECORDS_H

#include "launcher/report.h"

/* Write them into `folder` (NULL: nothing is done) if the attempt whose shared memory is `arena` failed, and tell
 * on standard error where they are. */
void launcher_records_write(int arena, const launcher_account *account, const char *folder);

#endif
