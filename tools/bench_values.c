/* A period of 13 elements is made one by one; the rest is copied from it, and compared with it. */
#include "tools/bench_values.h"

#include "model/tensor/half.h"

#include <math.h>
#include <string.h>

enum { PERIOD = 13, WIDEST = 8 };

static uint64_t value_at(size_t i, int rank) { return i % PERIOD + 1 + (uint64_t)(rank % 5); }

static void put_float(td_dtype dtype, double value, void *element) {
    float f = (float)value;
    uint16_t half = dtype == TD_DTYPE_F16 ? td_f32_to_f16(f) : td_f32_to_bf16(f);
    switch (dtype) {
    case TD_DTYPE_F64: memcpy(element, &value, sizeof value); break;
    case TD_DTYPE_F32: memcpy(element, &f, sizeof f); break;
    default: memcpy(element, &half, sizeof half);
    }
}

static double get_float(td_dtype dtype, const void *element) {
    double value;
    float f;
    uint16_t half;
    switch (dtype) {
    case TD_DTYPE_F64: memcpy(&value, element, sizeof value); return value;
    case TD_DTYPE_F32: memcpy(&f, element, sizeof f); return (double)f;
    default: memcpy(&half, element, sizeof half);
    }
    return (double)(dtype == TD_DTYPE_F16 ? td_f16_to_f32(half) : td_bf16_to_f32(half));
}

/* Sums of integers wrap: the low bytes are those of the wide sum. For bool it is `or`. */
static void put(td_dtype dtype, bench_expected e, size_t i, void *element) {
    uint64_t sum = 0, most = 0, any = 0, ranks = (uint64_t)(e.last - e.first + 1);
    for (int r = e.first; r <= e.last; r++) {
        uint64_t value = value_at(e.at + i, r);
        sum += value;
        any |= value & 1;
        if (value > most) most = value;
    }
    if (td_dtype_is_floating(dtype)) {
        double grown = (double)sum * pow((double)ranks, e.again);
        put_float(dtype, e.op == TD_REDUCE_AVG ? (double)sum / (double)ranks : grown, element);
        return;
    }
    if (e.op == TD_REDUCE_MAX) sum = most;
    if (dtype == TD_DTYPE_BOOL) sum = any;
    memcpy(element, &sum, td_dtype_size(dtype)); /* the lowest come first */
}

static void repeat_period(void *data, size_t bytes, size_t period) {
    for (size_t done = period; done < bytes; done *= 2)
        memcpy((uint8_t *)data + done, data, done < bytes - done ? done : bytes - done);
}

static void put_period(void *data, td_dtype dtype, size_t count, bench_expected e) {
    size_t size = td_dtype_size(dtype);
    for (size_t i = 0; i < PERIOD && i < count; i++) put(dtype, e, i, (uint8_t *)data + i * size);
}

void bench_fill(void *data, td_dtype dtype, size_t count, int rank) {
    size_t size = td_dtype_size(dtype);
    put_period(data, dtype, count, (bench_expected){.first = rank, .last = rank});
    repeat_period(data, count * size, PERIOD * size);
}

void bench_spoil(void *data, td_dtype dtype, size_t count) {
    memset(data, 0xa5, count * td_dtype_size(dtype));
}

/* Sums that no longer fit the mantissa may be rounded in another order. */
static bool is_near(td_dtype dtype, const void *a, const void *b) {
    if (memcmp(a, b, td_dtype_size(dtype)) == 0) return true;
    if (!td_dtype_is_floating(dtype)) return false;
    double x = get_float(dtype, a), y = get_float(dtype, b);
    double most = td_dtype_size(dtype) == 2 ? 1e-2 : 1e-4;
    return fabs(x - y) <= most * fabs(y);
}

size_t bench_count_wrong(const void *data, td_dtype dtype, size_t count, bench_expected expected) {
    const uint8_t *bytes = data;
    uint8_t period[PERIOD * WIDEST];
    size_t size = td_dtype_size(dtype), head = count < PERIOD ? count : PERIOD, wrong = 0;
    put_period(period, dtype, count, expected);
    for (size_t i = 0; i < head; i++) wrong += !is_near(dtype, bytes + i * size, period + i * size);
    if (!wrong && memcmp(bytes, bytes + head * size, (count - head) * size) == 0) return 0;
    for (size_t i = head; i < count; i++)
        wrong += !is_near(dtype, bytes + i * size, period + i % PERIOD * size);
    return wrong;
}
