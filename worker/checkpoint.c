/* Ranks agree at each border by one all-reduce of a number: is it time, does anybody have to leave? */
#include "worker/checkpoint.h"

#include "base/clock.h"
#include "base/context.h"
#include "base/log.h"
#include "base/memory.h"
#include "model/ops/kernels.h"
#include "model/parallel/ddp.h"
#include "model/tensor/scope.h"
#include "model/tensor/tensor.h"
#include "worker/events.h"
#include "worker/run.h"
#include "worker/stop.h"

#include <stdio.h>
#include <string.h>

/* --- what this run is ------------------------------------------------------------------------------------ */

static td_status copy_text(const char *from, char to[FACT_BYTES]) {
    if (snprintf(to, FACT_BYTES, "%s", from) < FACT_BYTES) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "train", "'%s' is too long for a checkpoint", from);
}

td_status worker_facts_of(const worker_run *run, worker_facts *facts) {
    const worker_options *o = &run->options;
    *facts = (worker_facts){.position = run->position};
    TD_TRY(copy_text(o->model, facts->order.model));
    TD_TRY(copy_text(o->optimizer, facts->order.optimizer));
    facts->order.samples = td_dataset_count(run->data.train);
    facts->order.seed = o->seed;
    facts->order.same_order = o->same_order;
    facts->order.drop_last = o->drop_last;
    worker_computation *c = &facts->computation;
    c->batch_size = o->batch_size;
    c->global_batch_size = o->global_batch_size;
    c->accumulate = o->accumulate;
    c->sample_groups = o->sample_groups;
    TD_TRY(copy_text(o->deterministic, c->deterministic));
    c->lr = o->lr;
    c->momentum = o->momentum;
    c->weight_decay = o->weight_decay;
    c->eps = o->eps;
    c->betas[0] = o->betas[0];
    c->betas[1] = o->betas[1];
    c->nesterov = o->nesterov;
    c->max_norm = o->max_norm;
    c->world_size = run->world_size;
    c->threads = run->threads;
    TD_TRY(copy_text(td_group_backend(run->group), c->backend));
    return td_kernels_describe(run->context, c->kernels, sizeof c->kernels);
}

/* --- what is saved -------------------------------------------------------------------------------------- */

static td_status add_generator(const char *name, const worker_own_state *own, td_state_dict *state) {
    td_tensor *x = td_tensor_from(own->generator, TD_DTYPE_U8, TD_INTS(TD_GENERATOR_STATE_BYTES));
    return x ? td_state_dict_add(state, name, x) : td_error_last()->status;
}

/* "generator", or, where ranks differ (dropout over shares of other sizes), "generator.0", "generator.1", ... */
static td_status add_generators(const worker_run *run, const worker_own_state *all, td_state_dict *state) {
    bool same = true; /* a step in sample groups seeds them anew, so that whichever is saved is as good */
    for (int r = 1; r < run->world_size && !run->groups; r++)
        same = same && !memcmp(all[r].generator, all[0].generator, sizeof all->generator);
    if (same) return add_generator("generator", all, state);
    for (int r = 0; r < run->world_size; r++) {
        char name[48];
        snprintf(name, sizeof name, "generator.%d", r);
        TD_TRY(add_generator(name, &all[r], state));
    }
    return TD_OK;
}

static td_status gather(worker_run *run, worker_own_state *all) {
    worker_own_state own = {.correct = run->meter.correct, .seen = run->meter.seen};
    td_generator_get_state(td_context_generator(run->context), own.generator);
    TD_TRY(td_group_gather(run->group, &own, all, sizeof own, TD_DTYPE_U8, 0, (td_device){0}, NULL, NULL));
    run->position.correct = run->position.seen = 0;
    for (int r = 0; run->rank == 0 && r < run->world_size; r++) {
        run->position.correct += all[r].correct;
        run->position.seen += all[r].seen;
    }
    return TD_OK;
}

/* On rank 0, however the ranks share it. */
static td_status collect_optimizer(worker_run *run, td_state_dict *state) {
    td_state_dict part = {0};
    td_status status = run->ddp ? td_ddp_optimizer_state(run->ddp, run->optimizer, &part)
                                : td_optimizer_state(run->optimizer, &part);
    if (status >= 0) status = td_state_dict_add_part(state, "optimizer.", &part);
    td_state_dict_clear(&part);
    return status;
}

