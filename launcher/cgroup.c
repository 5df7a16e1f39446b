/* Where version 1 is mounted too, version 2 lies in a folder of its own beside it. */
#include "launcher/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "tandem-"

/* Our own group in version 2, below its mount; false when there is none. */
static bool find_own(char *path, size_t bytes) {
    char text[4096];
    int file = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    text[got > 0 ? got : 0] = 0;
    char *line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    if (!line) return false;
    line = strchr(line, '/');
    if (!line) return false;
    line[strcspn(line, "\n")] = 0;
    if (strcmp(line, "/") == 0) *line = 0;
    static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    for (int i = 0; i < 2; i++) {
        char procs[PATH_MAX];
        if (snprintf(procs, sizeof procs, "%s%s/cgroup.procs", mounts[i], line) >= (int)sizeof procs) break;
        if (access(procs, W_OK) == 0) return snprintf(path, bytes, "%s%s", mounts[i], line) < (int)bytes;
    }
    return false;
}

static void write_kill(int folder) {
    int file = openat(folder, "cgroup.kill", O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t wrote = write(file, "1", 1);
    (void)wrote; /* nobody there */
    close(file);
}

static int remove_folder(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)where;
    if (kind == FTW_DP) rmdir(path);
    return 0; /* the kernel's own files go with their folder */
}

/* Ranks may have made groups below, another `tandem run` for one. */
static bool remove_path(const char *path) {
    if (rmdir(path) == 0 || access(path, F_OK) != 0) return true;
    nftw(path, remove_folder, 8, FTW_DEPTH | FTW_PHYS);
    return access(path, F_OK) != 0;
}

/* The open and locked folder; -1: it is not there, or has an owner. */
static int take(const char *path) {
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) == 0) return folder;
    if (folder >= 0) close(folder);
    return -1;
}

static void clear_up(const char *own) {
    DIR *dir = opendir(own);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[PATH_MAX];
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0) continue;
        if (snprintf(path, sizeof path, "%s/%s", own, entry->d_name) >= (int)sizeof path) continue;
        int folder = take(path);
        if (folder < 0) continue;
        write_kill(folder);
        remove_path(path); /* unless something in it has not gone yet: next time */
        close(folder);
    }
    if (dir) closedir(dir);
}

void launcher_cgroup_make(launcher_cgroup *group, int attempt) {
    char own[PATH_MAX - 64];
    *group = (launcher_cgroup){0};
    if (!find_own(own, sizeof own)) return;
    clear_up(own);
    snprintf(group->path, sizeof group->path, "%s/" PREFIX "%d-%d", own, (int)getpid(), attempt);
    if (mkdir(group->path, 0755) != 0) return;
    int folder = take(group->path);
    if (folder >= 0 && faccessat(folder, "cgroup.kill", W_OK, 0) == 0) {
        group->folder = folder;
        return;
    }
    if (folder >= 0) close(folder);
    rmdir(group->path);
}

void launcher_cgroup_kill(const launcher_cgroup *group) {
    if (group->folder > 0) write_kill(group->folder);
}

bool launcher_cgroup_remove(const launcher_cgroup *group) {
    return group->folder <= 0 || remove_path(group->path);
}

void launcher_cgroup_close(launcher_cgroup *group) {
    if (group->folder > 0) close(group->folder);
    *group = (launcher_cgroup){0};
}
