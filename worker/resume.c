/* Rank 0 tells the others in one message whether there is a checkpoint and what is written beside its tensors, and
 * sends all tensors but the model's, which td_ddp_open spreads anyway. */
#include "worker/resume.h"

#include "base/context.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/number.h"
#include "model/checkpoint/checkpoint.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "worker/checkpoint.h"
#include "worker/run.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct worker_resume {
    td_state_dict state;     /* all of it on rank 0; elsewhere what was sent */
    td_checkpoint_info info; /* of rank 0 */
    worker_facts facts;
};

/* --- finding -------------------------------------------------------------------------------------------- */

/* A step's folder, or a folder of these. */
static td_status read_named(const char *path, worker_resume *r) {
    char manifest[4096 + 32];
    snprintf(manifest, sizeof manifest, "%s/checkpoint.json", path);
    if (access(manifest, F_OK) == 0 || td_checkpoint_newest_step(path) < 0)
        return td_checkpoint_read(path, &r->state, &r->info);
    return td_checkpoint_read_newest(path, &r->state, &r->info);
}

/* A folder of checkpoints is one run's history: going on from its middle would leave a wrong end. */
static td_status check_newest(const worker_options *o, const worker_resume *r) {
    int64_t newest = o->checkpoint ? td_checkpoint_newest_step(o->checkpoint) : -1;
    if (newest <= r->info.step) return TD_OK;
    return td_fail(
        TD_ERR_ARG, 0, "train",
        "--resume %s is at step %lld, but --checkpoint %s has step %lld already; remove what is later, or "
        "name another folder",
        o->resume, (long long)r->info.step, o->checkpoint, (long long)newest);
}

/* On rank 0. TD_PENDING: there is none. */
static td_status find(const worker_run *run, worker_resume *r) {
    const worker_options *o = &run->options;
    bool newest = strcmp(o->resume, "auto") == 0;
    td_status status =
        newest ? td_checkpoint_read_newest(o->checkpoint, &r->state, &r->info) : read_named(o->resume, r);
    if (status != TD_OK) return status;
    if (!newest) TD_TRY(check_newest(o, r));
    TD_TRY(worker_facts_read(r->info.run, strlen(r->info.run), r->info.path, &r->facts));
    worker_facts now;
    TD_TRY(worker_facts_of(run, &now));
    return worker_facts_check(&r->facts, &now, r->info.path);
}

/* --- sharing -------------------------------------------------------------------------------------------- */

/* What it says beside the tensors; nothing: there is none. */
static td_status share_facts(const worker_run *run, bool found, worker_resume *r) {
    void *text = found ? r->info.run : NULL;
    size_t bytes = found ? strlen(r->info.run) : 0;
    if (run->world_size == 1) return found ? TD_OK : TD_PENDING;
    TD_TRY(td_group_broadcast_object(run->group, &text, &bytes, 0));
    if (run->rank == 0) return found ? TD_OK : TD_PENDING;
    td_status status = bytes ? worker_facts_read(text, bytes, "the checkpoint", &r->facts) : TD_PENDING;
    td_free(text);
    return status;
}

typedef struct label {
    char name[640];
    td_dtype dtype;
    td_ints sizes;
} label;

static bool is_sent(const td_state_entry *entry) { return strncmp(entry->name, "model.", 6) != 0; }

static td_status make_labels(const td_state_dict *state, label **labels, size_t *count) {
    size_t n = 0;
    label *made = td_calloc(state->count + 1, sizeof *made);
    if (!made) return TD_ERR_MEMORY;
    for (size_t i = 0; i < state->count; i++) {
        const td_state_entry *entry = &state->at[i];
        if (!is_sent(entry)) continue;
        made[n].dtype = td_tensor_dtype(entry->tensor);
        made[n].sizes = td_tensor_sizes(entry->tensor);
        snprintf(made[n++].name, sizeof made->name, "%s", entry->name);
    }
    *labels = made;
    *count = n;
    return TD_OK;
}

/* One tensor, from rank 0's dict into everybody's. */
static td_status share_tensor(const worker_run *run, const label *label, td_state_dict *state) {
    td_tensor *x = run->rank == 0 ? td_state_dict_find(state, label->name)
                                  : td_empty(label->sizes, .dtype = label->dtype);
    if (!x) return td_error_last()->status;
    TD_TRY(td_group_broadcast(run->group, td_tensor_data(x), (size_t)td_tensor_count(x), label->dtype, 0,
                              (td_device){0}, NULL, NULL));
    return run->rank == 0 ? TD_OK : td_state_dict_add(state, label->name, x);
}

static td_status share_tensors(const worker_run *run, worker_resume *r) {
    label *labels = NULL;
    size_t count = 0;
    if (run->world_size == 1) return TD_OK;
    if (run->rank == 0) TD_TRY(make_labels(&r->state, &labels, &count));
    void *bytes = labels;
    size_t size = count * sizeof *labels;
    td_status status = td_group_broadcast_object(run->group, &bytes, &size, 0);
    labels = bytes;
    td_scope *scope = td_scope_open(run->context);
    for (size_t i = 0; status >= 0 && i < size / sizeof *labels; i++)
        status = share_tensor(run, &labels[i], &r->state);
    td_status closed = td_scope_close(scope);
    td_free(labels);
    return status < 0 ? status : closed;
}

