#include "support/tensors.h"

#include "base/context.h"
#include "model/tensor/storage.h"
#include "support/check.h"

#include <math.h>

double number_at(const void *data, td_dtype dtype, int64_t i) {
    switch (dtype) {
    case TD_DTYPE_F32: return ((const float *)data)[i];
    case TD_DTYPE_F64: return ((const double *)data)[i];
    case TD_DTYPE_I8: return ((const int8_t *)data)[i];
    case TD_DTYPE_U8:
    case TD_DTYPE_BOOL: return ((const uint8_t *)data)[i];
    case TD_DTYPE_I16: return ((const int16_t *)data)[i];
    case TD_DTYPE_I32: return ((const int32_t *)data)[i];
    case TD_DTYPE_I64: return (double)((const int64_t *)data)[i];
    default: ck_abort_msg("tests do not read %s", td_dtype_name(dtype));
    }
}

void number_put(void *data, td_dtype dtype, int64_t i, double value) {
    switch (dtype) {
    case TD_DTYPE_F32: ((float *)data)[i] = (float)value; break;
    case TD_DTYPE_F64: ((double *)data)[i] = value; break;
    case TD_DTYPE_I8: ((int8_t *)data)[i] = (int8_t)value; break;
    case TD_DTYPE_U8: ((uint8_t *)data)[i] = (uint8_t)value; break;
    case TD_DTYPE_BOOL: ((uint8_t *)data)[i] = value != 0; break;
    case TD_DTYPE_I16: ((int16_t *)data)[i] = (int16_t)value; break;
    case TD_DTYPE_I32: ((int32_t *)data)[i] = (int32_t)value; break;
    case TD_DTYPE_I64: ((int64_t *)data)[i] = (int64_t)value; break;
    default: ck_abort_msg("tests do not write %s", td_dtype_name(dtype));
    }
}

td_tensor *tensor_of(const double *numbers, td_dtype dtype, td_ints sizes) {
    int64_t count = 1;
    for (int64_t d = 0; d < sizes.count; d++) count *= sizes.at[d];
    char *data = malloc((size_t)count * td_dtype_size(dtype) + 1);
    ck_quietly(data);
    for (int64_t i = 0; i < count; i++) number_put(data, dtype, i, numbers[i]);
    td_tensor *x = td_tensor_from(data, dtype, sizes);
    free(data);
    ck_expect(x != NULL, "td_tensor_from gave nothing: %s", td_error_last()->text);
    return x;
}

double *tensor_numbers(const td_tensor *x) {
    int64_t count = td_tensor_count(x);
    size_t bytes = (size_t)count * td_dtype_size(td_tensor_dtype(x));
    char *data = malloc(bytes + 1);
    double *numbers = malloc((size_t)count * sizeof *numbers + 1);
    ck_quietly(data && numbers);
    ck_ok(td_tensor_copy_to(x, data, bytes));
    for (int64_t i = 0; i < count; i++) numbers[i] = number_at(data, td_tensor_dtype(x), i);
    free(data);
    return numbers;
}

int64_t tensor_place(const td_tensor *x, int64_t i) {
    td_ints sizes = td_tensor_sizes(x), strides = td_tensor_strides(x);
    int64_t place = 0;
    for (int64_t d = sizes.count - 1; d >= 0; d--) {
        place += i % sizes.at[d] * strides.at[d];
        i /= sizes.at[d];
    }
    return place;
}

double tensor_get(const td_tensor *x, int64_t i) {
    return number_at(td_tensor_data(x), td_tensor_dtype(x), tensor_place(x, i));
}

void tensor_set(td_tensor *x, int64_t i, double value) {
    number_put(td_tensor_data(x), td_tensor_dtype(x), tensor_place(x, i), value);
}

void numbers_agree(const double *got, const double *want, int64_t count, double relative, double absolute,
                   const char *what) {
    for (int64_t i = 0; i < count; i++) {
        if (isnan(got[i]) && isnan(want[i])) continue;
        if (got[i] == want[i]) continue;
        ck_expect(isfinite(want[i]) && fabs(got[i] - want[i]) <= absolute + relative * fabs(want[i]),
                  "%s: element %lld is %.17g, not %.17g", what, (long long)i, got[i], want[i]);
    }
}

void close_context_empty(td_context **context) {
    size_t used = td_memory_used(*context).used;
    ck_expect(used == 0, "%zu bytes are still in use after the last scope's close", used);
    td_context_close(context);
}
