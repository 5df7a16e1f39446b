/*
 * MemAvailable, and on every level of the process's control group limit minus use, where inactive file pages
 * count as free because the kernel drops them before it kills. Both versions of cgroups.
 */
#include "dist/memory_left.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool read_text(const char *root, const char *path, char *text, size_t size) {
    char full[1200];
    snprintf(full, sizeof full, "%s%s", root, path);
    FILE *file = fopen(full, "re");
    if (!file) return false;
    size_t used = fread(text, 1, size - 1, file);
    fclose(file);
    text[used] = 0;
    return used > 0;
}

/* The number after `key` at a line's start. */
static bool find_number(const char *text, const char *key, uint64_t *value) {
    size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (!strncmp(line, key, length)) return sscanf(line + length, " %" SCNu64, value) == 1;
    }
    return false;
}

/* Narrow `left` to what the control group in this folder leaves. */
static void look_at_group(const char *root, const char *folder, bool v2, td_memory_left *left) {
    char path[1100], file[1100], text[8192];
    uint64_t limit, used, idle = 0;
    snprintf(file, sizeof file, "%s/%s", folder, v2 ? "memory.max" : "memory.limit_in_bytes");
    if (!read_text(root, file, text, sizeof text) || sscanf(text, "%" SCNu64, &limit) != 1) return;
    snprintf(path, sizeof path, "%s/%s", folder, v2 ? "memory.current" : "memory.usage_in_bytes");
    if (!read_text(root, path, text, sizeof text) || sscanf(text, "%" SCNu64, &used) != 1) return;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    if (read_text(root, path, text, sizeof text))
        find_number(text, v2 ? "inactive_file " : "total_inactive_file ", &idle);
    used -= idle < used ? idle : used;
    uint64_t rest = limit > used ? limit - used : 0;
    if (rest >= left->bytes) return;
    *left = (td_memory_left){.bytes = rest, .by_cgroup = true, .limit = limit, .used = used};
    memcpy(left->file, file, sizeof file);
}

/* The group's folder below its mount, from the line of /proc/self/cgroup that has `key` after the number. */
static bool group_path(const char *cgroups, const char *key, char *path, size_t size) {
    for (const char *line = cgroups; line && *line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(colon, key, strlen(key))) continue;
        snprintf(path, size, "%.*s", (int)strcspn(colon + strlen(key), "\n"), colon + strlen(key));
        return true;
    }
    return false;
}

static void look_at_groups(const char *root, td_memory_left *left) {
    char cgroups[4096], path[600], folder[1000];
    if (!read_text(root, "/proc/self/cgroup", cgroups, sizeof cgroups)) return;
    bool v1 = group_path(cgroups, ":memory:", path, sizeof path);
    if (!v1 && !group_path(cgroups, "::", path, sizeof path)) return;
    const char *mount = v1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
    for (;;) {
        char *slash = strrchr(path, '/');
        snprintf(folder, sizeof folder, "%s%s", mount, slash && !slash[1] ? "" : path);
        look_at_group(root, folder, !v1, left);
        if (!slash || !*path) return;
        *slash = 0; /* and now the parent, up to the mount itself */
    }
}

td_memory_left td_memory_left_read(const char *root) {
    char text[8192];
    uint64_t machine;
    td_memory_left left = {.bytes = UINT64_MAX};
    if (read_text(root, "/proc/meminfo", text, sizeof text) && find_number(text, "MemAvailable:", &machine))
        left.bytes = machine * 1024;
    look_at_groups(root, &left);
    return left;
}

td_status td_memory_check(const char *root, uint64_t bytes) {
    td_memory_left left = td_memory_left_read(root);
    if (bytes <= left.bytes) return TD_OK;
    if (!left.by_cgroup)
        return td_fail(TD_ERR_MEMORY, 0, "dist",
                       "%" PRIu64 " bytes of shared memory are wanted, but the machine has only %" PRIu64
                       " left (MemAvailable in /proc/meminfo; the size of /dev/shm does not matter)",
                       bytes, left.bytes);
    return td_fail(TD_ERR_MEMORY, 0, "dist",
                   "%" PRIu64 " bytes of shared memory are wanted, but the container has only %" PRIu64
                   " left: %.200s is %" PRIu64 ", of which %" PRIu64
                   " are used; raise it by at least %" PRIu64
                   " (docker run --memory, Slurm's --mem, systemd's MemoryMax)",
                   bytes, left.bytes, left.file, left.limit, left.used, bytes - left.bytes);
}
