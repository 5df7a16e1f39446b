/* Which sample is whose: entry i of a batch's permutation belongs to group i modulo their number. */
#include "worker/groups.h"

#include "model/parallel/sample_groups.h"

int worker_groups_first(const worker_run *run) {
    return td_sample_groups_first((int)run->options.sample_groups, run->world_size, run->rank);
}

int worker_groups_end(const worker_run *run) {
    return td_sample_groups_end_of((int)run->options.sample_groups, run->world_size, run->rank);
}

td_status worker_groups_sampler(const worker_run *run, int64_t samples, td_global_batch_options options,
                                td_sampler **sampler) {
    options.world_size = (int)run->options.sample_groups;
    options.rank = worker_groups_first(run);
    return td_sampler_shares(samples, &options, worker_groups_end(run) - options.rank, sampler);
}

/* Floats of one input. */
static size_t input_values(const td_zoo_model *model) {
    size_t values = 1;
    for (int i = 0; i < model->input_dims; i++) values *= (size_t)model->input[i];
    return values;
}

td_status worker_groups_each(worker_run *run, const td_batch *batch, int64_t begin, worker_group_pass *pass,
                             void *cookie) {
    td_batch part = *batch;
    for (int group = worker_groups_first(run); group < worker_groups_end(run); group++) {
        part.count = td_sampler_share(begin, batch->cursor, (int)run->options.sample_groups, group);
        TD_TRY(pass(run, group, &part, cookie));
        part.indices += part.count;
        part.inputs += (size_t)part.count * input_values(run->zoo);
        if (part.labels) part.labels += part.count;
    }
    return TD_OK;
}
