/*
 * checkpoint.json: what a checkpoint says about itself. Its first line guards the rest, so that no changed digit
 * goes unnoticed:
 *
 *     {
 *       "crc32": "9d3cfd3b",                       of all bytes after these digits
 *       "format": "tandem checkpoint",
 *       "version": 1,
 *       "step": 123,
 *       "tensors": {"file": "state.safetensors", "bytes": 2442808, "crc32": "0a1b2c3d"},
 *       "run": {...}                               the caller's
 *     }
 *
 * Internal to model/checkpoint.
 */
#ifndef TANDEM_MODEL_CHECKPOINT_MANIFEST_H
#define TANDEM_MODEL_CHECKPOINT_MANIFEST_H

#include "base/status.h"

#define CHECKPOINT_TENSORS       "state.safetensors"
#define CHECKPOINT_MANIFEST      "checkpoint.json"
#define CHECKPOINT_MANIFEST_MOST ((size_t)16 << 20) /* bytes; a larger one is no manifest */

typedef struct checkpoint_manifest {
    int64_t step;
    int64_t tensor_bytes;
    uint32_t tensor_crc;
    char *run; /* JSON text; td_free */
} checkpoint_manifest;

/* The file's text, *yours* (td_free). TD_ERR_ARG when m->run is no JSON object. */
td_status checkpoint_manifest_write(const checkpoint_manifest *m, char **text);

/* Check the guard, then parse; `what` begins messages. TD_ERR_FORMAT, TD_ERR_UNSUPPORTED (a later version). On
 * success checkpoint_manifest_clear it. */
td_status checkpoint_manifest_read(const char *text, size_t bytes, const char *what, checkpoint_manifest *m);
/* The second half of it. */
td_status checkpoint_manifest_parse(const char *text, size_t bytes, const char *what, checkpoint_manifest *m);

void checkpoint_manifest_clear(checkpoint_manifest *m);

#endif
