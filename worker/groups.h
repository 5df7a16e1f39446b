/*
 * --deterministic=world: a step's samples are cut into groups that do not depend on the number of ranks
 * (model/parallel/sample_groups.h), and so are the test samples. A rank's batches hold the shares of its groups
 * one behind the other; here they are taken apart.
 */
#ifndef TANDEM_WORKER_GROUPS_H
#define TANDEM_WORKER_GROUPS_H

#include "worker/run.h"

/* This rank's first group, and the one after its last. */
int worker_groups_first(const worker_run *run);
int worker_groups_end(const worker_run *run);

/* The sampler of this rank's groups; options as for a world of one. */
td_status worker_groups_sampler(const worker_run *run, int64_t samples, td_global_batch_options options,
                                td_sampler **sampler);

/* Called for each of a rank's groups in order, with its part of a batch, which may be empty. */
typedef td_status worker_group_pass(worker_run *run, int group, const td_batch *part, void *cookie);

/* Take apart the batch that began at cursor `begin` of its sampler. */
td_status worker_groups_each(worker_run *run, const td_batch *batch, int64_t begin, worker_group_pass *pass,
                             void *cookie);

#endif
