/*
 * What stands in front of each line: torchrun's template, ${name} or $name replaced and $$ a dollar, names that are
 * not known left as they are (Python's string.Template.safe_substitute). Known are role_name, rank, local_rank and
 * hostname, as in torchrun; of ours host (the same), stream ("stdout" or "stderr"), attempt, and time (ISO 8601
 * with milliseconds, local, when the line was forwarded).
 */
#ifndef TANDEM_LAUNCHER_PREFIX_H
#define TANDEM_LAUNCHER_PREFIX_H

#include "launcher/buffer.h"

typedef struct launcher_prefix {
    const char *template; /* *lent*; NULL: no prefix */
    const char *role, *stream;
    int rank, attempt;
    launcher_buffer text; /* as last made */
    bool timed;           /* has ${time} in it */
    int64_t made_ms;      /* the time that it shows */
} launcher_prefix;

/* The text to put, valid until the next call; *n is 0 where there is none. */
const char *launcher_prefix_text(launcher_prefix *prefix, size_t *n);

void launcher_prefix_free(launcher_prefix *prefix);

#endif
