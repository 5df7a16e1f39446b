/*
 * What a failed rank has written about itself: torchrun's contract is that TORCHELASTIC_ERROR_FILE names a file
 * in which a worker leaves, as JSON, the exception that ended it (Python's @record does). Such files lie in the
 * log tree or, without one, in a folder of their own that is gone with the attempt.
 */
#ifndef TANDEM_LAUNCHER_ERRORS_H
#define TANDEM_LAUNCHER_ERRORS_H

#include "base/status.h"

#include <limits.h>

/* Make a folder in $TMPDIR, else in memory (/dev/shm), else in /tmp; "" where that is not possible, and ranks then have no such file. */
void launcher_errors_make_folder(char path[PATH_MAX]);

/* Remove it with the files in it; nothing when it is "" or not there any more. */
void launcher_errors_remove_folder(const char *path);

/* Read what a rank wrote. *line is the last line of its traceback, or else its message; *traceback the whole of
 * it, or NULL. Both *yours*, for free(), and untouched when there is no file or no sense in it. */
void launcher_errors_read(const char *path, char **line, char **traceback);

#endif
