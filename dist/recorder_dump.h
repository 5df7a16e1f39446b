/* Writing a recorder as a file. */
#ifndef TANDEM_DIST_RECORDER_DUMP_H
#define TANDEM_DIST_RECORDER_DUMP_H

#include "dist/recorder_ring.h"

/* How it comes that a record is written. */
typedef struct td_record_note {
    const char *reason;
    int by;        /* the world rank that writes, -1: another program */
    bool final;    /* the rank will call nothing more, as far as this job goes */
    int64_t at_ns; /* as of when (td_clock_ns), 0: now */
} td_record_note;

/* Write it into `folder`, whole or not at all. */
td_status td_recorder_write(const td_recorder *recorder, const char *folder, const td_record_note *note);

/* This rank's record, and those of its machine if `all`; note->by is filled in. */
td_status td_recorder_dump(td_job *job, const char *folder, bool all, td_record_note note);

#endif
