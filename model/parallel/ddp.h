/*
 * Data-parallel training: a module kept equal on all ranks of a group, as PyTorch's DistributedDataParallel.
 * Central object: td_ddp. Its life: td_ddp_open by every rank, over a module built the same way everywhere;
 * then train as usual: each td_backward that reaches the module's parameters ends with gradients that are
 * the job's mean, bit for bit the same on every rank, and so are the weights after the optimizer's step.
 * td_ddp_close before the module and the group. Only the thread that has the module's context may call.
 *
 *     td_ddp_begin(ddp, samples);          what this rank has in this step: weights uneven batches rightly
 *     ... td_backward(loss);               loss is this rank's mean; buckets are reduced as they fill
 *     td_optimizer_step(optimizer);
 *
 * Gradients lie in buckets, in memory that the ranks share where they can, so reducing copies nothing. A
 * gradient that is empty on every rank stays empty; one that is empty on some counts as zero there.
 */
#ifndef TANDEM_MODEL_PARALLEL_DDP_H
#define TANDEM_MODEL_PARALLEL_DDP_H

#include "base/status.h"

TD_BEGIN_DECLS

/* Zeros are the defaults. */
typedef struct td_ddp_options {
    size_t bucket_bytes; /* a bucket is closed once it holds as many; 0: TD_DDP_BUCKET_BYTES */
} td_ddp_options;

#define TD_DDP_BUCKET_BYTES ((size_t)1 << 20)

/* Every rank calls it. Checks that names, sizes, dtypes and order of parameters and buffers agree
 * (TD_ERR_MISMATCH names the first difference and the rank that has it), copies rank 0's values everywhere
 * and lets gradients be born in the buckets. Existing gradients are dropped. Module and group are *lent*
 * until td_ddp_close. `options` NULL: defaults. *Yours*. */
TD_API td_status td_ddp_open(td_module *module, td_group *group, const td_ddp_options *options, td_ddp **ddp);

/* Every rank calls it. Gradients are dropped. Leaves NULL; NULL inside is fine. */
TD_API void td_ddp_close(td_ddp **ddp);

/* Before a backward pass: the loss will be a mean over `samples` samples of this rank. The job's gradient is
 * then the mean over all samples of all ranks and of all passes since the last reduction. Without this call
 * every rank weighs the same and passes are added up, as in PyTorch. With 0 samples this rank takes part in
 * the reduction here and now with nothing to add (within td_ddp_no_sync_begin: does nothing), and runs no
 * backward; only a module with synchronised batch normalisation (sync_batch_norm.h) runs one over an empty
 * batch, with a loss of 0. TD_ERR_STATE when some passes of a step are weighted and others not. */
TD_API td_status td_ddp_begin(td_ddp *ddp, int64_t samples);

/* Between these two, backward passes only add to this rank's gradients; the next one after reduces all. Pairs
 * do not nest (TD_ERR_STATE). All ranks call them alike. */
TD_API td_status td_ddp_no_sync_begin(td_ddp *ddp);
TD_API td_status td_ddp_no_sync_end(td_ddp *ddp);

/* How many buckets there are (0 in a group of one), and the bytes of one (0 past the end). */
TD_API size_t td_ddp_bucket_count(const td_ddp *ddp);
TD_API size_t td_ddp_bucket_bytes(const td_ddp *ddp, size_t bucket);

TD_END_DECLS

#endif
