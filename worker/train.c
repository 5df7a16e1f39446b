/*
 * The training loop of one rank. It makes random draws in the order of the script that a PyTorch user writes:
 * seed, build the model, wrap it in DDP, and per epoch set_epoch, a DataLoader's base seed, the steps, and
 * the base seed of the test loader. So losses and weights are that script's.
 */
#include "worker/train.h"

#include "base/clock.h"
#include "base/context.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/checkpoint/safetensors.h"
#include "model/ops/ops.h"
#include "model/optim/optimizer.h"
#include "model/parallel/ddp.h"
#include "model/tensor/scope.h"
#include "worker/command.h"
#include "worker/evaluate.h"
#include "worker/events.h"
#include "worker/groups.h"
#include "worker/join.h"
#include "worker/options.h"
#include "worker/platform.h"
#include "worker/run.h"
#include "worker/stop.h"
#include "worker/summary.h"
#include "worker/sync.h"

#include <stdio.h>
#include <string.h>

/* --- what is needed before the first step --------------------------------------------------------------- */

static td_status open_optimizer(worker_run *run, const td_state_dict *parameters) {
    const worker_options *o = &run->options;
    if (strcmp(o->optimizer, "sgd") == 0) {
        td_sgd_options sgd = {
            .lr = o->lr, .momentum = o->momentum, .weight_decay = o->weight_decay, .nesterov = o->nesterov};
        return td_sgd_open(parameters, &sgd, &run->optimizer);
    }
    td_adam_options adam = {
        .lr = o->lr, .betas = {o->betas[0], o->betas[1]}, .eps = o->eps, .weight_decay = o->weight_decay};
    bool decoupled = strcmp(o->optimizer, "adamw") == 0;
    return decoupled ? td_adamw_open(parameters, &adam, &run->optimizer)
                     : td_adam_open(parameters, &adam, &run->optimizer);
}

static td_status open_parallel(worker_run *run) {
    const worker_options *o = &run->options;
    TD_TRY(worker_sync_choose(run));
    td_ddp_options options = {.sync = run->sync};
    if (!o->sample_groups) return td_ddp_open(run->model, run->group, &options, &run->ddp);
    run->meter.groups = o->sample_groups;
    run->meter.group_losses = td_calloc((size_t)o->sample_groups, sizeof(double));
    if (!run->meter.group_losses) return TD_ERR_MEMORY;
    return td_sample_groups_open(run->model, run->group, (int)o->sample_groups, (uint64_t)o->seed,
                                 &run->groups);
}

/* Seed, build, load weights on rank 0, and make all ranks equal to it. */
static td_status build_model(worker_run *run) {
    TD_TRY(td_manual_seed((uint64_t)run->options.seed));
    TD_TRY(td_zoo_open(run->options.model, &run->model));
    TD_TRY(td_module_parameter_count(run->model, &run->parameters));
    if (run->options.init_from && run->rank == 0 && !run->resume)
        TD_TRY(td_module_load(run->model, run->options.init_from));
    TD_TRY(worker_resume_weights(run->resume, run));
    TD_TRY(open_parallel(run));
    td_state_dict parameters = {0};
    td_status status = td_module_parameters(run->model, &parameters);
    if (status >= 0) status = open_optimizer(run, &parameters);
    if (status >= 0) status = td_optimizer_set_max_norm(run->optimizer, run->options.max_norm);
    td_state_dict_clear(&parameters);
    if (status >= 0) status = worker_resume_optimizer(run->resume, run);
    return status < 0 || !run->ddp ? status : td_ddp_attach(run->ddp, run->optimizer);
}

static td_status open_sampler(worker_run *run) {
    const worker_options *o = &run->options;
    int64_t samples = td_dataset_count(run->data.train);
    if (o->global_batch_size) {
        td_global_batch_options options = TD_GLOBAL_BATCH_DEFAULTS;
        options.global_batch_size = o->global_batch_size;
        options.world_size = run->world_size;
        options.rank = run->rank;
        options.seed = (uint64_t)o->seed;
        if (run->groups) return worker_groups_sampler(run, samples, options, &run->sampler);
        return td_sampler_global_batch(samples, &options, &run->sampler);
    }
    td_distributed_options options = TD_DISTRIBUTED_DEFAULTS;
    options.batch_size = o->batch_size;
    options.world_size = run->world_size;
    options.rank = run->rank;
    options.drop_last = o->drop_last;
    options.seed = (uint64_t)o->seed;
    return td_sampler_distributed(samples, &options, &run->sampler);
}

