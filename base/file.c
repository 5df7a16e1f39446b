/* Whole-or-nothing writing: temporary in the same folder, fsync, rename, fsync of the folder. What is no regular
 * file (/dev/null, a terminal, a pipe) has no content to protect and must not be replaced by one, so it is
 * written straight away. */
#include "base/file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct td_file_writer {
    int fd;
    char *path;
    char *temporary; /* path + ".PID.NUMBER"; NULL: the path itself is written */
};

/* The descriptor that a path like /dev/stdout or /dev/fd/3 stands for, or -1. Opened by its name, a file behind
 * it would be written from its start. */
static int descriptor_of(const char *path) {
    static const char *const standard[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
    for (int fd = 0; fd < 3; fd++)
        if (strcmp(path, standard[fd]) == 0) return fd;
    int fd, end = 0;
    if (sscanf(path, "/dev/fd/%9d%n", &fd, &end) == 1 && !path[end]) return fd;
    if (sscanf(path, "/proc/self/fd/%9d%n", &fd, &end) == 1 && !path[end]) return fd;
    return -1;
}

/* Open w->path for writing straight away if that is what it is for, else leave w->fd at -1. */
static td_status open_special(td_file_writer *w) {
    struct stat about;
    int open_already = descriptor_of(w->path);
    if (open_already >= 0)
        w->fd = fcntl(open_already, F_DUPFD_CLOEXEC, 0);
    else if (stat(w->path, &about) || S_ISREG(about.st_mode))
        return TD_OK;
    else
        w->fd = open(w->path, O_WRONLY | O_NOCTTY | O_CLOEXEC); /* a folder refuses */
    return w->fd >= 0 ? TD_OK : td_fail_errno(errno, "base", "cannot write %s", w->path);
}

/* A symbolic link stays one; what it leads to is replaced. */
static char *resolve(const char *path) {
    struct stat about;
    char *target = !lstat(path, &about) && S_ISLNK(about.st_mode) ? realpath(path, NULL) : NULL;
    char *copy = td_strdup(target ? target : path);
    free(target);
    return copy;
}

/* mkostemp would make it ours alone, and asking for the umask changes it for other threads. */
static td_status make_temporary(td_file_writer *w) {
    size_t bytes = strlen(w->path) + sizeof ".0123456789.0123";
    w->temporary = td_alloc(bytes);
    if (!w->temporary) return TD_ERR_MEMORY;
    int errnum = EEXIST;
    for (int number = 0; errnum == EEXIST && number < 1000; number++) {
        snprintf(w->temporary, bytes, "%s.%d.%d", w->path, (int)getpid(), number);
        w->fd = open(w->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        errnum = w->fd < 0 ? errno : 0;
    }
    if (!errnum) return TD_OK;
    td_free(w->temporary);
    w->temporary = NULL;
    return td_fail_errno(errnum, "base", "cannot write %s", w->path);
}

td_status td_file_begin(const char *path, td_file_writer **writer) {
    td_file_writer *w = td_calloc(1, sizeof *w);
    if (!w) return TD_ERR_MEMORY;
    w->fd = -1;
    w->path = descriptor_of(path) >= 0 ? td_strdup(path) : resolve(path);
    td_status status = w->path ? open_special(w) : TD_ERR_MEMORY;
    if (status >= 0 && w->fd < 0) status = make_temporary(w);
    if (status < 0) {
        td_file_drop(&w);
        return status;
    }
    *writer = w;
    return TD_OK;
}

td_status td_file_write(td_file_writer *w, const void *data, size_t bytes) {
    const char *from = data;
    while (bytes) {
        ssize_t written = write(w->fd, from, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return td_fail_errno(errno, "base", "cannot write %s", w->path);
        from += written;
        bytes -= (size_t)written;
    }
    return TD_OK;
}

static int sync_folder_of(const char *path) {
    char copy[4096];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy) return ENAMETOOLONG;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno;
    int errnum = fsync(fd) && errno != EINVAL ? errno : 0; /* some file systems cannot sync folders */
    close(fd);
    return errnum;
}

/* A replaced file's mode stays. */
static void set_mode(td_file_writer *w) {
    struct stat old;
    if (stat(w->path, &old) == 0) fchmod(w->fd, old.st_mode & 07777);
}

td_status td_file_commit(td_file_writer **writer) {
    td_file_writer *w = *writer;
    int errnum = 0;
    if (w->temporary) {
        set_mode(w);
        if (fsync(w->fd)) errnum = errno;
    }
    if (close(w->fd) && !errnum) errnum = errno;
    w->fd = -1;
    if (!errnum && w->temporary && rename(w->temporary, w->path)) errnum = errno;
    if (!errnum && w->temporary) {
        td_free(w->temporary);
        w->temporary = NULL;
        errnum = sync_folder_of(w->path);
    }
    td_status status = errnum ? td_fail_errno(errnum, "base", "cannot write %s", w->path) : TD_OK;
    td_file_drop(writer);
    return status;
}

void td_file_drop(td_file_writer **writer) {
    td_file_writer *w = *writer;
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->temporary) unlink(w->temporary);
    td_free(w->temporary);
    td_free(w->path);
    td_free(w);
    *writer = NULL;
}

td_status td_file_write_whole(const char *path, const void *data, size_t bytes) {
    td_file_writer *writer = NULL;
    TD_TRY(td_file_begin(path, &writer));
    td_status status = td_file_write(writer, data, bytes);
    if (status < 0) {
        td_file_drop(&writer);
        return status;
    }
    return td_file_commit(&writer);
}

/* Read to the end; files in /proc say they have no size, so the size is only a first guess. */
static td_status read_all(int fd, const char *path, size_t guess, size_t limit, void **data, size_t *bytes) {
    size_t room = guess + 1, used = 0;
    char *buffer = td_alloc(room);
    if (!buffer) return TD_ERR_MEMORY;
    for (;;) {
        ssize_t got = read(fd, buffer + used, room - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            int errnum = errno;
            td_free(buffer);
            return td_fail_errno(errnum, "base", "cannot read %s", path);
        }
        used += (size_t)got;
        if (limit && used > limit) {
            td_free(buffer);
            return td_fail(TD_ERR_ARG, 0, "base", "%s is larger than %zu bytes", path, limit);
        }
        if (got == 0) break;
        if (used < room) continue;
        char *larger = td_realloc(buffer, room, 2);
        if (!larger) {
            td_free(buffer);
            return TD_ERR_MEMORY;
        }
        buffer = larger;
        room *= 2;
    }
    buffer[used] = 0; /* used < room: reading stops only when there was room left */
    *data = buffer;
    *bytes = used;
    return TD_OK;
}

td_status td_file_read(const char *path, size_t limit, void **data, size_t *bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return td_fail_errno(errno, "base", "cannot read %s", path);
    struct stat info;
    td_status status;
    if (fstat(fd, &info))
        status = td_fail_errno(errno, "base", "cannot read %s", path);
    else if (S_ISDIR(info.st_mode))
        status = td_fail_errno(EISDIR, "base", "cannot read %s", path);
    else if (limit && (uint64_t)info.st_size > limit)
        status = td_fail(TD_ERR_ARG, 0, "base", "%s is larger than %zu bytes", path, limit);
    else
        status = read_all(fd, path, (size_t)info.st_size, limit, data, bytes);
    close(fd);
    return status;
}
