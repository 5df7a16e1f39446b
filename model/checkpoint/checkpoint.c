/* Whole checkpoints at once: the parts of a run by their prefixes, writing one folder, reading one. */
#include "model/checkpoint/checkpoint.h"

#include "base/context.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "model/checkpoint/folder.h"
#include "model/checkpoint/manifest.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/write.h"
#include "model/tensor/scope.h"
#include "model/tensor/tensor.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* --- parts ---------------------------------------------------------------------------------------------- */

td_status td_state_dict_part(const td_state_dict *dict, const char *prefix, td_state_dict *part) {
    size_t n = strlen(prefix);
    for (size_t i = 0; i < dict->count; i++)
        if (!strncmp(dict->at[i].name, prefix, n))
            TD_TRY(td_state_dict_add(part, dict->at[i].name + n, dict->at[i].tensor));
    return TD_OK;
}

td_status td_state_dict_add_part(td_state_dict *state, const char *prefix, const td_state_dict *part) {
    char name[700];
    for (size_t i = 0; i < part->count; i++) {
        size_t n = strlen(prefix) + strlen(part->at[i].name);
        if (n >= sizeof name)
            return td_fail(TD_ERR_ARG, 0, "checkpoint", "the name '%.64s...' is too long", part->at[i].name);
        strcpy(stpcpy(name, prefix), part->at[i].name);
        TD_TRY(td_state_dict_add(state, name, part->at[i].tensor));
    }
    return TD_OK;
}

static td_status collect_module(td_module *module, td_state_dict *state) {
    td_state_dict part = {0};
    td_status status = td_module_state(module, &part);
    if (status == TD_OK) status = td_state_dict_add_part(state, "model.", &part);
    td_state_dict_clear(&part);
    return status;
}

static td_status collect_optimizer(const td_optimizer *optimizer, td_state_dict *state) {
    td_state_dict part = {0};
    td_status status = td_optimizer_state(optimizer, &part);
    if (status == TD_OK) status = td_state_dict_add_part(state, "optimizer.", &part);
    td_state_dict_clear(&part);
    return status;
}

