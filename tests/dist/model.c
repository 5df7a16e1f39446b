/* Written to be read, one element at a time; shares no code with what it checks. */
#include "dist/model.h"

#include <math.h>
#include <string.h>

static float widen(td_dtype dtype, uint16_t half) {
    if (dtype == TD_DTYPE_BF16) {
        uint32_t bits = (uint32_t)half << 16;
        float f;
        memcpy(&f, &bits, sizeof f);
        return f;
    }
    int exponent = half >> 10 & 31;
    double fraction = half & 1023;
    double size = exponent == 0    ? ldexp(fraction, -24)
                  : exponent == 31 ? (fraction > 0 ? NAN : INFINITY)
                                   : ldexp(1024 + fraction, exponent - 25);
    return (float)(half & 0x8000 ? -size : size);
}

/* The nearest; of two equally near ones the even. `digits` of the significand are kept, down to `least`. */
static double round_to(double x, int digits, int least) {
    int exponent;
    if (x == 0 || isinf(x) || isnan(x)) return x;
    frexp(x, &exponent);
    int last = exponent - digits < least ? least : exponent - digits;
    return ldexp(nearbyint(ldexp(x, -last)), last);
}

static uint16_t narrow(td_dtype dtype, float x) {
    if (dtype == TD_DTYPE_BF16) {
        float f = (float)round_to((double)x, 8, -133);
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        return (uint16_t)(bits >> 16);
    }
    double f = fabs(round_to((double)x, 11, -24));
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    int exponent;
    if (isinf(f) || f >= 65536) return sign | 0x7c00;
    if (f < 0x1p-14) return (uint16_t)(sign | (uint16_t)ldexp(f, 24));
    frexp(f, &exponent);
    return (uint16_t)(sign | (uint16_t)((exponent + 14) << 10) | (uint16_t)(ldexp(f, 11 - exponent) - 1024));
}

static bool is_half(td_dtype dtype) { return dtype == TD_DTYPE_F16 || dtype == TD_DTYPE_BF16; }

/* Elements as the widest type of their kind. */
typedef union number {
    float f;
    double d;
    uint64_t n;
} number;

static void store(td_dtype dtype, number x, void *element) {
    uint16_t half;
    uint8_t flag = x.n != 0;
    switch (dtype) {
    case TD_DTYPE_F32: memcpy(element, &x.f, 4); return;
    case TD_DTYPE_F64: memcpy(element, &x.d, 8); return;
    case TD_DTYPE_F16:
    case TD_DTYPE_BF16:
        half = narrow(dtype, x.f);
        memcpy(element, &half, 2);
        return;
    case TD_DTYPE_BOOL: memcpy(element, &flag, 1); return;
    default: memcpy(element, &x.n, td_dtype_size(dtype)); return; /* little-endian: the low bytes */
    }
}

static number load(td_dtype dtype, const void *element) {
    number x = {.n = 0};
    uint16_t half;
    if (dtype == TD_DTYPE_F32) {
        memcpy(&x.f, element, 4);
    } else if (dtype == TD_DTYPE_F64) {
        memcpy(&x.d, element, 8);
    } else if (is_half(dtype)) {
        memcpy(&half, element, 2);
        x.f = widen(dtype, half);
    } else {
        size_t size = td_dtype_size(dtype);
        memcpy(&x.n, element, size);
        bool is_signed = dtype != TD_DTYPE_U8 && dtype != TD_DTYPE_BOOL;
        if (is_signed && size < 8 && x.n >> (8 * size - 1) & 1) x.n |= UINT64_MAX << 8 * size;
    }
    return x;
}

void model_give(const td_call *call, bool rounding, int rank, size_t i, void *element) {
    uint64_t mix = (uint64_t)rank * 7 + i * 13 + i / 977 + (uint64_t)call->kind;
    bool product = call->op == TD_REDUCE_PROD && td_call_traits_of(call->kind)->reduces;
    double whole = (double)(mix % 17) - 8;
    if (product) whole = mix % 4 == 0 ? -2 : mix % 4 == 1 ? 1 : mix % 4 == 2 ? -1 : 2;
    number x;
    if (td_dtype_is_floating(call->dtype)) {
        double value = rounding && !product ? whole * (1 + (double)(i % 5) * 300) / 3 : whole;
        if (call->dtype == TD_DTYPE_F64)
            x.d = value;
        else
            x.f = (float)value;
    } else {
        x.n = (uint64_t)(int64_t)whole * (product ? 1 : 0x0123456789abcdefu); /* wraps */
        if (call->dtype == TD_DTYPE_BOOL) x.n = mix % 3 != 0;
    }
    store(call->dtype, x, element);
}

