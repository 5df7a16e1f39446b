/* Writing a recorder as a file. */
#ifndef TANDEM_DIST_RECORDER_DUMP_H
#define TANDEM_DIST_RECORDER_DUMP_H

#include "dist/recorder_ring.h"

/* Write it into `folder`, whole or not at all. `by` is the world rank that writes, -1: another program. */
td_status td_recorder_write(const td_recorder *recorder, const char *folder, const char *reason, int by);

#endif
