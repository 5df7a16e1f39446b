/*
 * Buffers: those of rank 0, or of the first rank that had data in the last step, go to all ranks before a
 * step's first forward; packed, so it is one broadcast however many there are.
 */
#include "base/context.h"
#include "base/memory.h"
#include "model/nn/norm.h"
#include "model/parallel/internal.h"
#include "model/tensor/scope.h"
#include "model/tensor/tensor.h"

#include <string.h>

static const td_device cpu = {TD_DEVICE_CPU, 0};

static size_t bytes_of(const td_tensor *x) {
    return (size_t)td_tensor_count(x) * td_dtype_size(td_tensor_dtype(x));
}

static bool is_one_of(const td_tensor *x, const td_norm_layer *layer) {
    return x == layer->running_mean || x == layer->running_var || x == layer->batches;
}

/* Does it belong to a layer whose ranks compute the same anyway? */
static bool is_equal_already(td_module *module, const td_tensor *x) {
    const td_norm_layer *layer = nn_norm_layer(module);
    if (layer && layer->forward && is_one_of(x, layer)) return true;
    for (size_t i = 0; i < td_module_child_count(module); i++)
        if (is_equal_already(td_module_child_at(module, i), x)) return true;
    return false;
}

/* One after the other, in or out; the bytes of all those that are sent. */
static td_status copy_all(td_ddp *ddp, char *packed, bool in, size_t *bytes) {
    *bytes = 0;
    for (size_t i = 0; i < ddp->buffers.count; i++) {
        td_tensor *x = ddp->buffers.at[i].tensor;
        if (is_equal_already(ddp->module, x)) continue;
        size_t size = bytes_of(x);
        if (packed && in) TD_TRY(td_tensor_copy_to(x, packed + *bytes, size));
        if (packed && !in) TD_TRY(td_tensor_copy_from(x, packed + *bytes, size));
        *bytes += size;
    }
    return TD_OK;
}

td_status td_ddp_sync_buffers(td_ddp *ddp) {
    size_t bytes;
    ddp->buffers_due = false;
    if (td_group_size(ddp->group) == 1) return TD_OK;
    TD_TRY(copy_all(ddp, NULL, false, &bytes));
    if (!bytes) return TD_OK;
    if (!ddp->packed) {
        size_t most = 0;
        for (size_t i = 0; i < ddp->buffers.count; i++) most += bytes_of(ddp->buffers.at[i].tensor);
        if (!(ddp->packed = td_alloc(most))) return TD_ERR_MEMORY;
    }
    bool mine = td_group_rank(ddp->group) == ddp->first_active;
    if (mine) TD_TRY(copy_all(ddp, ddp->packed, true, &bytes));
    td_call call = {.kind = TD_CALL_BROADCAST,
                    .dtype = TD_DTYPE_U8,
                    .root = ddp->first_active,
                    .count = bytes,
                    .input = ddp->packed,
                    .output = ddp->packed,
                    .label = "ddp buffers",
                    .device = cpu};
    TD_TRY(td_group_post(ddp->group, &call, NULL));
    return mine ? TD_OK : copy_all(ddp, ddp->packed, false, &bytes);
}

td_status ddp_forward_buffers(td_ddp *ddp) {
    if (!ddp->buffers_due || ddp->options.forward_sync_buffers == TD_CHOICE_NO) return TD_OK;
    return td_ddp_sync_buffers(ddp);
}

td_tensor *td_ddp_forward(td_ddp *ddp, td_tensor *x) {
    td_status status = td_module_is_training(ddp->module) && !ddp->begun ? ddp_forward_buffers(ddp) : TD_OK;
    return status < 0 ? td_scope_fail(status) : td_module_forward(ddp->module, x);
}
