/* Reads /proc, the environment and the terminal. */
#include "worker/platform.h"

#include "base/number.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int64_t worker_peak_memory(void) {
    FILE *file = fopen("/proc/self/status", "re");
    if (!file) return 0;
    char line[256];
    long long kib = 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lld", &kib) == 1) break;
    fclose(file);
    return kib * 1024;
}

int worker_choose_threads(int64_t wanted, const char *omp_num_threads, int share, int *excess) {
    *excess = 0;
    if (wanted) return (int)wanted;
    /* OMP_NUM_THREADS may list a number per nesting level; the first is ours. */
    char first[16] = "";
    if (omp_num_threads)
        snprintf(first, sizeof first, "%.*s", (int)strcspn(omp_num_threads, ","), omp_num_threads);
    int64_t users;
    if (!*first || td_parse_i64(first, &users) < 0 || users < 1 || users > 1024) return share;
    if (users > share) *excess = (int)users;
    return (int)users;
}

/* Is there such a program in a folder of the PATH, and, when `same_as` is given, is it that file? */
static bool search_path(const char *program, const char *same_as) {
    const char *path = getenv("PATH");
    char file[PATH_MAX], real[PATH_MAX];
    for (; path && *path; path += strcspn(path, ":"), path += *path == ':') {
        int length = (int)strcspn(path, ":");
        if (snprintf(file, sizeof file, "%.*s/%s", length, path, program) >= (int)sizeof file) continue;
        if (access(file, X_OK)) continue;
        if (!same_as || (realpath(file, real) && strcmp(real, same_as) == 0)) return true;
    }
    return false;
}

bool worker_is_on_path(const char *program) { return search_path(program, NULL); }

void worker_program_name(char *name, size_t bytes) {
    char self[PATH_MAX], here[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0) {
        snprintf(name, bytes, "tandem");
        return;
    }
    self[length] = 0;
    size_t inside = getcwd(here, sizeof here) ? strlen(here) : 0;
    if (search_path("tandem", self))
        snprintf(name, bytes, "tandem");
    else if (inside && strncmp(self, here, inside) == 0 && self[inside] == '/')
        snprintf(name, bytes, "%s%s", strchr(self + inside + 1, '/') ? "" : "./", self + inside + 1);
    else
        snprintf(name, bytes, "%s", self);
}

int worker_terminal_columns(int fd) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size)) return 0;
    return size.ws_col ? size.ws_col : 80;
}
