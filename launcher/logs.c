/* Folders are made whole before the first rank starts, so that a place that cannot be written is an error of the
 * command line and not of a job that runs. */
#include "launcher/logs.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct launcher_logs {
    launcher_routes routes;
    const char *role;
    bool named, has_files;
    char folder[PATH_MAX];
};

static td_status fail_folder(const char *path, int error) {
    return td_fail_errno(error, "launcher", "cannot make the log folder %s", path);
}

static td_status make_folder(const char *path) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return TD_OK;
    return fail_folder(path, errno);
}

/* As mkdir -p does. */
static td_status make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        td_status status = make_folder(path);
        *slash = '/';
        TD_TRY(status);
    }
    TD_TRY(make_folder(path));
    struct stat st;
    if (stat(path, &st) != 0) return fail_folder(path, errno);
    return S_ISDIR(st.st_mode) ? TD_OK
                               : td_fail(TD_ERR_ARG, 0, "launcher", "--log-dir %s is not a folder", path);
}

/* Where the tree stands: what the user named, or a new folder for what is temporary. */
static td_status make_base(const char *named, char *path, size_t bytes) {
    const char *temporary = getenv("TMPDIR");
    int length =
        named ? snprintf(path, bytes, "%s", named)
              : snprintf(path, bytes, "%s/tandem_XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (length >= PATH_MAX - NAME_MAX) return fail_folder(named ? named : temporary, ENAMETOOLONG);
    if (named) return make_folders(path);
    return mkdtemp(path) ? TD_OK : fail_folder(path, errno);
}

static td_status make_tree(launcher_logs *logs, const char *named, const char *run) {
    char base[PATH_MAX], name[NAME_MAX - 32];
    TD_TRY(make_base(named, base, sizeof base));
    snprintf(name, sizeof name, "%s", run);
    for (char *c = name; *c; c++)
        if (*c == '/') *c = '_';
    if ((size_t)snprintf(logs->folder, sizeof logs->folder, "%s/%s_XXXXXX", base, name) >=
        sizeof logs->folder)
        return fail_folder(base, ENAMETOOLONG);
    if (!mkdtemp(logs->folder)) return fail_folder(logs->folder, errno);
    logs->has_files = true;
    return TD_OK;
}

td_status launcher_logs_open(const launcher_log_options *options, int n, const char *run, const char *role,
                             launcher_logs **logs) {
    launcher_logs *l = td_calloc(1, sizeof *l);
    if (!l) return TD_ERR_MEMORY;
    l->role = role;
    l->named = options->dir != NULL;
    td_status status = launcher_routes_make(options, n, &l->routes);
    if (status >= 0 && l->routes.wants_files) status = make_tree(l, options->dir, run);
    if (status < 0) {
        launcher_logs_close(&l);
        return status;
    }
    *logs = l;
    return TD_OK;
}

const launcher_routes *launcher_logs_routes(const launcher_logs *logs) { return &logs->routes; }
const char *launcher_logs_role(const launcher_logs *logs) { return logs->role; }
const char *launcher_logs_folder(const launcher_logs *logs) { return logs->has_files ? logs->folder : NULL; }
bool launcher_logs_are_named(const launcher_logs *logs) { return logs->named; }

void launcher_logs_path(const launcher_logs *logs, int attempt, int rank, const char *name, char *path,
                        size_t bytes) {
    char folder[32] = "";
    if (rank >= 0) snprintf(folder, sizeof folder, "/%d", rank);
    snprintf(path, bytes, "%s/attempt_%d%s%s%s", logs->folder, attempt, folder, *name ? "/" : "", name);
}

td_status launcher_logs_begin(launcher_logs *logs, int attempt) {
    if (!logs->has_files) return TD_OK;
    char path[PATH_MAX + 64];
    for (int rank = -1; rank < logs->routes.n; rank++) {
        launcher_logs_path(logs, attempt, rank, "", path, sizeof path);
        TD_TRY(make_folder(path));
    }
    return TD_OK;
}

td_status launcher_logs_create(const char *path, launcher_log_file *file) {
    file->error = 0;
    file->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    return file->fd >= 0 ? TD_OK : td_fail_errno(errno, "launcher", "cannot make the log file %s", path);
}

void launcher_log_file_write(launcher_log_file *file, const char *bytes, size_t n) {
    while (n > 0 && file->fd >= 0 && !file->error) {
        ssize_t wrote = write(file->fd, bytes, n);
        if (wrote >= 0) {
            bytes += wrote;
            n -= (size_t)wrote;
        } else if (errno != EINTR)
            file->error = errno;
    }
}

void launcher_log_file_close(launcher_log_file *file) {
    if (file->fd >= 0) close(file->fd);
    file->fd = -1;
}

void launcher_logs_close(launcher_logs **logs) {
    if (!*logs) return;
    launcher_routes_free(&(*logs)->routes);
    td_free(*logs);
    *logs = NULL;
}