static td_status post(worker_run *run, const worker_own_state *all, td_state_dict *state) {
    worker_facts facts;
    char *text = NULL;
    td_checkpoint_parts parts = {.module = run->model};
    TD_TRY(td_checkpoint_collect(&parts, state));
    TD_TRY(add_generators(run, all, state));
    TD_TRY(worker_facts_of(run, &facts));
    TD_TRY(worker_facts_write(&facts, run->arguments, &text));
    td_status status = td_checkpoint_writer_post(run->saver.writer, run->position.step, state, text);
    td_free(text);
    return status;
}

static td_status gather_and_post(worker_run *run) {
    td_state_dict state = {0};
    TD_TRY(gather(run, run->saver.all));
    td_scope *scope = td_scope_open(run->context);
    td_status status = collect_optimizer(run, &state);
    if (status >= 0 && run->rank == 0) status = post(run, run->saver.all, &state);
    td_state_dict_clear(&state);
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

/* --- what became of it ---------------------------------------------------------------------------------- */

static td_status take_result(worker_run *run, bool wait) {
    worker_saver *s = &run->saver;
    if (!s->writer) return TD_OK;
    td_status status = td_checkpoint_writer_result(s->writer, wait, &s->saved);
    if (status != TD_OK) return status < 0 ? status : TD_OK;
    s->saved.blocked_seconds = s->blocked_seconds;
    if (run->options.json) worker_event_checkpoint(&s->saved);
    return TD_OK;
}

/* One that could not be written does not end a run that can still be saved later. */
static void warn(const worker_run *run) {
    td_log_line(TD_LOG_WARN, "train", "step %lld is not saved: %s", (long long)run->saver.posted_step,
                td_error_last()->text);
}

static td_status save(worker_run *run) {
    worker_saver *s = &run->saver;
    int64_t began_ns = td_clock_ns();
    worker_meter_pause(&run->meter);
    td_job_progress(run->job, TD_PHASE_SAVING, run->step);
    if (take_result(run, true) < 0) warn(run);
    s->posted_step = run->position.step;
    td_status status = gather_and_post(run);
    worker_meter_resume(&run->meter);
    s->blocked_seconds = (double)(td_clock_ns() - began_ns) * 1e-9;
    s->due_ns = td_clock_ns() + (int64_t)(run->options.checkpoint_every.seconds * 1e9);
    return status;
}

/* --- borders -------------------------------------------------------------------------------------------- */

enum { GO_ON, SAVE, STOP };

static int32_t wish(const worker_run *run) {
    const worker_interval *every = &run->options.checkpoint_every;
    if (worker_stop_signal()) return STOP;
    if (every->steps) return run->position.step % every->steps == 0 ? SAVE : GO_ON;
    return run->rank == 0 && td_clock_ns() >= run->saver.due_ns ? SAVE : GO_ON;
}

td_status worker_saver_border(worker_run *run, bool last, bool *stop) {
    if (!run->options.checkpoint) return TD_OK;
    int32_t verdict = wish(run);
    TD_TRY(td_group_all_reduce(run->group, &verdict, 1, TD_DTYPE_I32, TD_REDUCE_MAX, (td_device){0}, NULL,
                               NULL));
    if (take_result(run, false) < 0) warn(run);
    td_status status = verdict != GO_ON || last ? save(run) : TD_OK;
    if (status == TD_ERR_MEMORY && run->rank == 0 && !last)
        warn(run); /* no memory for the copy now, but perhaps later */
    else if (status < 0)
        return status;
    *stop = verdict == STOP;
    return TD_OK;
}

td_status worker_saver_finish(worker_run *run) {
    if (!run->options.checkpoint) return TD_OK;
    if (run->saver.posted_step != run->position.step) TD_TRY(save(run));
    return take_result(run, true);
}

/* --- life ----------------------------------------------------------------------------------------------- */

td_status worker_saver_open(worker_run *run) {
    worker_saver *s = &run->saver;
    const worker_options *o = &run->options;
    s->posted_step = -1;
    if (!o->checkpoint) return TD_OK;
    s->due_ns = td_clock_ns() + (int64_t)(o->checkpoint_every.seconds * 1e9);
    if (run->resume && strcmp(o->resume, "auto") == 0) s->posted_step = run->step;
    if (run->rank == 0 && !(s->all = td_calloc((size_t)run->world_size, sizeof *s->all)))
        return TD_ERR_MEMORY;
    if (run->rank == 0) TD_TRY(td_checkpoint_writer_open(o->checkpoint, (int)o->keep, &s->writer));
    worker_stop_watch();
    return TD_OK;
}

void worker_saver_close(worker_run *run) {
    td_checkpoint_writer_close(&run->saver.writer);
    td_free(run->saver.all);
    run->saver.all = NULL;
}
