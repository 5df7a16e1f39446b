/* The test set in order, shared out without padding; sums meet in two small all-reduces at the end. */
#include "worker/evaluate.h"

#include "base/context.h"
#include "model/autograd/autograd.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "worker/groups.h"
#include "worker/stop.h"

enum { SAMPLES_AT_ONCE = 32 }; /* per rank: no more activations than a usual training step has */

td_tensor *worker_count_correct(td_tensor *output, td_tensor *labels) {
    return td_sum(td_eq(td_argmax(output, .dim = 1), labels));
}

typedef struct sums {
    int64_t correct, samples;
    double loss;
    double *group_losses; /* instead of loss, with sample groups */
    bool cut_short;
} sums;

static td_status score_batch(worker_run *run, const td_batch *batch, sums *sums) {
    double loss = 0;
    int64_t correct = 0;
    td_scope *s = td_scope_open(run->context);
    td_tensor *labels = worker_batch_labels(batch);
    td_tensor *output = td_module_forward(run->model, worker_batch_inputs(batch, run->zoo));
    td_tensor_item(td_nll_loss(output, labels, .reduction = TD_REDUCTION_SUM), &loss);
    td_tensor_item_i64(worker_count_correct(output, labels), &correct);
    TD_TRY(td_scope_close(s));
    sums->loss += loss;
    sums->correct += correct;
    sums->samples += batch->count;
    return TD_OK;
}

static td_status score_group(worker_run *run, int group, const td_batch *part, void *cookie) {
    sums *sums = cookie;
    double before = sums->loss;
    sums->loss = sums->group_losses[group];
    td_status status = part->count ? score_batch(run, part, sums) : TD_OK;
    sums->group_losses[group] = sums->loss;
    sums->loss = before;
    return status;
}

static td_status score_share(worker_run *run, td_loader *loader, int64_t share, sums *sums) {
    TD_TRY(td_loader_start(loader, 0));
    for (int64_t cursor = 0;;) {
        td_batch batch;
        sums->cut_short = worker_stop_signal() != 0;
        if (sums->cut_short) return TD_OK;
        td_job_progress(run->job, TD_PHASE_TESTING, run->step);
        TD_TRY(td_loader_next(loader, &batch));
        if (batch.count == TD_SAMPLER_END) return TD_OK;
        if (run->groups)
            TD_TRY(worker_groups_each(run, &batch, cursor, score_group, sums));
        else if (batch.count)
            TD_TRY(score_batch(run, &batch, sums));
        cursor = batch.cursor;
        worker_display_testing(run->display, sums->samples, share);
    }
}

static td_status score_own_share(worker_run *run, bool draws, sums *sums) {
    td_global_batch_options share = TD_GLOBAL_BATCH_DEFAULTS;
    int shares = run->groups ? (int)run->options.sample_groups : run->world_size;
    share.global_batch_size = (int64_t)SAMPLES_AT_ONCE * shares;
    share.world_size = run->world_size;
    share.rank = run->rank;
    share.shuffle = false;
    td_loader_options options = TD_LOADER_DEFAULTS;
    options.generator = draws ? td_context_generator(run->context) : NULL;

    td_sampler *sampler = NULL;
    td_loader *loader = NULL;
    int64_t samples = td_dataset_count(run->data.test);
    TD_TRY(run->groups ? worker_groups_sampler(run, samples, share, &sampler)
                       : td_sampler_global_batch(samples, &share, &sampler));
    td_status status = td_loader_open(run->data.test, sampler, &options, &loader);
    if (status >= 0) status = score_share(run, loader, td_sampler_length(sampler), sums);
    td_loader_close(&loader);
    td_sampler_close(&sampler);
    return status;
}

/* The sums of all ranks. */
static td_status add_up(worker_run *run, const sums *own, worker_score *score) {
    td_device cpu = {0};
    int64_t counts[3] = {own->correct, own->samples, own->cut_short};
    double loss = own->loss;
    TD_TRY(td_group_all_reduce(run->group, counts, 3, TD_DTYPE_I64, TD_REDUCE_SUM, cpu, NULL, NULL));
    if (run->groups)
        TD_TRY(worker_sum_groups(run->group, own->group_losses, run->options.sample_groups, &loss));
    else
        TD_TRY(td_group_all_reduce(run->group, &loss, 1, TD_DTYPE_F64, TD_REDUCE_SUM, cpu, NULL, NULL));
    if (counts[2]) return TD_PENDING;
    *score = (worker_score){.correct = counts[0], .samples = counts[1], .loss = loss / (double)counts[1]};
    return TD_OK;
}

td_status worker_evaluate(worker_run *run, bool draws, worker_score *score) {
    double group_losses[TD_SAMPLE_GROUPS_MAX] = {0};
    sums sums = {.group_losses = group_losses};
    td_module_eval(run->model);
    td_no_grad_begin();
    td_status status = score_own_share(run, draws, &sums);
    td_no_grad_end();
    td_module_train(run->model);
    TD_TRY(status);
    return add_up(run, &sums, score);
}
