/*
 * Checkpoints: what a run needs to go on exactly where it was. One is a folder that is there whole or not at
 * all, also after a crash of the program or of the machine:
 *
 *     DIR/step-00000123/state.safetensors   named tensors
 *     DIR/step-00000123/checkpoint.json     format version, step, size and CRC-32 of the tensors' file, and
 *                                           an object of the caller's own, "run"; guarded by a CRC-32 too
 *
 * Central object: td_checkpoint_writer, which writes in the background. Its life: opened on a folder by the
 * one process that writes there; td_checkpoint_writer_post now and then, which copies the tensors and returns;
 * td_checkpoint_writer_result says what became of it; closed, which waits. Posting belongs to the thread that
 * has the tensors' context; the writer's own thread sees only bytes. The other functions work at once and need
 * no writer.
 *
 *     td_state_dict state = {0};
 *     td_checkpoint_parts parts = {.module = model, .optimizer = optimizer, .generator = generator};
 *     TD_TRY(td_checkpoint_collect(&parts, &state));
 *     TD_TRY(td_checkpoint_save("run", step, &state, "{\"epoch\": 3}"));
 *     ...
 *     TD_TRY(td_checkpoint_read_newest("run", &state, &info));      TD_PENDING: there is none
 *     TD_TRY(td_checkpoint_restore(&parts, &state));
 */
#ifndef TANDEM_MODEL_CHECKPOINT_CHECKPOINT_H
#define TANDEM_MODEL_CHECKPOINT_CHECKPOINT_H

#include "base/generator.h"
#include "model/nn/module.h"
#include "model/optim/optimizer.h"

TD_BEGIN_DECLS

#define TD_CHECKPOINT_VERSION 1 /* of the format; a reader refuses later ones */

/* --- what goes in ------------------------------------------------------------------------------------ */

/* Parts of a run, all *lent*; NULL is left out. */
typedef struct td_checkpoint_parts {
    td_module *module;
    td_optimizer *optimizer;
    td_generator *generator;
} td_checkpoint_parts;

/* Append them to `state`: "model.fc1.weight", "optimizer.state.fc1.weight.exp_avg",
 * "optimizer.param_groups.0.lr", "generator" (u8, td_generator_get_state). Tensors are shared, not copied. */
TD_API td_status td_checkpoint_collect(const td_checkpoint_parts *parts, td_state_dict *state);

/* The reverse: each part takes what bears its prefix and finds it complete and of the right shapes, or is not
 * changed and TD_ERR_ARG names the first difference; parts before it, in the order above, are then changed. */
TD_API td_status td_checkpoint_restore(const td_checkpoint_parts *parts, const td_state_dict *state);

/* Append all of `part` to `dict`, each name after `prefix`. */
TD_API td_status td_state_dict_add_part(td_state_dict *dict, const char *prefix, const td_state_dict *part);

/* Append to `part` the entries whose names begin with `prefix`, without it. */
TD_API td_status td_state_dict_part(const td_state_dict *dict, const char *prefix, td_state_dict *part);

/* --- writing ----------------------------------------------------------------------------------------- */

/* Write DIR/step-N now, and return when it is on disk. `run` is the text of a JSON object, or NULL. DIR is
 * made if it is missing (its parent is not). A checkpoint of the same step is replaced in one move. On failure
 * (TD_ERR_SYSTEM: full disk...) all checkpoints are as they were. */
TD_API td_status td_checkpoint_save(const char *folder, int64_t step, const td_state_dict *state,
                                    const char *run);

typedef struct td_checkpoint_writer td_checkpoint_writer;

/* What was written. */
typedef struct td_checkpoint_saved {
    int64_t step;
    char path[4096];
    size_t bytes;           /* of both files */
    double seconds;         /* from post until it was on disk */
    double blocked_seconds; /* of these, those that post took */
} td_checkpoint_saved;

/* Open a writer on `folder` that keeps the `keep` newest (at least 1) checkpoints. Makes the folder, and
 * removes what writers left there that were killed. TD_ERR_STATE when another process has a writer on this
 * folder. *Yours*. */
TD_API td_status td_checkpoint_writer_open(const char *folder, int keep, td_checkpoint_writer **writer);

/* Copy `state` and `run` and let them be written as step `step`. Waits for the write before, if that still goes
 * on. TD_ERR_MEMORY: no copy could be made, and nothing will be written. */
TD_API td_status td_checkpoint_writer_post(td_checkpoint_writer *writer, int64_t step,
                                           const td_state_dict *state, const char *run);

/* What became of the last post, told once: TD_OK and *saved, or its failure, after which the checkpoints before
 * are still there. TD_PENDING: nothing new. `wait`: until there is. */
TD_API td_status td_checkpoint_writer_result(td_checkpoint_writer *writer, bool wait,
                                             td_checkpoint_saved *saved);

/* Wait for what is being written, and release. Leaves NULL; NULL inside is fine. */
TD_API void td_checkpoint_writer_close(td_checkpoint_writer **writer);

/* --- reading ----------------------------------------------------------------------------------------- */

/* A checkpoint that was read. Begins as zeros; td_checkpoint_info_clear. */
typedef struct td_checkpoint_info {
    int64_t step;
    char *path; /* of its folder */
    char *run;  /* JSON text of the caller's object; "{}" when there was none */
    size_t bytes;
} td_checkpoint_info;

/* Read the checkpoint in `path`, a step's folder, checking all of it before anything is used; its tensors are
 * appended to `state`. TD_ERR_SYSTEM: a file is missing or cannot be read; TD_ERR_FORMAT: cut off, changed or
 * damaged; TD_ERR_UNSUPPORTED: of a later version. `state` and *info are then as they were. */
TD_API td_status td_checkpoint_read(const char *path, td_state_dict *state, td_checkpoint_info *info);

/* The newest one in `folder` that is whole; for each damaged one that it passes over it logs a warning. TD_PENDING:
 * there is no checkpoint at all, or no such folder. When there are some, but none is whole, the failure of the newest. */
TD_API td_status td_checkpoint_read_newest(const char *folder, td_state_dict *state,
                                           td_checkpoint_info *info);

TD_API void td_checkpoint_info_clear(td_checkpoint_info *info);

/* The step of the newest checkpoint in `folder`, whole or not; -1: there is none, or no such folder. */
TD_API int64_t td_checkpoint_newest_step(const char *folder);

TD_END_DECLS

#endif
