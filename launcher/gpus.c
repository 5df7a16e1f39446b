/* NVML's functions and numbers are those of nvml.h; only what has been there since driver 450 is used. */
#include "launcher/gpus.h"

#include "base/memory.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GPUS_MOST = 256, NODE_WORDS = 16 };

typedef void *nvml_device;

typedef struct nvml_pci { /* nvmlPciInfo_t */
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} nvml_pci;

typedef struct nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error_string)(int code);
    int (*count)(unsigned *count);
    int (*by_index)(unsigned index, nvml_device *device);
    int (*uuid)(nvml_device device, char *text, unsigned size);
    int (*name)(nvml_device device, char *text, unsigned size);
    int (*pci)(nvml_device device, nvml_pci *pci);                                          /* or NULL */
    int (*memory_nodes)(nvml_device device, unsigned words, unsigned long *set, int scope); /* or NULL */
} nvml;

/* --- the driver's library ------------------------------------------------------------------------------- */

static td_status no_gpu(const char *reason) {
    return td_fail(TD_ERR_UNSUPPORTED, 0, "launcher", "there is no GPU to use: %s", reason);
}

static td_status open_nvml(nvml *n) {
    n->library = dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!n->library) return no_gpu(dlerror());
    const struct {
        const char *name;
        void *member;
        bool needed;
    } symbols[] = {
        {"nvmlInit_v2", &n->init, true},
        {"nvmlShutdown", &n->shutdown, true},
        {"nvmlErrorString", &n->error_string, true},
        {"nvmlDeviceGetCount_v2", &n->count, true},
        {"nvmlDeviceGetHandleByIndex_v2", &n->by_index, true},
        {"nvmlDeviceGetUUID", &n->uuid, true},
        {"nvmlDeviceGetName", &n->name, true},
        {"nvmlDeviceGetPciInfo_v3", &n->pci, false},
        {"nvmlDeviceGetMemoryAffinity", &n->memory_nodes, false},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *found = dlsym(n->library, symbols[i].name);
        if (!found && symbols[i].needed)
            return td_fail(TD_ERR_UNSUPPORTED, 0, "launcher",
                           "there is no GPU to use: libnvidia-ml.so.1 has no %s", symbols[i].name);
        memcpy(symbols[i].member, &found, sizeof found);
    }
    return TD_OK;
}

/* The kernel's word for the node near a device, as torchrun takes it; -1: unknown. */
static int numa_by_sysfs(const nvml *n, nvml_device device) {
    nvml_pci pci;
    char path[96];
    int numa = -1;
    memset(&pci, 0, sizeof pci);
    if (!n->pci || n->pci(device, &pci) != 0) return -1;
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%04x:%02x:%02x.0/numa_node", pci.domain, pci.bus,
             pci.device);
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    if (fscanf(file, "%d", &numa) != 1) numa = -1;
    fclose(file);
    return numa;
}

static int find_numa(const nvml *n, nvml_device device) {
    int numa = numa_by_sysfs(n, device);
    unsigned long nodes[NODE_WORDS] = {0};
    if (numa >= 0 || !n->memory_nodes || n->memory_nodes(device, NODE_WORDS, nodes, 0) != 0) return numa;
    for (int node = 0; node < NODE_WORDS * 64; node++)
        if (nodes[node / 64] >> (node % 64) & 1) return node;
    return -1;
}

static void describe_gpu(const nvml *n, unsigned index, launcher_gpu *gpu) {
    nvml_device device = NULL;
    char uuid[96] = "", name[96] = "";
    bool there = n->by_index(index, &device) == 0;
    if (!there || n->uuid(device, uuid, sizeof uuid) != 0 || !*uuid) snprintf(uuid, sizeof uuid, "%u", index);
    if (!there || n->name(device, name, sizeof name) != 0) snprintf(name, sizeof name, "unknown");
    uuid[sizeof uuid - 1] = name[sizeof name - 1] = 0;
    *gpu = (launcher_gpu){.numa = there ? find_numa(n, device) : -1};
    memcpy(gpu->uuid, uuid, sizeof uuid);
    memcpy(gpu->name, name, sizeof name);
    memcpy(gpu->visible, uuid, sizeof uuid);
}

