/*
 * Stands for the driver's libnvidia-ml.so.1. TD_TEST_GPUS lists the machine's GPUs as UUID@NODE,UUID@NODE ("" is
 * none; a node of -1 is unknown); TD_TEST_NVML_ERROR is what nvmlInit gives.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { MOST = 16, UNKNOWN = 999, NOT_SUPPORTED = 3 };
static struct gpu {
    char uuid[80];
    int numa;
} gpus[MOST];
static unsigned count;

EXPORT int nvmlInit_v2(void) {
    const char *error = getenv("TD_TEST_NVML_ERROR"), *at = getenv("TD_TEST_GPUS");
    if (error) return atoi(error);
    count = 0;
    while (at && *at && count < MOST) {
        struct gpu *g = &gpus[count++];
        sscanf(at, "%79[^@]@%d", g->uuid, &g->numa);
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    return 0;
}

EXPORT int nvmlShutdown(void) { return 0; }

EXPORT const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Unknown Error"; }

EXPORT int nvmlDeviceGetCount_v2(unsigned *n) {
    *n = count;
    return 0;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = &gpus[index];
    return index < count ? 0 : UNKNOWN;
}

EXPORT int nvmlDeviceGetUUID(void *device, char *text, unsigned size) {
    snprintf(text, size, "%s", ((struct gpu *)device)->uuid);
    return 0;
}

EXPORT int nvmlDeviceGetName(void *device, char *text, unsigned size) {
    (void)device;
    snprintf(text, size, "Test GPU");
    return 0;
}

EXPORT int nvmlDeviceGetMemoryAffinity(void *device, unsigned words, unsigned long *set, int scope) {
    int numa = ((struct gpu *)device)->numa;
    (void)words, (void)scope;
    if (numa < 0) return NOT_SUPPORTED;
    set[numa / 64] |= 1ul << (numa % 64);
    return 0;
}