static td_status collect_generator(const td_generator *generator, td_state_dict *state) {
    uint8_t bytes[TD_GENERATOR_STATE_BYTES];
    td_generator_get_state(generator, bytes);
    td_scope *scope = td_scope_open(td_context_current());
    td_tensor *x = td_tensor_from(bytes, TD_DTYPE_U8, TD_INTS(TD_GENERATOR_STATE_BYTES));
    td_status status = x ? td_state_dict_add(state, "generator", x) : TD_OK;
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

td_status td_checkpoint_collect(const td_checkpoint_parts *parts, td_state_dict *state) {
    if (parts->module) TD_TRY(collect_module(parts->module, state));
    if (parts->optimizer) TD_TRY(collect_optimizer(parts->optimizer, state));
    if (parts->generator) TD_TRY(collect_generator(parts->generator, state));
    return TD_OK;
}

static td_status restore_module(td_module *module, const td_state_dict *state) {
    td_state_dict part = {0};
    td_status status = td_state_dict_part(state, "model.", &part);
    if (status == TD_OK) status = td_module_load_state(module, &part);
    td_state_dict_clear(&part);
    return status;
}

static td_status restore_optimizer(td_optimizer *optimizer, const td_state_dict *state) {
    td_state_dict part = {0};
    td_status status = td_state_dict_part(state, "optimizer.", &part);
    if (status == TD_OK) status = td_optimizer_load_state(optimizer, &part);
    td_state_dict_clear(&part);
    return status;
}

static td_status restore_generator(td_generator *generator, const td_state_dict *state) {
    uint8_t bytes[TD_GENERATOR_STATE_BYTES];
    const td_tensor *x = td_state_dict_find(state, "generator");
    if (!x) return td_fail(TD_ERR_ARG, 0, "checkpoint", "'generator' is missing");
    TD_TRY(td_tensor_copy_to(x, bytes, sizeof bytes));
    return td_generator_set_state(generator, bytes, sizeof bytes);
}

td_status td_checkpoint_restore(const td_checkpoint_parts *parts, const td_state_dict *state) {
    if (parts->module) TD_TRY(restore_module(parts->module, state));
    if (parts->optimizer) TD_TRY(restore_optimizer(parts->optimizer, state));
    if (parts->generator) TD_TRY(restore_generator(parts->generator, state));
    return TD_OK;
}

/* --- writing -------------------------------------------------------------------------------------------- */

static uint32_t crc_of(const void *data, size_t bytes) { return (uint32_t)crc32_z(0, data, bytes); }

static td_status write_file(const char *folder, const char *name, const void *data, size_t bytes) {
    char *path = NULL;
    TD_TRY(checkpoint_join(folder, name, &path));
    td_status status = td_file_write_whole(path, data, bytes);
    td_free(path);
    return status;
}

static td_status write_and_publish(const char *folder, int64_t step, const char *temporary,
                                   const void *tensors, size_t tensor_bytes, const char *manifest) {
    TD_TRY(write_file(temporary, CHECKPOINT_TENSORS, tensors, tensor_bytes));
    TD_TRY(write_file(temporary, CHECKPOINT_MANIFEST, manifest, strlen(manifest)));
    return checkpoint_publish(folder, step, temporary);
}

td_status checkpoint_write(const char *folder, int64_t step, const void *tensors, size_t tensor_bytes,
                           const char *run, size_t *bytes) {
    checkpoint_manifest m = {.step = step,
                             .tensor_bytes = (int64_t)tensor_bytes,
                             .tensor_crc = crc_of(tensors, tensor_bytes),
                             .run = (char *)run};
    char *manifest = NULL, *temporary = NULL;
    TD_TRY(checkpoint_manifest_write(&m, &manifest));
    td_status status = checkpoint_begin(folder, step, &temporary);
    if (status == TD_OK) {
        status = write_and_publish(folder, step, temporary, tensors, tensor_bytes, manifest);
        if (status < 0) checkpoint_remove_temporary(temporary);
    }
    if (status == TD_OK) *bytes = tensor_bytes + strlen(manifest);
    td_free(temporary);
    td_free(manifest);
    return status;
}

td_status td_checkpoint_save(const char *folder, int64_t step, const td_state_dict *state, const char *run) {
    if (step < 0)
        return td_fail(TD_ERR_ARG, 0, "checkpoint", "step %lld, expected 0 or more", (long long)step);
    void *tensors = NULL;
    size_t room = 0, tensor_bytes = 0, bytes;
    td_status status = td_safetensors_dump(state, &tensors, &room, &tensor_bytes);
    if (status == TD_OK) status = checkpoint_make_folder(folder);
    if (status == TD_OK) status = checkpoint_write(folder, step, tensors, tensor_bytes, run, &bytes);
    td_free(tensors);
    return status;
}

/* --- reading -------------------------------------------------------------------------------------------- */

static td_status read_manifest(const char *folder, checkpoint_manifest *m, size_t *bytes) {
    char *path = NULL;
    void *text = NULL;
    TD_TRY(checkpoint_join(folder, CHECKPOINT_MANIFEST, &path));
    td_status status = td_file_read(path, CHECKPOINT_MANIFEST_MOST, &text, bytes);
    if (status == TD_ERR_SYSTEM && td_error_last()->foreign == ENOENT && access(folder, F_OK) == 0)
        status = td_fail(TD_ERR_SYSTEM, ENOENT, "checkpoint", "%s is no checkpoint: there is no %s in it",
                         folder, CHECKPOINT_MANIFEST);
    if (status == TD_OK) status = checkpoint_manifest_read(text, *bytes, path, m);
    td_free(text);
    td_free(path);
    return status;
}

static td_status check_tensors(const char *path, const void *data, size_t bytes,
                               const checkpoint_manifest *m) {
    if ((int64_t)bytes != m->tensor_bytes)
        return td_fail(
            TD_ERR_FORMAT, 0, "checkpoint", "%s: it has %zu bytes, but %lld were written; it is %s", path,
            bytes, (long long)m->tensor_bytes, (int64_t)bytes < m->tensor_bytes ? "cut off" : "another file");
    uint32_t crc = crc_of(data, bytes);
    if (crc != m->tensor_crc)
        return td_fail(TD_ERR_FORMAT, 0, "checkpoint",
                       "%s: it is damaged or was changed: its CRC-32 is %08x, but %08x was written", path,
                       (unsigned)crc, (unsigned)m->tensor_crc);
    return TD_OK;
}

static td_status read_tensors(const char *folder, const checkpoint_manifest *m, td_state_dict *state) {
    char *path = NULL;
    void *data = NULL;
    size_t bytes = 0;
    TD_TRY(checkpoint_join(folder, CHECKPOINT_TENSORS, &path));
    td_status status = td_file_read(path, 0, &data, &bytes);
    if (status == TD_OK) status = check_tensors(path, data, bytes, m);
    if (status == TD_OK) status = td_safetensors_parse(data, bytes, path, state);
    td_free(data);
    td_free(path);
    return status;
}

/* Take back what was appended beyond `count` entries. */
static void shorten(td_state_dict *state, size_t count) {
    td_state_dict tail = {.count = state->count - count, .at = state->at + count};
    for (size_t i = 0; i < tail.count; i++) {
        td_free(tail.at[i].name);
        td_release(&tail.at[i].tensor);
    }
    state->count = count;
}

td_status td_checkpoint_read(const char *path, td_state_dict *state, td_checkpoint_info *info) {
    checkpoint_manifest m = {0};
    size_t bytes = 0, count = state->count;
    TD_TRY(read_manifest(path, &m, &bytes));
    char *copy = td_strdup(path);
    td_status status = copy ? read_tensors(path, &m, state) : TD_ERR_MEMORY;
    if (status < 0) {
        shorten(state, count);
        td_free(copy);
        checkpoint_manifest_clear(&m);
        return status;
    }
    *info = (td_checkpoint_info){
        .step = m.step, .path = copy, .run = m.run, .bytes = bytes + (size_t)m.tensor_bytes};
    return TD_OK;
}

static td_status read_step(const char *folder, int64_t step, td_state_dict *state, td_checkpoint_info *info) {
    char *path = NULL;
    TD_TRY(checkpoint_path(folder, step, &path));
    td_status status = td_checkpoint_read(path, state, info);
    td_free(path);
    return status;
}

td_status td_checkpoint_read_newest(const char *folder, td_state_dict *state, td_checkpoint_info *info) {
    int64_t *steps = NULL;
    size_t count = 0, tried = 0;
    td_error newest = {0};
    TD_TRY(checkpoint_steps(folder, &steps, &count));
    td_status status = TD_PENDING;
    for (; tried < count && status != TD_OK; tried++) {
        status = read_step(folder, steps[tried], state, info);
        if (tried == 0) newest = *td_error_last();
        if (status == TD_ERR_MEMORY) break;
        if (status < 0 && tried + 1 < count)
            td_log_line(TD_LOG_WARN, "checkpoint", "passed over: %s", td_error_last()->text);
    }
    td_free(steps);
    if (status < 0 && status != TD_ERR_MEMORY) td_error_restore(&newest);
    return status < 0 && status != TD_ERR_MEMORY ? newest.status : status;
}

int64_t td_checkpoint_newest_step(const char *folder) {
    int64_t *steps = NULL, newest = -1;
    size_t count = 0;
    const td_error before = *td_error_last();
    if (checkpoint_steps(folder, &steps, &count) == TD_OK && count) newest = steps[0];
    td_free(steps);
    td_error_restore(&before);
    return newest;
}

void td_checkpoint_info_clear(td_checkpoint_info *info) {
    td_free(info->path);
    td_free(info->run);
    *info = (td_checkpoint_info){0};
}