/* All GPUs of the machine: *yours*. */
static td_status list_gpus(const nvml *n, launcher_gpus **gpus) {
    unsigned count = 0;
    int code = n->count(&count);
    if (code != 0) return no_gpu(n->error_string(code));
    if (count == 0) return no_gpu("the driver knows none");
    if (count > GPUS_MOST) count = GPUS_MOST;
    launcher_gpus *all = td_calloc(1, sizeof *all + count * sizeof *all->gpu);
    if (!all) return TD_ERR_MEMORY;
    all->count = (int)count;
    for (unsigned i = 0; i < count; i++) describe_gpu(n, i, &all->gpu[i]);
    *gpus = all;
    return TD_OK;
}

static td_status ask_driver(launcher_gpus **gpus) {
    nvml n = {0};
    td_status status = open_nvml(&n);
    if (status >= 0) {
        int code = n.init();
        status = code == 0 ? list_gpus(&n, gpus) : no_gpu(n.error_string(code));
        if (code == 0) n.shutdown();
    }
    if (n.library) dlclose(n.library);
    return status;
}

/* --- CUDA_VISIBLE_DEVICES ------------------------------------------------------------------------------- */

/* The next entry of a list, without blanks around it, into `text`; false at the end. */
static bool next_entry(const char **list, char *text, size_t size) {
    if (!*list) return false;
    const char *at = *list, *end = at + strcspn(at, ",");
    *list = *end ? end + 1 : NULL;
    while (at < end && isspace((unsigned char)*at)) at++;
    while (end > at && isspace((unsigned char)end[-1])) end--;
    snprintf(text, size, "%.*s", (int)(end - at), at);
    return true;
}

/* The GPU that an entry names: a number, or the beginning of just one UUID; -1: none. */
static int find_named(const launcher_gpus *all, const char *entry) {
    if (isdigit((unsigned char)*entry)) {
        char *end;
        unsigned long index = strtoul(entry, &end, 10);
        return *end == 0 && index < (unsigned long)all->count ? (int)index : -1;
    }
    int found = -1;
    for (int i = 0; *entry && i < all->count; i++) {
        if (strncmp(all->gpu[i].uuid, entry, strlen(entry)) != 0) continue;
        if (found >= 0) return -1;
        found = i;
    }
    return found;
}

static td_status refuse_twice(const char *visible, const char *a, const char *b) {
    return td_fail(TD_ERR_ARG, 0, "launcher",
                   "CUDA_VISIBLE_DEVICES=%s names one GPU twice (%s, %s), and two ranks cannot share it",
                   visible, a, b);
}

/* Keep those that are visible, in that order. */
static td_status keep_visible(const launcher_gpus *all, const char *visible, launcher_gpus *kept) {
    char entry[96];
    for (const char *list = visible; kept->count < GPUS_MOST && next_entry(&list, entry, sizeof entry);) {
        bool slice = strncmp(entry, "MIG-", 4) == 0; /* part of a GPU, with a UUID of its own */
        int found = slice ? -1 : find_named(all, entry);
        if (!slice && found < 0) break;
        launcher_gpu *gpu = &kept->gpu[kept->count];
        if (slice) {
            *gpu = (launcher_gpu){.name = "part of a GPU (MIG)", .numa = -1};
            memcpy(gpu->uuid, entry, sizeof entry);
        } else {
            *gpu = all->gpu[found];
        }
        memcpy(gpu->visible, entry, sizeof entry);
        for (int i = 0; i < kept->count; i++)
            if (strcmp(kept->gpu[i].uuid, gpu->uuid) == 0)
                return refuse_twice(visible, kept->gpu[i].visible, entry);
        kept->count++;
    }
    if (kept->count) return TD_OK;
    return td_fail(TD_ERR_UNSUPPORTED, 0, "launcher",
                   "there is no GPU to use: CUDA_VISIBLE_DEVICES=%s leaves none of the machine's %d", visible,
                   all->count);
}

td_status launcher_gpus_find(const char *visible, launcher_gpus **gpus) {
    launcher_gpus *all = NULL;
    TD_TRY(ask_driver(&all));
    if (!visible) {
        *gpus = all;
        return TD_OK;
    }
    launcher_gpus *kept = td_calloc(1, sizeof *kept + GPUS_MOST * sizeof *kept->gpu);
    td_status status = kept ? keep_visible(all, visible, kept) : TD_ERR_MEMORY;
    td_free(all);
    if (status < 0)
        td_free(kept);
    else
        *gpus = kept;
    return status;
}
