/* One checkpoint's bytes onto the disk. Internal to model/checkpoint. Any thread. */
#ifndef TANDEM_MODEL_CHECKPOINT_WRITE_H
#define TANDEM_MODEL_CHECKPOINT_WRITE_H

#include "base/status.h"

/* Write checkpoint `step` with these `tensor_bytes` of a .safetensors file; it is on disk when this returns, and
 * *bytes is the size of both files. On failure nothing of it is left. */
td_status checkpoint_write(const char *folder, int64_t step, const void *tensors, size_t tensor_bytes,
                           const char *run, size_t *bytes);

#endif
