/*
 * Training with the same bits for any number of ranks. A step's global batch is cut into sample groups, always
 * the same ones; each group is a forward and backward pass of its own; and the gradients of the groups are added
 * up along one binary tree, of which each rank computes the whole subtrees it has all groups of. So who computes
 * a group has no influence on any number. Takes the place of DDP (model/parallel/ddp.h).
 *
 * Central object: td_sample_groups. Its life: td_sample_groups_open by every rank, over a module built the same
 * way everywhere; in every step each rank does for each of its groups, in order,
 *
 *     td_sample_groups_begin(groups, samples);     empties gradients, chooses the group's random stream
 *     ... td_backward(loss);                       loss is the mean over the group's samples; not with 0 samples
 *     td_sample_groups_end(groups);
 *
 * and then td_sample_groups_reduce, after which gradients are the mean over all samples of the job, and
 * td_optimizer_step. td_sample_groups_close before the module and the group. Only the thread that has the
 * module's context may call.
 *
 * Batch normalisation takes a group's own statistics, and its running ones are moved by every group's in the order
 * of groups, when the step is reduced.
 *
 * The bits also depend on the number of groups, on the kernels and on how many threads compute: the caller sets
 * one thread (base/parallel.h), and uses more ranks to use more cores.
 */
#ifndef TANDEM_MODEL_PARALLEL_SAMPLE_GROUPS_H
#define TANDEM_MODEL_PARALLEL_SAMPLE_GROUPS_H

#include "base/status.h"

TD_BEGIN_DECLS

typedef struct td_sample_groups td_sample_groups;

#define TD_SAMPLE_GROUPS     8
#define TD_SAMPLE_GROUPS_MAX 1024

/* Every rank calls it. `count` is how many groups a step has: a power of two, at least the ranks of `group`.
 * Checks and equalises the module as td_ddp_open does. TD_ERR_UNSUPPORTED: a parameter that is not f32, or a
 * buffer of floating numbers other than batch normalisation's, whose value would depend on the order of groups;
 * or a batch normalisation that is synchronised, or runs twice in a pass. Module and group are *lent* until
 * td_sample_groups_close. `seed`: random draws of group g in step s depend on (seed, s, g) alone. *Yours*. */
TD_API td_status td_sample_groups_open(td_module *module, td_group *group, int count, uint64_t seed,
                                       td_sample_groups **groups);

/* Gradients are dropped. Leaves NULL; NULL inside is fine. */
TD_API void td_sample_groups_close(td_sample_groups **groups);

/* Which of `count` groups the rank computes: from the first up to, not including, the end. */
TD_API int td_sample_groups_first(int count, int world_size, int rank);
TD_API int td_sample_groups_end_of(int count, int world_size, int rank);

/* Where the next step is counted from: a run that goes on sets it to the steps already done. 0 at first. */
TD_API void td_sample_groups_set_step(td_sample_groups *groups, uint64_t step);

/* The next of this rank's groups in this step, over `samples` samples. TD_ERR_STATE after the last. */
TD_API td_status td_sample_groups_begin(td_sample_groups *groups, int64_t samples);
TD_API td_status td_sample_groups_end(td_sample_groups *groups);

/* After the last: every rank calls it. A gradient that is empty in all groups stays empty. TD_ERR_STATE when
 * groups are missing, or no group of the step has a sample. */
TD_API td_status td_sample_groups_reduce(td_sample_groups *groups);

TD_END_DECLS

#endif