static td_status open_loader(worker_run *run) {
    TD_TRY(open_sampler(run));
    td_loader_options options = TD_LOADER_DEFAULTS;
    options.generator = td_context_generator(run->context);
    return td_loader_open(run->data.train, run->sampler, &options, &run->loader);
}

static int64_t steps_of(const worker_run *run, int64_t batches) {
    int64_t accumulate = run->options.accumulate;
    return (batches + accumulate - 1) / accumulate;
}

/* How much there is to do, from where the run begins or goes on. */
static td_status plan_steps(worker_run *run) {
    const worker_options *o = &run->options;
    run->steps_per_epoch = steps_of(run, td_sampler_batches_left(run->sampler));
    if (run->steps_per_epoch == 0)
        return td_fail(TD_ERR_ARG, 0, "train", "%lld training samples give %d ranks no batch",
                       (long long)td_dataset_count(run->data.train), run->world_size);
    run->position = worker_resume_position(run->resume);
    run->step = run->position.step;
    TD_TRY(worker_resume_cursor(run->resume, run, &run->cursor));
    TD_TRY(td_sampler_start(run->sampler, run->cursor));
    int64_t left = steps_of(run, td_sampler_batches_left(run->sampler)), begun = run->position.epoch + 1;
    int64_t further = o->steps - run->step - left; /* steps after this epoch's */
    int64_t epochs_of_steps = begun + (further > 0 ? (further - 1) / run->steps_per_epoch + 1 : 0);
    run->epochs = o->steps && epochs_of_steps < o->epochs ? epochs_of_steps : o->epochs;
    run->steps =
        run->epochs < begun ? run->step : run->step + left + (run->epochs - begun) * run->steps_per_epoch;
    if (o->steps && o->steps < run->steps) run->steps = o->steps;
    return TD_OK;
}

static td_status prepare(worker_run *run) {
    TD_TRY(td_zoo_find(run->options.model, &run->zoo));
    if (run->rank == 0) TD_TRY(worker_options_check_files(&run->options));
    TD_TRY(worker_data_open(run->group, run->options.data, run->zoo, &run->data));
    TD_TRY(td_context_open(&run->context));
    TD_TRY(worker_resume_open(run, &run->resume));
    TD_TRY(build_model(run));
    TD_TRY(open_loader(run));
    TD_TRY(plan_steps(run));
    return worker_saver_open(run);
}

/* --- training ------------------------------------------------------------------------------------------- */

/* What this rank had in a step, over all its batches. */
typedef struct share {
    double loss_sum;
    int64_t samples, correct;
} share;

static td_status pass_over(worker_run *run, const td_batch *batch, share *share) {
    double loss = 0;
    int64_t correct = 0;
    td_scope *s = td_scope_open(run->context);
    td_tensor *labels = worker_batch_labels(batch);
    td_tensor *output = td_module_forward(run->model, worker_batch_inputs(batch, run->zoo));
    td_tensor *mean = td_nll_loss(output, labels);
    td_backward(mean);
    td_tensor_item(mean, &loss);
    td_tensor_item_i64(worker_count_correct(output, labels), &correct);
    TD_TRY(td_scope_close(s));
    share->loss_sum += loss * (double)batch->count;
    share->samples += batch->count;
    share->correct += correct;
    return TD_OK;
}

static td_status pass_over_group(worker_run *run, int group, const td_batch *part, void *cookie) {
    share own = {0}, *all = cookie;
    TD_TRY(td_sample_groups_begin(run->groups, part->count));
    if (part->count) TD_TRY(pass_over(run, part, &own));
    TD_TRY(td_sample_groups_end(run->groups));
    run->meter.group_losses[group] = own.loss_sum;
    all->samples += own.samples;
    all->correct += own.correct;
    return TD_OK;
}

