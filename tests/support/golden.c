#include "support/golden.h"

#include "support/check.h"

#include <stdio.h>
#include <zlib.h>

json_t *golden_load(const char *name) {
    char path[4096];
    json_error_t error;
    snprintf(path, sizeof path, "%s/golden/%s", TD_TEST_DATA, name);
    json_t *root = json_load_file(path, 0, &error);
    if (!root) ck_abort_msg("%s:%d: %s", path, error.line, error.text);
    return root;
}

json_t *golden_list(json_t *root, const char *key) {
    json_t *list = json_object_get(root, key);
    if (json_array_size(list) == 0) ck_abort_msg("no list '%s' in the golden file", key);
    return list;
}

static const json_t *member(const json_t *record, const char *key) {
    const json_t *value = json_object_get(record, key);
    ck_assert_msg(value != NULL, "no '%s' in %s", key, golden_describe(record));
    return value;
}

int64_t golden_int(const json_t *record, const char *key) { return json_integer_value(member(record, key)); }

int64_t golden_int_or(const json_t *record, const char *key, int64_t otherwise) {
    const json_t *value = json_object_get(record, key);
    return value ? json_integer_value(value) : otherwise;
}

double golden_real_or(const json_t *record, const char *key, double otherwise) {
    const json_t *value = json_object_get(record, key);
    return value ? json_number_value(value) : otherwise;
}

int golden_flag(const json_t *record, const char *key) { return json_is_true(json_object_get(record, key)); }

const char *golden_text(const json_t *record, const char *key) {
    return json_string_value(member(record, key));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
int64_t golden_curve_steps(const json_t *curve) { return golden_int(curve, "steps") < 2 ? 1 : 2; }
#else
int64_t golden_curve_steps(const json_t *curve) { return golden_int(curve, "steps"); }
#endif

uint64_t golden_seed(const json_t *record) {
    const json_t *seed = member(record, "seed");
    return json_is_string(seed) ? strtoull(json_string_value(seed), NULL, 10)
                                : (uint64_t)json_integer_value(seed);
}

const char *golden_describe(const json_t *record) {
    static char line[512];
    char *text = json_dumps(record, JSON_COMPACT);
    snprintf(line, sizeof line, "%s", text ? text : "(no record)");
    free(text);
    return line;
}

int64_t golden_crc(const void *data, size_t bytes) {
    return (int64_t)crc32_z(crc32_z(0, NULL, 0), data, bytes);
}
