/* The test set in order, shared out without padding; sums meet in two small all-reduces at the end. */
#include "worker/evaluate.h"

#include "base/context.h"
#include "model/autograd/autograd.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"

enum { SAMPLES_AT_ONCE = 32 }; /* per rank: no more activations than a usual training step has */

td_tensor *worker_count_correct(td_tensor *output, td_tensor *labels) {
    return td_sum(td_eq(td_argmax(output, .dim = 1), labels));
}

typedef struct sums {
    int64_t correct, samples;
    double loss;
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

static td_status score_share(worker_run *run, td_loader *loader, int64_t share, sums *sums) {
    TD_TRY(td_loader_start(loader, 0));
    for (;;) {
        td_batch batch;
        td_job_progress(run->job, TD_PHASE_TESTING, run->step);
        TD_TRY(td_loader_next(loader, &batch));
        if (batch.count == TD_SAMPLER_END) return TD_OK;
        if (batch.count) TD_TRY(score_batch(run, &batch, sums));
        worker_display_testing(run->display, sums->samples, share);
    }
}

static td_status score_own_share(worker_run *run, bool draws, sums *sums) {
    td_global_batch_options share = TD_GLOBAL_BATCH_DEFAULTS;
    share.global_batch_size = (int64_t)SAMPLES_AT_ONCE * run->world_size;
    share.world_size = run->world_size;
    share.rank = run->rank;
    share.shuffle = false;
    td_loader_options options = TD_LOADER_DEFAULTS;
    options.generator = draws ? td_context_generator(run->context) : NULL;

    td_sampler *sampler = NULL;
    td_loader *loader = NULL;
    TD_TRY(td_sampler_global_batch(td_dataset_count(run->data.test), &share, &sampler));
    td_status status = td_loader_open(run->data.test, sampler, &options, &loader);
    if (status >= 0) status = score_share(run, loader, td_sampler_length(sampler), sums);
    td_loader_close(&loader);
    td_sampler_close(&sampler);
    return status;
}

td_status worker_evaluate(worker_run *run, bool draws, worker_score *score) {
    td_device cpu = {0};
    sums sums = {0};
    td_module_eval(run->model);
    td_no_grad_begin();
    td_status status = score_own_share(run, draws, &sums);
    td_no_grad_end();
    td_module_train(run->model);
    TD_TRY(status);

    int64_t counts[2] = {sums.correct, sums.samples};
    TD_TRY(td_group_all_reduce(run->group, counts, 2, TD_DTYPE_I64, TD_REDUCE_SUM, cpu, NULL, NULL));
    TD_TRY(td_group_all_reduce(run->group, &sums.loss, 1, TD_DTYPE_F64, TD_REDUCE_SUM, cpu, NULL, NULL));
    *score =
        (worker_score){.correct = counts[0], .samples = counts[1], .loss = sums.loss / (double)counts[1]};
    return TD_OK;
}