static td_status take_batch_in_groups(worker_run *run, share *share) {
    td_batch batch;
    TD_TRY(td_loader_next(run->loader, &batch));
    TD_TRY(worker_groups_each(run, &batch, run->cursor, pass_over_group, share));
    run->cursor = batch.cursor;
    return td_sample_groups_reduce(run->groups);
}

/* Gradients are exchanged in the last batch's pass. */
static td_status take_batch(worker_run *run, bool last, share *share) {
    td_batch batch;
    TD_TRY(td_loader_next(run->loader, &batch));
    if (!last) TD_TRY(td_ddp_no_sync_begin(run->ddp));
    td_status status = td_ddp_begin(run->ddp, batch.count);
    /* A share of a global batch may be empty; td_ddp_begin has then taken part. */
    if (status >= 0 && batch.count) status = pass_over(run, &batch, share);
    if (!last) TD_TRY(td_ddp_no_sync_end(run->ddp));
    run->cursor = batch.cursor;
    return status;
}

/* One optimizer step on the next `batches` batches. */
static td_status train_step(worker_run *run, int64_t batches) {
    share share = {0};
    td_job_progress(run->job, TD_PHASE_TRAINING, run->step + 1);
    td_optimizer_zero_grad(run->optimizer);
    if (run->groups)
        TD_TRY(take_batch_in_groups(run, &share));
    else
        for (int64_t i = 1; i <= batches; i++) TD_TRY(take_batch(run, i == batches, &share));
    TD_TRY(td_optimizer_step(run->optimizer));
    worker_meter_add(&run->meter, share.loss_sum, share.samples, share.correct);
    run->step++;
    return TD_OK;
}

static void show_progress(worker_run *run, int64_t epoch) {
    if (run->meter.steps == 0) worker_say_start(run);
    worker_progress progress = {
        .epoch = epoch + 1,
        .epochs = run->epochs,
        .step = run->step,
        .steps = run->steps,
        .loss = run->totals.loss,
        .accuracy = run->totals.accuracy,
        .samples_per_second = run->totals.samples_per_second,
        .seconds_left = (double)(run->steps - run->step) * run->totals.seconds_per_step,
    };
    worker_display_progress(run->display, &progress);
}

/* After a step: meet the other ranks when its figures are wanted, and show them. */
static td_status report_step(worker_run *run, int64_t epoch) {
    bool logged = run->options.json && run->step % run->options.log_interval == 0;
    bool shown = run->step == run->meter.next_meeting || run->step == run->steps;
    if (!logged && !shown) return TD_OK;
    TD_TRY(worker_meter_meet(&run->meter, run->group, run->step, worker_display_beat(run->display),
                             &run->totals));
    if (run->rank != 0) return TD_OK;
    if (logged) {
        worker_step event = {epoch,
                             run->step,
                             run->totals.loss,
                             run->totals.samples,
                             run->totals.accuracy,
                             run->totals.samples_per_second};
        worker_event_step(&event);
    }
    show_progress(run, epoch);
    return TD_OK;
}

/* A test that is cut short because the run is asked to stop has not been: its draws are taken back. */
static td_status test(worker_run *run, int64_t epoch, bool draws) {
    worker_score score;
    uint8_t before[TD_GENERATOR_STATE_BYTES];
    td_generator_get_state(td_context_generator(run->context), before);
    worker_meter_pause(&run->meter);
    td_status status =
        run->ddp ? td_ddp_sync_buffers(run->ddp) : TD_OK; /* one model is tested, whoever has which */
    if (status >= 0) status = worker_evaluate(run, draws, &score);
    worker_meter_resume(&run->meter);
    run->stopping = status == TD_PENDING;
    if (run->stopping)
        return td_generator_set_state(td_context_generator(run->context), before, sizeof before);
    if (status < 0 || run->rank != 0) return status;
    if (run->options.json) worker_event_eval(epoch, run->step, &score);
    worker_say_score(run, &score);
    return TD_OK;
}

/* After a step, in between two epochs' ends. */
static td_status test_if_due(worker_run *run, int64_t epoch) {
    int64_t interval = run->options.eval_interval;
    bool last = run->position.complete || run->step == run->steps; /* is tested anyway */
    if (!interval || run->step == 0 || run->step % interval != 0 || last) return TD_OK;
    return test(run, epoch, false);
}