/* --- life ----------------------------------------------------------------------------------------------- */

td_status worker_resume_open(worker_run *run, worker_resume **resume) {
    if (!run->options.resume) return TD_OK;
    worker_resume *r = td_calloc(1, sizeof *r);
    if (!r) return TD_ERR_MEMORY;
    td_status status = run->rank == 0 ? find(run, r) : TD_OK;
    if (status >= 0) status = share_facts(run, run->rank == 0 && status == TD_OK, r);
    if (status == TD_OK) status = share_tensors(run, r);
    if (status != TD_OK)
        worker_resume_close(&r);
    else
        *resume = r;
    return status < 0 ? status : TD_OK;
}

void worker_resume_close(worker_resume **resume) {
    worker_resume *r = *resume;
    if (!r) return;
    td_state_dict_clear(&r->state);
    td_checkpoint_info_clear(&r->info);
    td_free(r);
    *resume = NULL;
}

/* --- giving --------------------------------------------------------------------------------------------- */

td_status worker_resume_weights(const worker_resume *r, worker_run *run) {
    if (!r || run->rank != 0) return TD_OK;
    td_checkpoint_parts parts = {.module = run->model};
    return td_checkpoint_restore(&parts, &r->state);
}

/* The saved slots, and the options that the optimizer has now. */
static td_status mix(const worker_resume *r, const worker_run *run, td_state_dict *mixed) {
    td_state_dict saved = {0};
    td_status status = td_state_dict_part(&r->state, "optimizer.", &saved);
    for (size_t i = 0; status >= 0 && i < saved.count; i++)
        if (strncmp(saved.at[i].name, "param_groups.", 13) != 0)
            status = td_state_dict_add(mixed, saved.at[i].name, saved.at[i].tensor);
    td_state_dict_clear(&saved);
    return status < 0 ? status : td_optimizer_state(run->optimizer, mixed);
}

td_status worker_resume_optimizer(worker_resume *r, worker_run *run) {
    if (!r) return TD_OK;
    td_state_dict mixed = {0};
    td_status status = mix(r, run, &mixed);
    if (status >= 0) status = td_optimizer_load_state(run->optimizer, &mixed);
    td_state_dict_clear(&mixed);
    return status;
}

td_status worker_resume_cursor(const worker_resume *r, const worker_run *run, int64_t *cursor) {
    if (!r) return TD_OK;
    const worker_position *at = &r->facts.position;
    bool global = run->options.global_batch_size > 0;
    int64_t end = global ? td_sampler_size(run->sampler) : td_sampler_length(run->sampler);
    int64_t share = global ? at->entries : at->entries / run->world_size;
    if (!at->complete && !global && at->entries % run->world_size)
        return td_fail(
            TD_ERR_ARG, 0, "train",
            "the checkpoint stands at sample %lld of its epoch, which %d ranks with --batch-size cannot "
            "share evenly; go on with %lld ranks, or with --global-batch-size, which any number can share",
            (long long)at->entries, run->world_size, (long long)r->facts.computation.world_size);
    *cursor = at->complete || share > end ? end : share;
    return TD_OK;
}

/* One state for all ranks, or one for each of those that there were. */
static const td_tensor *find_state(const td_state_dict *state, int rank) {
    char name[48];
    const td_tensor *one = td_state_dict_find(state, "generator");
    if (one) return one;
    int saved = 0;
    for (;; saved++) {
        snprintf(name, sizeof name, "generator.%d", saved);
        if (!td_state_dict_find(state, name)) break;
    }
    snprintf(name, sizeof name, "generator.%d", saved ? rank % saved : 0);
    return td_state_dict_find(state, name);
}

td_status worker_resume_generator(const worker_resume *r, worker_run *run) {
    if (!r) return TD_OK;
    uint8_t bytes[TD_GENERATOR_STATE_BYTES];
    const td_tensor *x = find_state(&r->state, run->rank);
    if (!x) return td_fail(TD_ERR_FORMAT, 0, "train", "the checkpoint has no generator's state");
    TD_TRY(td_tensor_copy_to(x, bytes, sizeof bytes));
    return td_generator_set_state(td_context_generator(run->context), bytes, sizeof bytes);
}

void worker_resume_say(const worker_resume *r, const worker_run *run) {
    if (!r || run->rank != 0) return;
    worker_facts now;
    char differences[512];
    if (worker_facts_of(run, &now) < 0) return;
    worker_facts_compare(&r->facts.computation, &now.computation, differences, sizeof differences);
    worker_display_line(run->display, "going on from %s, after step %s", r->info.path,
                        td_format_count(r->info.step).text);
    if (*differences)
        td_log_line(TD_LOG_WARN, "train", "other bits than without the stop are to be expected: %s",
                    differences);
}

worker_position worker_resume_position(const worker_resume *r) {
    return r ? r->facts.position : (worker_position){0};
}

const char *worker_resume_path(const worker_resume *r) { return r ? r->info.path : NULL; }