static float combine_f32(const td_call *call, float a, float b) {
    float factor = (float)call->factor;
    switch (call->op) {
    case TD_REDUCE_MIN: return b < a ? b : a;
    case TD_REDUCE_MAX: return b > a ? b : a;
    case TD_REDUCE_PROD: return a * b;
    case TD_REDUCE_PREMUL_SUM: return a + factor * b;
    default: return a + b;
    }
}

static double combine_f64(const td_call *call, double a, double b) {
    switch (call->op) {
    case TD_REDUCE_MIN: return b < a ? b : a;
    case TD_REDUCE_MAX: return b > a ? b : a;
    case TD_REDUCE_PROD: return a * b;
    case TD_REDUCE_PREMUL_SUM: return a + call->factor * b;
    default: return a + b;
    }
}

static uint64_t combine_integers(const td_call *call, uint64_t a, uint64_t b) {
    bool flag = call->dtype == TD_DTYPE_BOOL;
    switch (call->op) {
    case TD_REDUCE_MIN: return (int64_t)b < (int64_t)a ? b : a;
    case TD_REDUCE_MAX: return (int64_t)b > (int64_t)a ? b : a;
    case TD_REDUCE_PROD: return a * b;
    case TD_REDUCE_BAND: return a & b;
    case TD_REDUCE_BOR: return a | b;
    case TD_REDUCE_BXOR: return a ^ b;
    default: return flag ? a | b : a + b;
    }
}

static void reduce(const td_call *call, bool rounding, int size, size_t i, void *element) {
    number sum, x;
    for (int r = 0; r < size; r++) {
        model_give(call, rounding, r, i, element);
        x = load(call->dtype, element);
        if (call->dtype == TD_DTYPE_F64)
            sum.d = r                                  ? combine_f64(call, sum.d, x.d)
                    : call->op == TD_REDUCE_PREMUL_SUM ? call->factor * x.d
                                                       : x.d;
        else if (td_dtype_is_floating(call->dtype))
            sum.f = r                                  ? combine_f32(call, sum.f, x.f)
                    : call->op == TD_REDUCE_PREMUL_SUM ? (float)call->factor * x.f
                                                       : x.f;
        else
            sum.n = r ? combine_integers(call, sum.n, x.n) : x.n;
    }
    if (call->op == TD_REDUCE_AVG && call->dtype == TD_DTYPE_F64) sum.d /= size;
    if (call->op == TD_REDUCE_AVG && call->dtype != TD_DTYPE_F64) sum.f /= (float)size;
    store(call->dtype, sum, element);
}

static size_t part_begin(const td_call *call, int r) {
    size_t begin = 0;
    for (int k = 0; k < r; k++) begin += call->counts ? call->counts[k] : call->count;
    return begin;
}

/* Whose element is at place i among all parts, and which of its part. */
static int owner(const td_call *call, int size, size_t *i) {
    for (int r = 0; r < size; r++) {
        size_t count = call->counts ? call->counts[r] : call->count;
        if (*i < count) return r;
        *i -= count;
    }
    return -1;
}

void model_expect(const td_call *call, bool rounding, int size, int rank, size_t i, model_counts *counts,
                  void *element) {
    int from;
    switch (call->kind) {
    case TD_CALL_BROADCAST: model_give(call, rounding, call->root, i, element); return;
    case TD_CALL_ALL_REDUCE:
    case TD_CALL_REDUCE: reduce(call, rounding, size, i, element); return;
    case TD_CALL_REDUCE_SCATTER: reduce(call, rounding, size, part_begin(call, rank) + i, element); return;
    case TD_CALL_SCATTER: model_give(call, rounding, call->root, part_begin(call, rank) + i, element); return;
    case TD_CALL_ALL_GATHER:
    case TD_CALL_GATHER:
        from = owner(call, size, &i);
        model_give(call, rounding, from, i, element);
        return;
    case TD_CALL_ALL_TO_ALL:
        for (from = 0; from < size; from++) {
            size_t count = call->counts ? counts(from, rank) : call->count;
            if (i < count) break;
            i -= count;
        }
        for (int to = 0; to < rank; to++) i += call->counts ? counts(from, to) : call->count;
        model_give(call, rounding, from, i, element);
        return;
    default: return;
    }
}
