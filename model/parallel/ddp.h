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
 * gradient that is empty on every rank stays empty; one that is empty on some counts as zero there, and both
 * are errors unless find_unused_parameters or static_graph says that they are meant. What PyTorch's
 * constructor takes besides, and why it is not here, is in docs/ddp.md.
 */
#ifndef TANDEM_MODEL_PARALLEL_DDP_H
#define TANDEM_MODEL_PARALLEL_DDP_H

#include "model/nn/state_dict.h"

TD_BEGIN_DECLS

typedef enum td_choice { TD_CHOICE_DEFAULT, TD_CHOICE_YES, TD_CHOICE_NO } td_choice;

/* How parameters are kept equal. The weights have the same bits with each. */
typedef enum td_sync {
    TD_SYNC_REPLICATED, /* every rank receives the mean gradient and makes the whole step, as in PyTorch */
    TD_SYNC_SHARED, /* ranks of one machine have one copy of parameters and optimizer state, in memory that
                           they share; each reduces and updates its slice */
    TD_SYNC_ZERO1,  /* optimizer state is cut among the ranks; each updates its slice and sends it to all */
} td_sync;

/* PyTorch's names and meanings where there is such an option. Zeros are the defaults; all ranks give the same. */
typedef struct td_ddp_options {
    td_sync sync;         /* other than replicated: td_ddp_attach follows */
    double bucket_cap_mb; /* a bucket is closed once it holds as many MiB; 0: TD_DDP_BUCKET_CAP_MB */
    /* The same for each bucket by number, in the order in which they are reduced; the last goes for the rest.
     * *Lent* for the call. NULL: bucket_cap_mb for all. */
    const double *bucket_cap_mb_list;
    size_t bucket_cap_mb_count;
    /* A pass may leave trained parameters without gradient. Otherwise that is TD_ERR_STATE, on all ranks, once
     * the gradients are reduced: the message names them. */
    bool find_unused_parameters;
    /* Every step uses the parameters that the first one used; those it did not use are not waited for. */
    bool static_graph;
    /* With static_graph: those are not reduced at all and take no room in buckets. */
    bool skip_all_reduce_unused_params;
    td_choice init_sync; /* default: yes. No: modules are taken to be equal, unchecked */
    td_choice
        forward_sync_buffers; /* default: yes. Rank 0's buffers go to all before a step's first forward */
    /* Of passes without weight, when ranks have run out of data (td_ddp_join). Default: yes. */
    td_choice divide_by_initial_world_size;
    bool
        throw_on_early_termination; /* a step in which some ranks have no data is TD_ERR_STATE on all ranks */
} td_ddp_options;

#define TD_DDP_BUCKET_CAP_MB 1.0

/* Every rank calls it. Checks that names, sizes, dtypes and order of parameters and buffers agree
 * (TD_ERR_MISMATCH names the first difference and the rank that has it), copies rank 0's values everywhere
 * and lets gradients be born in the buckets. Existing gradients are dropped. Module and group are *lent*
 * until td_ddp_close. `options` NULL: defaults. *Yours*. */
TD_API td_status td_ddp_open(td_module *module, td_group *group, const td_ddp_options *options, td_ddp **ddp);

/* Every rank calls it. Gradients are dropped. Leaves NULL; NULL inside is fine. */
TD_API void td_ddp_close(td_ddp **ddp);

/* Before a forward pass: the loss will be a mean over `samples` samples of this rank. The job's gradient is
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

/* The module's forward; in training, rank 0's buffers are copied to all ranks before a step's first one, unless
 * td_ddp_begin has done so. Every rank calls it alike. NULL after marking the current scope. */
TD_API td_tensor *td_ddp_forward(td_ddp *ddp, td_tensor *x);

/* The same of buffers at any other time, before saving them for example. Every rank calls it. Buffers of
 * synchronised batch normalisation are equal already and stay out. */
TD_API td_status td_ddp_sync_buffers(td_ddp *ddp);

/* A step of a rank that has no more data: it takes part in the reduction and receives the others' mean, so that
 * it can make the optimizer's step with them. *any is false when no rank had data in this step: then there is
 * nothing to step, and all ranks have come to the end together.
 *
 *     while (any) {
 *         td_optimizer_zero_grad(optimizer);
 *         if (next_batch(&batch)) { ... td_backward(loss); }
 *         else TD_TRY(td_ddp_join(ddp, &any));
 *         if (any) TD_TRY(td_optimizer_step(optimizer));
 *     }
 *
 * Nothing is sent besides: that a rank has data travels in the buckets. Ranks that weigh their passes go on
 * doing so; one that never had a batch calls td_ddp_begin with 0 for the first. The buffers sent are those of
 * the first rank that had data in the last step. */
TD_API td_status td_ddp_join(td_ddp *ddp, bool *any);

/* What the end of a backward pass does: reduce local gradients, here those that were set by hand
 * (td_tensor_set_grad), after td_ddp_begin if they are weighted. With a shared update: nothing, as the step
 * does it. */
TD_API td_status td_ddp_reduce(td_ddp *ddp);

/* How many buckets there are (0 in a group of one), and the bytes of one (0 past the end). */
TD_API size_t td_ddp_bucket_count(const td_ddp *ddp);
TD_API size_t td_ddp_bucket_bytes(const td_ddp *ddp, size_t bucket);

/*
 * Shared update and ZeRO-1. The optimizer is attached once, after it was opened; then td_optimizer_step is
 * collective and does the rest of the work. What differs from the replicated way: `.grad` is never the job's
 * mean (it is this rank's own until the step, which leaves it empty), only the step writes parameters, and
 * all ranks make each step. Parameters are row-major, with memory of their own. In a group of one there is no
 * difference but that the step leaves gradients empty.
 */

/* "replicated", "shared", "zero1"; static. */
TD_API const char *td_sync_name(td_sync sync);

/* Could td_ddp_open give this module such a `sync` in this group? Looks only at this rank. TD_ERR_UNSUPPORTED
 * says why not. */
TD_API td_status td_ddp_can_sync(const td_module *module, td_group *group, td_sync sync);
TD_API td_sync td_ddp_sync(const td_ddp *ddp);

/* Every rank calls it, with optimizers opened alike. From now on the optimizer's step is the ranks' common
 * one. It is *lent*, is best closed before the ddp, and starts anew if it is closed after. With a replicated
 * ddp nothing changes. TD_ERR_ARG for an optimizer with a trained parameter that is not the module's,
 * TD_ERR_STATE when there is one already. */
TD_API td_status td_ddp_attach(td_ddp *ddp, td_optimizer *optimizer);

/* What td_optimizer_state gives, brought together: every rank calls it between two steps, and rank 0's dict
 * receives the whole state, the others' nothing. With zero1 the tensors are copies. Any rank can hand it to
 * td_optimizer_load_state, whatever the number of ranks and the `sync`. */
TD_API td_status td_ddp_optimizer_state(td_ddp *ddp, const td_optimizer *optimizer, td_state_dict *dict);

/* Are parameters, buffers and the optimizer's state (NULL: not that) the same bits on all ranks of `group`?
 * Every rank calls it between two steps. TD_ERR_MISMATCH, on every rank, otherwise: the message names the first
 * tensor that differs, the ranks that have it so, and `step`. State that zero1 has cut is left out, as nobody
 * has what another has. */
TD_API td_status td_ddp_check_equal(const td_module *module, td_group *group, const td_optimizer *optimizer,
                                    int64_t step);

TD_END_DECLS

#endif
