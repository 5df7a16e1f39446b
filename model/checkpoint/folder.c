/* rename() is what makes things appear at once; renameat2(RENAME_EXCHANGE) where something stands there already. */
#include "model/checkpoint/folder.h"

#include "base/memory.h"
#include "base/number.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char step_prefix[] = "step-", hidden_prefix[] = ".step-";

/* --- names ---------------------------------------------------------------------------------------------- */

td_status checkpoint_join(const char *path, const char *name, char **joined) {
    size_t bytes = strlen(path) + strlen(name) + 2;
    char *made = td_alloc(bytes);
    if (!made) return TD_ERR_MEMORY;
    snprintf(made, bytes, "%s/%s", path, name);
    *joined = made;
    return TD_OK;
}

td_status checkpoint_path(const char *folder, int64_t step, char **path) {
    char name[64];
    snprintf(name, sizeof name, "%s%08lld", step_prefix, (long long)step);
    return checkpoint_join(folder, name, path);
}

/* The step in a checkpoint's name, or -1. */
static int64_t step_of(const char *name) {
    size_t n = sizeof step_prefix - 1;
    int64_t step;
    if (strncmp(name, step_prefix, n) != 0 || strspn(name + n, "0123456789") != strlen(name + n)) return -1;
    const td_error before = *td_error_last();
    if (td_parse_i64(name + n, &step) == TD_OK) return step;
    td_error_restore(&before);
    return -1;
}

static int newest_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

static td_status collect_steps(DIR *entries, int64_t **steps, size_t *count) {
    int64_t *found = NULL;
    size_t n = 0, room = 0;
    for (struct dirent *e; (e = readdir(entries));) {
        int64_t step = step_of(e->d_name);
        if (step < 0) continue;
        if (n == room) {
            room = room ? 2 * room : 8;
            int64_t *grown = td_realloc(found, room, sizeof *found);
            if (!grown) {
                td_free(found);
                return TD_ERR_MEMORY;
            }
            found = grown;
        }
        found[n++] = step;
    }
    if (n) qsort(found, n, sizeof *found, newest_first);
    *steps = found;
    *count = n;
    return TD_OK;
}

td_status checkpoint_steps(const char *folder, int64_t **steps, size_t *count) {
    *steps = NULL;
    *count = 0;
    DIR *entries = opendir(folder);
    if (!entries && errno == ENOENT) return TD_OK;
    if (!entries) return td_fail_errno(errno, "checkpoint", "cannot read folder %s", folder);
    td_status status = collect_steps(entries, steps, count);
    closedir(entries);
    return status;
}

/* --- appearing ------------------------------------------------------------------------------------------ */

static int sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno;
    int errnum = fsync(fd) && errno != EINVAL ? errno : 0; /* some file systems cannot sync folders */
    close(fd);
    return errnum;
}

td_status checkpoint_make_folder(const char *folder) {
    struct stat about;
    if (mkdir(folder, 0777) == 0) {
        char *parent = NULL;
        if (checkpoint_join(folder, "..", &parent) == TD_OK) sync_folder(parent);
        td_free(parent);
        return TD_OK;
    }
    if (errno != EEXIST) return td_fail_errno(errno, "checkpoint", "cannot make folder %s", folder);
    if (stat(folder, &about) == 0 && S_ISDIR(about.st_mode)) return TD_OK;
    return td_fail_errno(ENOTDIR, "checkpoint", "cannot write checkpoints in %s", folder);
}

/* mkdtemp would make it ours alone, and asking for the umask changes it for other threads. */
td_status checkpoint_begin(const char *folder, int64_t step, char **temporary) {
    char name[96], *path = NULL;
    int errnum = EEXIST;
    for (int number = 0; errnum == EEXIST && number < 1000; number++) {
        snprintf(name, sizeof name, "%s%08lld.%d-%d", hidden_prefix, (long long)step, (int)getpid(), number);
        td_free(path);
        TD_TRY(checkpoint_join(folder, name, &path));
        errnum = mkdir(path, 0777) ? errno : 0;
    }
    if (errnum) {
        td_free(path);
        return td_fail_errno(errnum, "checkpoint", "cannot write checkpoints in %s", folder);
    }
    *temporary = path;
    return TD_OK;
}

/* As rename, where `to` may be a folder with files in it, which then bears the old name. */
static int take_place(const char *from, const char *to) {
    if (rename(from, to) == 0) return 0;
    if (errno != EEXIST && errno != ENOTEMPTY) return errno;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0) {
        checkpoint_remove_temporary(from);
        return 0;
    }
    return errno;
}

td_status checkpoint_publish(const char *folder, int64_t step, const char *temporary) {
    char *path = NULL;
    TD_TRY(checkpoint_path(folder, step, &path));
    int errnum = take_place(temporary, path);
    if (!errnum) errnum = sync_folder(folder);
    td_status status = errnum ? td_fail_errno(errnum, "checkpoint", "cannot write %s", path) : TD_OK;
    td_free(path);
    return status;
}

/* --- going ---------------------------------------------------------------------------------------------- */

void checkpoint_remove_temporary(const char *path) {
    DIR *entries = opendir(path);
    if (!entries) return;
    for (struct dirent *e; (e = readdir(entries));) unlinkat(dirfd(entries), e->d_name, 0);
    closedir(entries);
    rmdir(path);
}

void checkpoint_remove(const char *folder, int64_t step) {
    const td_error before = *td_error_last();
    char *path = NULL, *hidden = NULL;
    if (checkpoint_path(folder, step, &path) == TD_OK && checkpoint_begin(folder, step, &hidden) == TD_OK &&
        rename(path, hidden) == 0)
        checkpoint_remove_temporary(hidden);
    else if (hidden)
        rmdir(hidden);
    td_free(path);
    td_free(hidden);
    td_error_restore(&before);
}

void checkpoint_prune(const char *folder, int keep, int64_t step) {
    const td_error before = *td_error_last();
    int64_t *steps = NULL;
    size_t count = 0;
    if (checkpoint_steps(folder, &steps, &count) == TD_OK)
        for (size_t i = (size_t)keep; i < count; i++)
            if (steps[i] != step) checkpoint_remove(folder, steps[i]);
    td_free(steps);
    td_error_restore(&before);
}

void checkpoint_sweep(const char *folder) {
    DIR *entries = opendir(folder);
    if (!entries) return;
    for (struct dirent *e; (e = readdir(entries));) {
        char *path = NULL;
        if (strncmp(e->d_name, hidden_prefix, sizeof hidden_prefix - 1) != 0) continue;
        if (checkpoint_join(folder, e->d_name, &path) == TD_OK) checkpoint_remove_temporary(path);
        td_free(path);
    }
    closedir(entries);
}
