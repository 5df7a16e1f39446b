/* What of a machine's CPUs a process may use; the part of base/parallel.h that reads files, for tests too. */
#ifndef TANDEM_BASE_CORES_H
#define TANDEM_BASE_CORES_H

#include "base/status.h"

#include <sched.h>

/* The least CPU limit of the process's control group and those above it, in CPUs (2.5); 0: there is none.
 * `root` is put before /proc and /sys: "" outside tests. */
double td_cpu_limit(const char *root);

/* The physical cores that the CPUs of `mask` (of `bytes` bytes) belong to. */
int td_cores_of(const char *root, const cpu_set_t *mask, size_t bytes);

/* The calling thread's affinity mask, whatever the machine's size: *yours*, for td_free; NULL when it cannot be
 * had. */
cpu_set_t *td_affinity_mask(size_t *bytes);

#endif
