/*
 * Three things bound what a process can use: its affinity mask (taskset, cpusets, mpirun, srun), the limit of
 * its control groups (docker --cpus), and that two hardware threads of a core are hardly more than one. Both
 * versions of cgroups; a container sees its own group as the root of the mount, so each level that can be read
 * counts.
 */
#include "base/cores.h"

#include "base/memory.h"
#include "base/parallel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_text(const char *root, const char *path, char *text, size_t size) {
    char full[1400];
    snprintf(full, sizeof full, "%s%s", root, path);
    int file = open(full, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    ssize_t used = read(file, text, size - 1); /* the kernel gives such files whole */
    close(file);
    text[used > 0 ? used : 0] = 0;
    return used > 0;
}

/* --- limits --------------------------------------------------------------------------------------------- */

/* "max 100000" or "150000 100000" in version 2's cpu.max; quota, -1 for none, and period apart in version 1. */
static double limit_of_group(const char *root, const char *folder, bool v2) {
    char path[1300], text[64];
    double quota = 0, period = 0;
    snprintf(path, sizeof path, "%s/%s", folder, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    if (!read_text(root, path, text, sizeof text)) return 0;
    int got = sscanf(text, "%lf %lf", &quota, &period);
    if (v2) return got == 2 && quota > 0 && period > 0 ? quota / period : 0;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (got < 1 || !read_text(root, path, text, sizeof text)) return 0;
    return sscanf(text, "%lf", &period) == 1 && quota > 0 && period > 0 ? quota / period : 0;
}

/* Is `name` among the controllers of a line "4:cpu,cpuacct:/path"? */
static bool has_controller(const char *list, const char *end, const char *name) {
    size_t n = strlen(name);
    while (list < end) {
        size_t length = strcspn(list, ",:");
        if (length == n && strncmp(list, name, n) == 0) return true;
        list += length + 1;
    }
    return false;
}

/* The path of the group that limits CPUs, below its mount; false when /proc/self/cgroup names none. */
static bool find_group(const char *cgroups, char *path, size_t size, bool *v2) {
    bool found = false;
    for (const char *line = cgroups; line && *line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        const char *list = strchr(line, ':'), *at = list ? strchr(list + 1, ':') : NULL;
        if (!at) continue;
        bool one = has_controller(list + 1, at, "cpu"), two = at == list + 1;
        if (!one && (!two || found)) continue;
        snprintf(path, size, "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
        *v2 = !one;
        found = true;
        if (one) break;
    }
    return found;
}

double td_cpu_limit(const char *root) {
    char cgroups[4096], path[1000] = "", folder[1200];
    double least = 0;
    bool v2 = true;
    if (!read_text(root, "/proc/self/cgroup", cgroups, sizeof cgroups) ||
        !find_group(cgroups, path, sizeof path, &v2))
        return 0;
    if (strcmp(path, "/") == 0) *path = 0;
    for (;;) {
        char *slash = strrchr(path, '/');
        snprintf(folder, sizeof folder, "/sys/fs/cgroup%s%s", v2 ? "" : "/cpu", path);
        double limit = limit_of_group(root, folder, v2);
        if (limit > 0 && (least == 0 || limit < least)) least = limit;
        if (!slash || !*path) return least;
        *slash = 0; /* and now the parent, up to the mount itself */
    }
}

/* --- cores ---------------------------------------------------------------------------------------------- */

/* Remove the CPUs of a list like "0-3,64-67" from `mask`. */
static void remove_listed(const char *list, cpu_set_t *mask, size_t bytes) {
    for (const char *at = list; *at >= '0' && *at <= '9';) {
        char *end;
        unsigned long first = strtoul(at, &end, 10), last = first;
        if (*end == '-') last = strtoul(end + 1, &end, 10);
        for (unsigned long cpu = first; cpu <= last && cpu < bytes * 8; cpu++) CPU_CLR_S(cpu, bytes, mask);
        at = *end == ',' ? end + 1 : end;
    }
}

int td_cores_of(const char *root, const cpu_set_t *mask, size_t bytes) {
    char path[96], text[512];
    int cpus = CPU_COUNT_S(bytes, mask), cores = 0;
    if (!read_text(root, "/sys/devices/system/cpu/smt/active", text, sizeof text) || *text != '1')
        return cpus;
    cpu_set_t *left = td_alloc(bytes);
    if (!left) return cpus;
    memcpy(left, mask, bytes);
    for (size_t cpu = 0; cpu < bytes * 8 && CPU_COUNT_S(bytes, left) > 0; cpu++) {
        if (!CPU_ISSET_S(cpu, bytes, left)) continue;
        cores++;
        CPU_CLR_S(cpu, bytes, left);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list", cpu);
        if (read_text(root, path, text, sizeof text)) remove_listed(text, left, bytes);
    }
    td_free(left);
    return cores;
}

cpu_set_t *td_affinity_mask(size_t *bytes) {
    /* A mask for more CPUs than the kernel has is refused when too small; grow until it is accepted. */
    for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
        *bytes = CPU_ALLOC_SIZE((size_t)cpus);
        cpu_set_t *mask = td_calloc(1, *bytes);
        if (!mask) return NULL;
        if (sched_getaffinity(0, *bytes, mask) == 0) return mask;
        td_free(mask);
        if (errno != EINVAL) return NULL;
    }
    return NULL;
}

/* What is left of `count` under the control groups' limit: 1.5 CPUs are two threads' worth. */
static int within_limit(int count) {
    double limit = td_cpu_limit("");
    if (limit > 0 && limit < count) count = (int)(limit + 0.999);
    return count < 1 ? 1 : count;
}

static int count_allowed(bool cores) {
    size_t bytes;
    cpu_set_t *mask = td_affinity_mask(&bytes);
    if (!mask) return 1;
    int count = cores ? td_cores_of("", mask, bytes) : CPU_COUNT_S(bytes, mask);
    td_free(mask);
    return within_limit(count);
}

double td_cpu_quota(void) { return td_cpu_limit(""); }
int td_cpu_count(void) { return count_allowed(false); }
int td_core_count(void) { return count_allowed(true); }
