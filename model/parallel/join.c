/* Steps of a rank that has no more data. */
#include "base/context.h"
#include "model/parallel/internal.h"
#include "model/tensor/scope.h"

td_status td_ddp_join(td_ddp *ddp, bool *any) {
    if (ddp->no_sync || ddp->posted || ddp->begun)
        return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: td_ddp_join in the middle of a step");
    TD_TRY(ddp_forward_buffers(ddp));
    for (size_t i = 0; i < ddp->slot_count; i++) td_tensor_zero_grad(ddp->slots[i].param);
    ddp->scale = ddp->samples = 0;
    ddp->unweighted = !(ddp->stepped && ddp->weighed);
    ddp->absent = true;
    td_status status = ddp_reduce(ddp);
    ddp->absent = false;
    if (status == TD_OK) *any = ddp->active > 0;
    return status;
}
