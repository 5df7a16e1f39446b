/*
 * The folder that holds checkpoints: names, finding them, and the moves by which one appears or goes at once. What
 * is being written, or removed, has a name that begins with a dot and counts for nothing. Internal to
 * model/checkpoint. Any thread.
 */
#ifndef TANDEM_MODEL_CHECKPOINT_FOLDER_H
#define TANDEM_MODEL_CHECKPOINT_FOLDER_H

#include "base/status.h"

/* All of these allocate their results, *yours* (td_free). */

/* "DIR/step-00000123". */
td_status checkpoint_path(const char *folder, int64_t step, char **path);
/* "PATH/NAME". */
td_status checkpoint_join(const char *path, const char *name, char **joined);

/* The steps there are, the newest first. A folder that is not there has none. */
td_status checkpoint_steps(const char *folder, int64_t **steps, size_t *count);

/* Make the folder itself, if it is missing. */
td_status checkpoint_make_folder(const char *folder);
/* An empty folder to write in: "DIR/.step-00000123.4711-0". */
td_status checkpoint_begin(const char *folder, int64_t step, char **temporary);
/* It becomes checkpoint `step`, in one move, also where there is one of that step; when this returns, that is on
 * disk. On failure the temporary is still there. */
td_status checkpoint_publish(const char *folder, int64_t step, const char *temporary);

/* Remove a checkpoint or a temporary; what cannot be removed stays. The first is hidden first, so that nobody
 * takes a half-removed one for a damaged one. */
void checkpoint_remove(const char *folder, int64_t step);
void checkpoint_remove_temporary(const char *path);
/* Remove all but the `keep` newest, and never `step`. */
void checkpoint_prune(const char *folder, int keep, int64_t step);
/* Remove what killed writers left behind. */
void checkpoint_sweep(const char *folder);

#endif
