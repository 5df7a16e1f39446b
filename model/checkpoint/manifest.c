/* JSON by jansson. The guard's digits are written as zeros first and then filled in, at a place that is the same
 * in every manifest. */
#include "model/checkpoint/manifest.h"

#include "base/memory.h"
#include "model/checkpoint/checkpoint.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static const char format_name[] = "tandem checkpoint";
static const char guard_prefix[] = "{\n  \"crc32\": \"";
enum { GUARD_AT = sizeof guard_prefix - 1, GUARD_DIGITS = 8, GUARDED_FROM = GUARD_AT + GUARD_DIGITS };

static uint32_t crc_of(const char *data, size_t bytes) {
    return (uint32_t)crc32_z(0, (const unsigned char *)data, bytes);
}

/* --- writing -------------------------------------------------------------------------------------------- */

static td_status no_memory(void) {
    return td_fail(TD_ERR_MEMORY, 0, "checkpoint", "no memory for " CHECKPOINT_MANIFEST);
}

static td_status parse_run(const char *text, json_t **run) {
    json_error_t problem;
    json_t *value = json_loads(text ? text : "{}", JSON_REJECT_DUPLICATES, &problem);
    if (json_is_object(value)) {
        *run = value;
        return TD_OK;
    }
    json_decref(value);
    return td_fail(TD_ERR_ARG, 0, "checkpoint",
                   "what is to be saved beside the tensors is no JSON object: %s",
                   value ? "another value" : problem.text);
}

td_status checkpoint_manifest_write(const checkpoint_manifest *m, char **text) {
    json_t *run = NULL;
    TD_TRY(parse_run(m->run, &run));
    char digits[GUARD_DIGITS + 1];
    snprintf(digits, sizeof digits, "%08x", (unsigned)m->tensor_crc);
    json_t *root =
        json_pack("{s:s, s:s, s:i, s:I, s:{s:s, s:I, s:s}, s:o}", "crc32", "00000000", "format", format_name,
                  "version", TD_CHECKPOINT_VERSION, "step", (json_int_t)m->step, "tensors", "file",
                  CHECKPOINT_TENSORS, "bytes", (json_int_t)m->tensor_bytes, "crc32", digits, "run", run);
    char *made = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (!made) return no_memory();
    snprintf(digits, sizeof digits, "%08x",
             (unsigned)crc_of(made + GUARDED_FROM, strlen(made + GUARDED_FROM)));
    memcpy(made + GUARD_AT, digits, GUARD_DIGITS);
    char *copy = td_strdup(made);
    free(made);
    if (!copy) return TD_ERR_MEMORY;
    *text = copy;
    return TD_OK;
}

/* --- reading -------------------------------------------------------------------------------------------- */

static td_status damaged(const char *what, const char *how) {
    return td_fail(TD_ERR_FORMAT, 0, "checkpoint", "%s: %s", what, how);
}

/* Eight hexadecimal digits, which nothing needs to follow. */
static bool read_crc(const char *digits, size_t count, uint32_t *crc) {
    char text[GUARD_DIGITS + 1] = {0};
    if (count != GUARD_DIGITS) return false;
    memcpy(text, digits, GUARD_DIGITS);
    if (strspn(text, "0123456789abcdef") != GUARD_DIGITS) return false;
    *crc = (uint32_t)strtoul(text, NULL, 16);
    return true;
}

static td_status check_guard(const char *text, size_t bytes, const char *what) {
    uint32_t written;
    if (bytes <= GUARDED_FROM || memcmp(text, guard_prefix, GUARD_AT) != 0 ||
        !read_crc(text + GUARD_AT, GUARD_DIGITS, &written))
        return damaged(what, "it does not begin as a checkpoint's does");
    if (crc_of(text + GUARDED_FROM, bytes - GUARDED_FROM) != written)
        return damaged(what, "it is damaged or was changed: its CRC-32 is another");
    return TD_OK;
}

static td_status read_version(json_t *root, const char *what) {
    const char *format = json_string_value(json_object_get(root, "format"));
    json_t *version = json_object_get(root, "version");
    if (!format || strcmp(format, format_name) != 0 || !json_is_integer(version))
        return damaged(what, "it is no checkpoint of Tandem");
    if (json_integer_value(version) > TD_CHECKPOINT_VERSION)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "checkpoint",
                       "%s: it is of format version %lld, but this Tandem reads up to %d; use a later one",
                       what, (long long)json_integer_value(version), TD_CHECKPOINT_VERSION);
    if (json_integer_value(version) < 1) return damaged(what, "its version is no number from 1 on");
    return TD_OK;
}

static td_status read_fields(json_t *root, const char *what, checkpoint_manifest *m) {
    if (!json_is_object(root)) return damaged(what, "it is no JSON object");
    TD_TRY(read_version(root, what));
    json_int_t step, bytes;
    const char *file, *crc;
    json_t *run;
    json_error_t problem;
    if (json_unpack_ex(root, &problem, 0, "{s:I, s:{s:s, s:I, s:s}, s:o}", "step", &step, "tensors", "file",
                       &file, "bytes", &bytes, "crc32", &crc, "run", &run))
        return damaged(what, problem.text);
    if (step < 0 || bytes < 0 || strcmp(file, CHECKPOINT_TENSORS) != 0 || !json_is_object(run) ||
        !read_crc(crc, strlen(crc), &m->tensor_crc))
        return damaged(what, "a value in it is out of its range");
    m->step = step;
    m->tensor_bytes = bytes;
    char *text = json_dumps(run, JSON_COMPACT);
    if (text) m->run = td_strdup(text);
    bool told = text != NULL;
    free(text);
    return m->run ? TD_OK : told ? TD_ERR_MEMORY : no_memory();
}

td_status checkpoint_manifest_parse(const char *text, size_t bytes, const char *what,
                                    checkpoint_manifest *m) {
    json_error_t problem;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!root) return damaged(what, problem.text);
    checkpoint_manifest found = {0};
    td_status status = read_fields(root, what, &found);
    json_decref(root);
    if (status == TD_OK) *m = found;
    return status;
}

td_status checkpoint_manifest_read(const char *text, size_t bytes, const char *what, checkpoint_manifest *m) {
    TD_TRY(check_guard(text, bytes, what));
    return checkpoint_manifest_parse(text, bytes, what, m);
}

void checkpoint_manifest_clear(checkpoint_manifest *m) {
    td_free(m->run);
    *m = (checkpoint_manifest){0};
}
