/*
 * Batch normalisation over the batches of all ranks, as torch.nn.SyncBatchNorm: in training each layer's
 * means and variances are those of the whole job's batch, and its gradients too, so that a model trains as it
 * would on one rank with all the samples. No object of its own: td_sync_batch_norm_convert changes the layers
 * of a module in place. Only the thread that has the module's context may call.
 *
 * Every training forward is a collective, and so is its backward: all ranks run the same layers in the same
 * order, a rank without samples with a batch of none (N = 0). Evaluation exchanges nothing. Where td_ddp_begin
 * says how many samples a rank has, gradients are exactly those of the whole batch, however it is shared out.
 */
#ifndef TANDEM_MODEL_PARALLEL_SYNC_BATCH_NORM_H
#define TANDEM_MODEL_PARALLEL_SYNC_BATCH_NORM_H

#include "base/status.h"

TD_BEGIN_DECLS

/* Let every BatchNorm of the tree below `module`, itself included, use the statistics of all ranks of `group`
 * (convert_sync_batchnorm); names, parameters, buffers and state dict stay as they are. The group is *lent*
 * until the module is closed or converted again. NULL: back to each rank's own. Where ranks may use different
 * layers in a step, give it another group than DDP's (td_group_split), so that the two do not have to keep
 * step with each other. Second derivatives are not had through it (TD_ERR_UNSUPPORTED). */
TD_API void td_sync_batch_norm_convert(td_module *module, td_group *group);

TD_END_DECLS

#endif