/* Entries of the permutation are counted, whatever the number of ranks. */
static void note_position(worker_run *run, int64_t epoch) {
    int64_t size = td_sampler_size(run->sampler);
    int64_t entries = run->options.global_batch_size ? run->cursor : run->cursor * run->world_size;
    run->position.step = run->step;
    run->position.epoch = epoch;
    run->position.entries = entries < size ? entries : size; /* what is beyond is padding */
}

/* From the epoch's start, or from where the checkpoint stands; there a test that the stop cut short is made up for. */
static td_status begin_epoch(worker_run *run, int64_t epoch) {
    if (!run->options.same_order) td_sampler_set_epoch(run->sampler, (uint64_t)epoch);
    td_job_progress(run->job, TD_PHASE_LOADING, run->step);
    TD_TRY(td_loader_start(run->loader, run->cursor));
    worker_meter_begin_epoch(&run->meter);
    if (!run->resume) return TD_OK;
    if (run->groups) td_sample_groups_set_step(run->groups, (uint64_t)run->step);
    TD_TRY(worker_resume_generator(run->resume, run));
    if (run->rank == 0) run->meter.correct = run->position.correct, run->meter.seen = run->position.seen;
    worker_resume_close(&run->resume);
    return test_if_due(run, epoch);
}

static td_status run_epoch(worker_run *run, int64_t epoch) {
    TD_TRY(begin_epoch(run, epoch));
    for (int64_t left = td_sampler_batches_left(run->sampler);
         left > 0 && run->step < run->steps && !run->stopping;) {
        int64_t batches = left < run->options.accumulate ? left : run->options.accumulate;
        TD_TRY(train_step(run, batches));
        left -= batches;
        note_position(run, epoch);
        run->position.complete = left == 0;
        if (run->options.check_sync && run->step % run->options.check_sync == 0)
            TD_TRY(td_ddp_check_equal(run->model, run->group, run->optimizer, run->step));
        TD_TRY(report_step(run, epoch));
        TD_TRY(worker_saver_border(run, run->step == run->steps, &run->stopping));
        if (!run->stopping) TD_TRY(test_if_due(run, epoch));
    }
    worker_display_finish_bar(run->display);
    if (!run->stopping) TD_TRY(test(run, epoch, true));
    run->cursor = 0; /* of the next */
    return TD_OK;
}

/* --- the end -------------------------------------------------------------------------------------------- */

static td_status gather_peaks(worker_run *run, int64_t *peaks) {
    peaks[run->rank] = worker_peak_memory();
    return td_group_all_reduce(run->group, peaks, (size_t)run->world_size, TD_DTYPE_I64, TD_REDUCE_SUM,
                               (td_device){0}, NULL, NULL);
}

static td_status say_end(worker_run *run, const int64_t *peaks) {
    double seconds = (double)(td_clock_ns() - run->started_ns) * 1e-9;
    worker_ending ending = {run->step, seconds, run->totals.samples_per_second, peaks, run->world_size};
    if (run->options.json) worker_event_end(&ending);
    worker_say_end(run, seconds, peaks);
    return TD_OK;
}

/* Asked to stop: save, and say how to go on. */
static td_status leave_early(worker_run *run) {
    TD_TRY(worker_saver_finish(run));
    td_job_progress(run->job, TD_PHASE_LEAVING, run->step);
    if (run->rank != 0) return TD_OK;
    worker_command command = {.used = 0};
    char path[4096 + 32];
    worker_command_resume(&command, run);
    snprintf(path, sizeof path, "%s/step-%08lld", run->options.checkpoint, (long long)run->step);
    const char *signal = sigabbrev_np(worker_stop_signal());
    if (run->options.json) worker_event_stopped(run->step, signal ? signal : "TERM", path, command.text);
    worker_say_stopped(run, path, command.text);
    return TD_OK;
}

