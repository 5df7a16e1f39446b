/*
 * What each rank executes: the words of the command line made into a path and arguments. torchrun's forms (a
 * path that ends in .py, -m, --run-path, --no-python) are resolved here; anything else is executed as it is.
 * Central object: launcher_program, found once per job, read by every attempt.
 */
#ifndef TANDEM_LAUNCHER_PROGRAM_H
#define TANDEM_LAUNCHER_PROGRAM_H

#include "launcher/options.h"

#include <limits.h>

typedef struct launcher_program {
    char path[PATH_MAX];   /* to execute */
    bool text;             /* without a known beginning: if the kernel refuses it, /bin/sh reads it */
    char folder[PATH_MAX]; /* of --wdir, absolute; "": where the launcher is */
    const char *front[5];  /* python3 -u -m; ends with NULL */
    char **words;          /* the user's, behind these; *lent* by the options */
    bool substitutes;      /* torchrun's macros in the words: ${local_rank} */
} launcher_program;

/* What `options` say is to be run; it must be there and executable, its interpreter too. On failure *exit_code
 * is 127 (not found) or 126 (found, but not executable), as a shell says it, or stays. */
td_status launcher_program_find(const launcher_options *options, launcher_program *program, int *exit_code);

/* argv of a rank: ends with NULL, *yours*, one block for td_free; parts of it point into the program. */
td_status launcher_program_arguments(const launcher_program *program, int local_rank, char ***argv);

/* The path of this very program. */
td_status launcher_own_path(char *path, size_t bytes);

#endif
