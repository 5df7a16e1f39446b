/* A terminal for a rank: a pair of descriptors, both close-on-exec. */
#ifndef TANDEM_LAUNCHER_PTY_H
#define TANDEM_LAUNCHER_PTY_H

#include "base/status.h"

/* ends[0] is ours, ends[1] becomes the rank's; *yours*. It behaves like our own terminal where we have one, but never
 * adds carriage returns to what is written. */
td_status launcher_pty_open(int ends[2]);

/* The size of our own terminal, less `less` columns for a prefix, becomes that of this one; 80 columns and 24 rows
 * where we have none. Its foreground processes are told. */
void launcher_pty_resize(int end, size_t less);

#endif
