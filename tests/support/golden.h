/* Golden values: the JSON files of tests/golden, made from PyTorch by scripts/golden. */
#ifndef TANDEM_TESTS_GOLDEN_H
#define TANDEM_TESTS_GOLDEN_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* tests/golden/NAME, parsed; fails the running test when it cannot be. Give back with json_decref. */
json_t *golden_load(const char *name);

/* A list of records in it; fails the test when it is missing or empty, so that no loop runs over nothing. */
json_t *golden_list(json_t *root, const char *key);

/* Members of a record. The `_or` forms give `otherwise` when the record has no such key; the others fail. */
int64_t golden_int(const json_t *record, const char *key);
int64_t golden_int_or(const json_t *record, const char *key, int64_t otherwise);
double golden_real_or(const json_t *record, const char *key, double otherwise);
int golden_flag(const json_t *record, const char *key); /* 0 when it is not there */
const char *golden_text(const json_t *record, const char *key);
/* A seed: unsigned 64-bit, written as a decimal string, or a number where it is small. */
uint64_t golden_seed(const json_t *record);
/* Steps of a training curve to go: all it has; two in sanitizer builds, where steps are slow. */
int64_t golden_curve_steps(const json_t *curve);

/* The record on one line, for a test's message; valid until the next call. */
const char *golden_describe(const json_t *record);

/* zlib's CRC-32 of the bytes, as the files hold it. */
int64_t golden_crc(const void *data, size_t bytes);

#endif
