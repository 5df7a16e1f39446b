/*
 * Batch normalisation by sample groups: a group is normalised by its own statistics, and after the step the
 * running ones are moved by every group's in the order of groups, on all ranks alike, whoever computed them.
 * Central object: group_norms, of a td_sample_groups; it takes over the layers' forward while it is open.
 * Internal to model/parallel.
 */
#ifndef TANDEM_MODEL_PARALLEL_GROUP_NORMS_H
#define TANDEM_MODEL_PARALLEL_GROUP_NORMS_H

#include "model/nn/norm.h"
#include "model/parallel/internal.h"

typedef struct group_norm {
    td_norm_layer *layer;
    td_tensor *mean, *variance; /* kept: of the group that was computed last */
    size_t channels;
    size_t at; /* where the layer's numbers begin in a row */
    bool ran;  /* in the current group */
} group_norm;

typedef struct group_norms {
    group_norm *norms;
    size_t count;
    int64_t *batches; /* of each layer, before the step */
    size_t
        row; /* floats that a group leaves: whether it has samples, then each layer's means and variances */
    float *rows; /* [groups][row] */
    int groups;
} group_norms;

/* Take over the layers of the tree below `module` that keep running statistics. TD_ERR_UNSUPPORTED: layers that
 * another exchange has (SyncBatchNorm), or that are not f32. */
td_status group_norms_open(td_module *module, int groups, group_norms *norms);
/* Give the layers back. */
void group_norms_close(group_norms *norms);

/* Is this buffer one that group_norms keeps? */
bool group_norms_has(const group_norms *norms, const td_tensor *buffer);

/* Around a group's passes; before the step's first, say so. */
td_status group_norms_begin(group_norms *norms, bool first);
void group_norms_end(group_norms *norms, int group);
/* Share what the ranks' groups left, rank r's being the next counts[r] / row, and move the running statistics. */
td_status group_norms_apply(group_norms *norms, td_group *group, const size_t *counts);

#endif
