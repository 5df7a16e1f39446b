/*
 * The GPUs that a job's ranks may use: NVIDIA's, asked of the driver's own library (NVML), which is opened at run
 * time and may be absent. What CUDA_VISIBLE_DEVICES hides is not there. GPUs are told apart by UUID, so none is
 * counted twice under two names. Plain data, one thread.
 */
#ifndef TANDEM_LAUNCHER_GPUS_H
#define TANDEM_LAUNCHER_GPUS_H

#include "base/status.h"

typedef struct launcher_gpu {
    char uuid[96];    /* "GPU-..." */
    char name[96];    /* "NVIDIA H100 80GB HBM3" */
    int numa;         /* the NUMA node near it; -1: unknown */
    char visible[96]; /* what names it in CUDA_VISIBLE_DEVICES: the user's word for it, or its UUID */
} launcher_gpu;

typedef struct launcher_gpus {
    int count; /* at least 1 */
    launcher_gpu gpu[];
} launcher_gpus;

/*
 * The GPUs in the order in which programs will see them; `visible` is CUDA_VISIBLE_DEVICES, or NULL. It means what
 * CUDA takes it for: numbers, UUIDs or beginnings of them, and the first that names no GPU ends the list. *Yours*,
 * for td_free. TD_ERR_UNSUPPORTED with the reason when there is none; TD_ERR_ARG when a GPU is named twice.
 */
td_status launcher_gpus_find(const char *visible, launcher_gpus **gpus);

#endif
