/* A file read as a stream of bytes, unpacked on the way when it is gzipped. Internal. */
#ifndef TANDEM_SAMPLER_BYTE_SOURCE_H
#define TANDEM_SAMPLER_BYTE_SOURCE_H

#include "base/status.h"

#include <stdio.h>
#include <zlib.h>

typedef struct sampler_source {
    FILE *file;       /* lent */
    const char *name; /* lent; for messages */
    bool zipped;
    bool member_ended; /* gzip: the last member is complete, and the next, if any, not begun */
    z_stream zip;      /* next_in and avail_in also serve a plain file */
    uint64_t taken;    /* bytes of the file itself that were read */
    uint8_t buffer[1 << 16];
} sampler_source;

/* Look at the first bytes and be ready to read. Close it also after a failure. */
td_status sampler_source_open(sampler_source *source, FILE *file, const char *name);
/* Read `want` bytes, fewer only at the end. TD_ERR_FORMAT: the gzip stream is damaged, cut short, or followed
 * by something that is none. */
td_status sampler_source_read(sampler_source *source, uint8_t *out, size_t want, size_t *got);
void sampler_source_close(sampler_source *source);

#endif
