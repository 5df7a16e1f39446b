/*
 * The tree of log files of a job, as torchrun makes it:
 *
 *     DIR/RUN_xxxxxxxx/attempt_N/RANK/stdout.log  stderr.log
 *     DIR/RUN_xxxxxxxx/attempt_N/filtered_stdout.log  filtered_stderr.log
 *
 * RUN is the job's id, xxxxxxxx makes it unique. Without --log-dir, where some stream needs a file, DIR is a new
 * folder in $TMPDIR. One object per job, *yours* from open to close; it also holds the routes that tell who needs
 * files. The loop's thread only.
 */
#ifndef TANDEM_LAUNCHER_LOGS_H
#define TANDEM_LAUNCHER_LOGS_H

#include "launcher/routes.h"

typedef struct launcher_logs launcher_logs;

/* Read the options and make DIR/RUN_xxxxxxxx, if anything needs files. `run` and `role` are *lent* until close. An
 * error names the option or the path. */
td_status launcher_logs_open(const launcher_log_options *options, int n, const char *run, const char *role,
                             launcher_logs **logs);

const launcher_routes *launcher_logs_routes(const launcher_logs *logs);
const char *launcher_logs_role(const launcher_logs *logs);

/* DIR/RUN_xxxxxxxx; NULL when there are no files. */
const char *launcher_logs_folder(const launcher_logs *logs);
/* Did the user name the place? If not, he is to be told. */
bool launcher_logs_are_named(const launcher_logs *logs);

/* Make attempt_N and a folder for each rank. Nothing when there are no files. */
td_status launcher_logs_begin(launcher_logs *logs, int attempt);

/* The path of a file of this attempt: of a rank, or with -1 of all. */
void launcher_logs_path(const launcher_logs *logs, int attempt, int rank, const char *name, char *path,
                        size_t bytes);

/* A file that we write or let a rank write: empty at first, only grows, close-on-exec. */
typedef struct launcher_log_file {
    int fd;    /* -1: none */
    int error; /* errno of the write that failed; from then on bytes are dropped */
} launcher_log_file;

td_status launcher_logs_create(const char *path, launcher_log_file *file);
void launcher_log_file_write(launcher_log_file *file, const char *bytes, size_t n);
void launcher_log_file_close(launcher_log_file *file);

void launcher_logs_close(launcher_logs **logs);

#endif