static td_status finish(worker_run *run) {
    if (run->stopping) return leave_early(run);
    int64_t *peaks = td_calloc((size_t)run->world_size, sizeof *peaks);
    if (!peaks) return TD_ERR_MEMORY;
    td_status status = gather_peaks(run, peaks);
    if (status >= 0 && run->rank == 0) {
        td_job_progress(run->job, TD_PHASE_SAVING, run->step);
        if (run->options.save) status = td_module_save(run->model, run->options.save);
    }
    if (status >= 0) status = worker_saver_finish(run);
    if (status >= 0 && run->rank == 0) status = say_end(run, peaks);
    td_free(peaks);
    if (status >= 0) td_job_progress(run->job, TD_PHASE_LEAVING, run->step);
    return status;
}

static void say_setting(const worker_run *run) {
    worker_setting setting = {
        .parameters = run->parameters,
        .train_samples = td_dataset_count(run->data.train),
        .test_samples = td_dataset_count(run->data.test),
        .world_size = run->world_size,
        .threads = run->threads,
        .backend = td_group_backend(run->group),
        .device = td_device_name(TD_DEVICE_CPU),
        .sync = td_sync_name(run->sync),
        .sync_refusal = run->sync_refusal,
        .launcher = td_launcher_name(td_job_launcher(run->job)),
        .resumed_from = worker_resume_path(run->resume),
        .resumed_step = run->step,
    };
    if (run->rank == 0 && run->options.json) worker_event_start(&run->options, &setting);
    worker_resume_say(run->resume, run);
}

static td_status train(worker_run *run) {
    TD_TRY(worker_join(run));
    td_job_progress(run->job, TD_PHASE_LOADING, 0);
    TD_TRY(prepare(run));
    say_setting(run);
    worker_meter_begin(&run->meter);
    run->meter.next_meeting = run->step + 1;
    for (int64_t epoch = run->position.epoch; epoch < run->epochs && !run->stopping; epoch++)
        TD_TRY(run_epoch(run, epoch));
    return finish(run);
}

static void close_run(worker_run *run) {
    worker_saver_close(run);
    worker_resume_close(&run->resume);
    td_loader_close(&run->loader);
    td_sampler_close(&run->sampler);
    td_optimizer_close(&run->optimizer);
    td_ddp_close(&run->ddp);
    td_sample_groups_close(&run->groups);
    td_free(run->meter.group_losses);
    td_module_close(&run->model);
    worker_data_close(&run->data);
    td_context_close(&run->context);
    worker_leave(run);
}

/* Say why, let no other rank wait for this one, and tell by the exit status whose fault it is. */
static int give_up(worker_run *run, td_status status) {
    char why[sizeof td_error_last()->text];
    strcpy(why, td_error_last()->text);
    worker_complain(run);
    bool lost_another = status == TD_ERR_PEER || status == TD_ERR_TIMEOUT;
    if (run->group && !lost_another) td_group_abort(run->group, why);
    return lost_another ? WORKER_EXIT_PEER : WORKER_EXIT_FAILED;
}

static int answer_help(void) {
    worker_options_help(stdout);
    return fflush(stdout) == 0 ? 0 : WORKER_EXIT_FAILED;
}

static int answer_usage(void) {
    fprintf(stderr, "%s\n", td_error_last()->text);
    return WORKER_EXIT_USAGE;
}

int tandem_train_main(int argc, char **argv) {
    worker_run run = {.started_ns = td_clock_ns(), .arguments = argv + 1};
    td_status status = worker_options_read(argc, argv, &run.options);
    if (status == TD_PENDING) return answer_help();
    if (status < 0) return answer_usage();
    status = train(&run);
    int code = status < 0 ? give_up(&run, status) : 0;
    bool alone = run.job && td_job_launcher(run.job) == TD_LAUNCHER_NONE, stopped = run.stopping;
    close_run(&run);
    if (code == 0 && stopped && alone) worker_stop_die();
    return code;
}

int tandem_train_check(int argc, char **argv) {
    worker_options options;
    td_status status = worker_options_read(argc, argv, &options);
    if (status == TD_PENDING) return answer_help();
    if (status < 0) return answer_usage();
    if (worker_options_check_files(&options) >= 0) return -1;
    fprintf(stderr, "tandem train: %s\n", td_error_last()->text);
    return WORKER_EXIT_USAGE;
}
