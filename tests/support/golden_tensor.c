#include "support/golden_tensor.h"

#include "support/check.h"

#include <math.h>
#include <stdio.h>

td_ints golden_ints(const json_t *value) {
    if (json_is_integer(value)) return TD_INTS(json_integer_value(value));
    ck_expect(json_is_array(value) && json_array_size(value) <= TD_MAX_DIMS, "no list of integers: %s",
              golden_describe(value));
    td_ints ints = {(int64_t)json_array_size(value), {0}};
    for (int64_t i = 0; i < ints.count; i++)
        ints.at[i] = json_integer_value(json_array_get(value, (size_t)i));
    return ints;
}

/* JSON has no number for what is not finite; those are strings. */
static double number_of(const json_t *value) {
    if (!json_is_string(value)) return json_number_value(value);
    const char *text = json_string_value(value);
    return strcmp(text, "nan") == 0 ? NAN : strcmp(text, "-inf") == 0 ? -INFINITY : INFINITY;
}

static double *numbers_of(const json_t *record, size_t *count) {
    const json_t *data = json_object_get(record, "data");
    ck_expect(json_is_array(data), "no tensor: %s", golden_describe(record));
    *count = json_array_size(data);
    double *numbers = malloc((*count + 1) * sizeof *numbers);
    ck_quietly(numbers);
    for (size_t i = 0; i < *count; i++) numbers[i] = number_of(json_array_get(data, i));
    return numbers;
}

static td_dtype dtype_of(const json_t *record) {
    td_dtype dtype = TD_DTYPE_F64;
    if (json_object_get(record, "dtype")) ck_ok(td_dtype_parse(golden_text(record, "dtype"), &dtype));
    return dtype;
}

td_tensor *golden_tensor(const json_t *record) {
    size_t count;
    double *numbers = numbers_of(record, &count);
    td_tensor *x = tensor_of(numbers, dtype_of(record), golden_ints(json_object_get(record, "shape")));
    ck_assert_int_eq((int64_t)count, td_tensor_count(x));
    free(numbers);
    return x;
}

void golden_tensor_agrees(const td_tensor *got, const json_t *record, double relative, double absolute,
                          const char *what) {
    ck_expect(got != NULL, "%s: there is none", what);
    char text[128];
    td_tensor_describe(got, text, sizeof text);
    td_ints sizes = td_tensor_sizes(got), want = golden_ints(json_object_get(record, "shape"));
    ck_expect(td_tensor_dtype(got) == dtype_of(record) && sizes.count == want.count &&
                  memcmp(sizes.at, want.at, (size_t)want.count * sizeof *want.at) == 0,
              "%s: it is %s, not %s", what, text, golden_describe(record));
    size_t count;
    double *wanted = numbers_of(record, &count), *numbers = tensor_numbers(got);
    numbers_agree(numbers, wanted, (int64_t)count, relative, absolute, what);
    free(wanted);
    free(numbers);
}
