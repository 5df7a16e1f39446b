/* A container may see its own group as the root of the mount, so of the group's path every tail is tried, from the
 * longest; the root itself last. A group without the controller (one of ours) is counted in the next above. */
#include "launcher/proc.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

pid_t launcher_proc_tracer(pid_t pid) {
    char path[64], line[256];
    int tracer = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "TracerPid: %d", &tracer) == 1) break;
    fclose(file);
    return tracer;
}

/* The number behind "oom_kill " at a line's beginning; -1. */
static int64_t read_count(const char *path) {
    char line[256];
    int64_t count = -1;
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "oom_kill %" SCNd64, &count) == 1) break;
    fclose(file);
    return count;
}

static int64_t count_in_group(const char *root, const char *mount, const char *group, const char *name) {
    char path[1600];
    for (const char *tail = group; tail; tail = *tail ? strchr(tail + 1, '/') : NULL)
        for (size_t n = strlen(tail); n > 1; n = (size_t)((char *)memrchr(tail, '/', n) - tail)) {
            snprintf(path, sizeof path, "%s/sys/fs/cgroup%s%.*s/%s", root, mount, (int)n, tail, name);
            int64_t count = read_count(path);
            if (count >= 0) return count;
        }
    snprintf(path, sizeof path, "%s/sys/fs/cgroup%s/%s", root, mount, name);
    return read_count(path);
}

/* "4:memory:/path" is version 1, "0::/path" version 2. */
static int64_t count_of_line(const char *root, char *line) {
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) return -1;
    *group++ = 0;
    controllers++;
    if (strcmp(controllers, "memory") == 0)
        return count_in_group(root, "/memory", group, "memory.oom_control");
    if (*controllers == 0) return count_in_group(root, "", group, "memory.events");
    return -1;
}

int64_t launcher_proc_oom_kills(const char *root) {
    char path[512], line[1024];
    int64_t count = -1;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file && count < 0 && fgets(line, sizeof line, file)) count = count_of_line(root, line);
    if (file) fclose(file);
    snprintf(path, sizeof path, "%s/proc/vmstat", root);
    return count >= 0 ? count : read_count(path);
}
