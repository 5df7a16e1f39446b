/*
 * The reductions, compiled once for each instruction set (TD_REDUCE_TABLE, TD_REDUCE_BYTES: vector width).
 * Each input is read once, and outputs may be inputs: a block is combined over all inputs before it is stored
 * to any output. The lines are written right after they were read, so ordinary stores are best (non-temporal
 * ones were 1.5 to 7.5 times slower).
 */
#include "dist/reduce.h"

#include <string.h>
#ifdef __F16C__
#include <immintrin.h>
#endif

#define UNROLL 4
#define INLINE static inline __attribute__((always_inline))

/* Sums of f32 and f64, of which all gradients are, keep their four vectors in registers. Where pointers are read through `to` and `from`, the compiler must take each store for a change of them; so
 * two ranks, the common case, have a loop of their own with the pointers in registers. */
#define DEFINE_SUM(name, element)                                                                            \
    enum { name##_lanes = TD_REDUCE_BYTES / sizeof(element), name##_step = UNROLL * name##_lanes };          \
    typedef element name##_vector                                                                            \
        __attribute__((vector_size(TD_REDUCE_BYTES), aligned(sizeof(element)), may_alias));                  \
    INLINE void name##_pair(element *a, element *b, size_t count, bool average) {                            \
        size_t i = 0;                                                                                        \
        for (; i + name##_step <= count; i += name##_step) {                                                 \
            name##_vector sum[UNROLL];                                                                       \
            for (int u = 0; u < UNROLL; u++) {                                                               \
                size_t at = i + (size_t)u * name##_lanes;                                                    \
                sum[u] = *(const name##_vector *)(a + at) + *(const name##_vector *)(b + at);                \
                if (average) sum[u] = sum[u] / (element)2;                                                   \
            }                                                                                                \
            for (int u = 0; u < UNROLL; u++) {                                                               \
                size_t at = i + (size_t)u * name##_lanes;                                                    \
                *(name##_vector *)(a + at) = sum[u];                                                         \
                *(name##_vector *)(b + at) = sum[u];                                                         \
            }                                                                                                \
        }                                                                                                    \
        for (; i + name##_lanes <= count; i += name##_lanes) {                                               \
            name##_vector sum = *(const name##_vector *)(a + i) + *(const name##_vector *)(b + i);           \
            if (average) sum = sum / (element)2;                                                             \
            *(name##_vector *)(a + i) = sum;                                                                 \
            *(name##_vector *)(b + i) = sum;                                                                 \
        }                                                                                                    \
        for (; i < count; i++) {                                                                             \
            element sum = a[i] + b[i];                                                                       \
            if (average) sum = sum / (element)2;                                                             \
            a[i] = b[i] = sum;                                                                               \
        }                                                                                                    \
    }                                                                                                        \
    INLINE void name##_any(void *const *to, size_t outputs, const void *const *from, size_t inputs,          \
                           size_t count, bool average) {                                                     \
        size_t i = 0;                                                                                        \
        for (; i + name##_step <= count; i += name##_step) {                                                 \
            name##_vector sum[UNROLL];                                                                       \
            for (int u = 0; u < UNROLL; u++)                                                                 \
                sum[u] = *(const name##_vector *)((const element *)from[0] + i + (size_t)u * name##_lanes);  \
            for (size_t r = 1; r < inputs; r++)                                                              \
                for (int u = 0; u < UNROLL; u++)                                                             \
                    sum[u] +=                                                                                \
                        *(const name##_vector *)((const element *)from[r] + i + (size_t)u * name##_lanes);   \
            if (average)                                                                                     \
                for (int u = 0; u < UNROLL; u++) sum[u] = sum[u] / (element)inputs;                          \
            for (size_t o = 0; o < outputs; o++)                                                             \
                for (int u = 0; u < UNROLL; u++)                                                             \
                    *(name##_vector *)((element *)to[o] + i + (size_t)u * name##_lanes) = sum[u];            \
        }                                                                                                    \
        for (; i + name##_lanes <= count; i += name##_lanes) {                                               \
            name##_vector sum = *(const name##_vector *)((const element *)from[0] + i);                      \
            for (size_t r = 1; r < inputs; r++)                                                              \
                sum += *(const name##_vector *)((const element *)from[r] + i);                               \
            if (average) sum = sum / (element)inputs;                                                        \
            for (size_t o = 0; o < outputs; o++) *(name##_vector *)((element *)to[o] + i) = sum;             \
        }                                                                                                    \
        for (; i < count; i++) {                                                                             \
            element sum = ((const element *)from[0])[i];                                                     \
            for (size_t r = 1; r < inputs; r++) sum += ((const element *)from[r])[i];                        \
            if (average) sum = sum / (element)inputs;                                                        \
            for (size_t o = 0; o < outputs; o++) ((element *)to[o])[i] = sum;                                \
        }                                                                                                    \
    }                                                                                                        \
    INLINE void name##_best(void *const *to, size_t outputs, const void *const *from, size_t inputs,         \
                            size_t count, bool average) {                                                    \
        if (inputs == 2 && outputs == 2 && to[0] == from[0] && to[1] == from[1])                             \
            name##_pair(to[0], to[1], count, average);                                                       \
        else                                                                                                 \
            name##_any(to, outputs, from, inputs, count, average);                                           \
    }                                                                                                        \
    static void sum_##name(void *const *to, size_t outputs, const void *const *from, size_t inputs,          \
                           size_t count, double factor) {                                                    \
        (void)factor;                                                                                        \
        name##_best(to, outputs, from, inputs, count, false);                                                \
    }                                                                                                        \
    static void avg_##name(void *const *to, size_t outputs, const void *const *from, size_t inputs,          \
                           size_t count, double factor) {                                                    \
        (void)factor;                                                                                        \
        name##_best(to, outputs, from, inputs, count, true);                                                 \
    }

DEFINE_SUM(f32, float)
DEFINE_SUM(f64, double)

/* The others work on blocks that stay in the first-level cache, in loops that the compiler makes vectors of.
 * `first` says what becomes of the first input, `next` how another is combined, `last` what is stored. */
#define BLOCK_BYTES 2048

#define DEFINE_PLAIN(name, element, first, next, last)                                                       \
    static void name(void *const *to, size_t outputs, const void *const *from, size_t inputs, size_t count,  \
                     double factor) {                                                                        \
        enum { BLOCK = BLOCK_BYTES / sizeof(element) };                                                      \
        element acc[BLOCK];                                                                                  \
        (void)factor;                                                                                        \
        for (size_t i = 0, n; i < count; i += n) {                                                           \
            n = count - i < BLOCK ? count - i : BLOCK;                                                       \
            const element *in = (const element *)from[0] + i;                                                \
            for (size_t j = 0; j < n; j++) acc[j] = first(in[j]);                                            \
            for (size_t r = 1; r < inputs; r++) {                                                            \
                in = (const element *)from[r] + i;                                                           \
                for (size_t j = 0; j < n; j++) acc[j] = next(acc[j], in[j]);                                 \
            }                                                                                                \
            for (size_t j = 0; j < n; j++) acc[j] = last(acc[j]);                                            \
            for (size_t o = 0; o < outputs; o++) memcpy((element *)to[o] + i, acc, n * sizeof(element));     \
        }                                                                                                    \
    }

/* Half-width floats are widened block by block. */
#define DEFINE_HALF(name, widen, narrow, first, next, last)                                                  \
    static void name(void *const *to, size_t outputs, const void *const *from, size_t inputs, size_t count,  \
                     double factor) {                                                                        \
        enum { BLOCK = BLOCK_BYTES / sizeof(float) };                                                        \
        float acc[BLOCK], in[BLOCK];                                                                         \
        uint16_t out[BLOCK];                                                                                 \
        (void)factor;                                                                                        \
        for (size_t i = 0, n; i < count; i += n) {                                                           \
            n = count - i < BLOCK ? count - i : BLOCK;                                                       \
            widen(acc, (const uint16_t *)from[0] + i, n);                                                    \
            for (size_t j = 0; j < n; j++) acc[j] = first(acc[j]);                                           \
            for (size_t r = 1; r < inputs; r++) {                                                            \
                widen(in, (const uint16_t *)from[r] + i, n);                                                 \
                for (size_t j = 0; j < n; j++) acc[j] = next(acc[j], in[j]);                                 \
            }                                                                                                \
            for (size_t j = 0; j < n; j++) acc[j] = last(acc[j]);                                            \
            narrow(out, acc, n);                                                                             \
            for (size_t o = 0; o < outputs; o++) memcpy((uint16_t *)to[o] + i, out, n * sizeof *out);        \
        }                                                                                                    \
    }

INLINE void widen_bf16(float *to, const uint16_t *from, size_t n) {
    for (size_t j = 0; j < n; j++) {
        uint32_t bits = (uint32_t)from[j] << 16;
        memcpy(&to[j], &bits, sizeof bits);
    }
}

/* To the nearest, ties to even; a NaN stays one. */
INLINE void narrow_bf16(uint16_t *to, const float *from, size_t n) {
    for (size_t j = 0; j < n; j++) {
        uint32_t bits;
        memcpy(&bits, &from[j], sizeof bits);
        uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        to[j] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
    }
}

INLINE float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

INLINE uint32_t bits_of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* The exponent is moved by a multiplication, which also brings subnormals up. */
INLINE float f32_of_f16(uint16_t half) {
    uint32_t rest = half & 0x7fffu, bits = bits_of_float(float_of_bits(rest << 13) * 0x1p112f);
    if (rest >= 0x7c00) bits |= 0x7f800000;
    if (rest > 0x7c00) bits |= 0x400000; /* a quiet NaN, as the processor makes it */
    return float_of_bits(bits | (half & 0x8000u) << 16);
}

INLINE uint16_t f16_of_f32(float f) {
    uint32_t bits = bits_of_float(f), rest = bits & 0x7fffffff, half;
    if (rest > 0x7f800000)
        half = 0x7e00 | (rest >> 13 & 0x3ff);
    else if (rest >= 0x477ff000) /* rounds to 65536 or more */
        half = 0x7c00;
    else if (rest < 0x38800000) /* subnormal: adding 0.5 rounds to its last place */
        half = bits_of_float(float_of_bits(rest) + 0.5f) - 0x3f000000;
    else
        half = ((rest + 0xfff + (rest >> 13 & 1)) >> 13) - (112 << 10);
    return (uint16_t)(half | (bits >> 16 & 0x8000));
}

/* Also rounds to the nearest, ties to even. */
INLINE void widen_f16(float *to, const uint16_t *from, size_t n) {
    size_t j = 0;
#ifdef __F16C__
    for (; j + 8 <= n; j += 8)
        _mm256_storeu_ps(to + j, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(from + j))));
#endif
    for (; j < n; j++) to[j] = f32_of_f16(from[j]);
}

INLINE void narrow_f16(uint16_t *to, const float *from, size_t n) {
    size_t j = 0;
#ifdef __F16C__
    for (; j + 8 <= n; j += 8)
        _mm_storeu_si128((__m128i *)(void *)(to + j), _mm256_cvtps_ph(_mm256_loadu_ps(from + j), 0));
#endif
    for (; j < n; j++) to[j] = f16_of_f32(from[j]);
}

#define SAME(x)        (x)
#define PLUS(a, b)     ((a) + (b))
#define TIMES(a, b)    ((a) * (b))
#define AND(a, b)      ((a) & (b))
#define OR(a, b)       ((a) | (b))
#define XOR(a, b)      ((a) ^ (b))
#define LESS(a, b)     ((b) < (a) ? (b) : (a))
#define MORE(a, b)     ((b) > (a) ? (b) : (a))
#define LESS_NAN(a, b) ((b) < (a) || (b) != (b) ? (b) : (a)) /* a NaN in `a` stays: no comparison holds */
#define MORE_NAN(a, b) ((b) > (a) || (b) != (b) ? (b) : (a))
#define MEAN(x)        ((x) / (float)inputs)

#define SCALED_F32(x)         ((float)factor * (x))
#define PLUS_SCALED_F32(a, b) ((a) + (float)factor * (b))
#define SCALED_F64(x)         (factor * (x))
#define PLUS_SCALED_F64(a, b) ((a) + factor * (b))

#define DEFINE_FLOAT(suffix, element, scaled, plus_scaled)                                                   \
    DEFINE_PLAIN(min_##suffix, element, SAME, LESS_NAN, SAME)                                                \
    DEFINE_PLAIN(max_##suffix, element, SAME, MORE_NAN, SAME)                                                \
    DEFINE_PLAIN(prod_##suffix, element, SAME, TIMES, SAME)                                                  \
    DEFINE_PLAIN(premul_##suffix, element, scaled, plus_scaled, SAME)

#define DEFINE_HALVES(suffix)                                                                                \
    DEFINE_HALF(sum_##suffix, widen_##suffix, narrow_##suffix, SAME, PLUS, SAME)                             \
    DEFINE_HALF(avg_##suffix, widen_##suffix, narrow_##suffix, SAME, PLUS, MEAN)                             \
    DEFINE_HALF(min_##suffix, widen_##suffix, narrow_##suffix, SAME, LESS_NAN, SAME)                         \
    DEFINE_HALF(max_##suffix, widen_##suffix, narrow_##suffix, SAME, MORE_NAN, SAME)                         \
    DEFINE_HALF(prod_##suffix, widen_##suffix, narrow_##suffix, SAME, TIMES, SAME)                           \
    DEFINE_HALF(premul_##suffix, widen_##suffix, narrow_##suffix, SCALED_F32, PLUS_SCALED_F32, SAME)

/* Unsigned arithmetic wraps; `wide` is at least as wide as what the operands are promoted to. */
#define DEFINE_INTEGER(suffix, element, wrapping, wide)                                                      \
    INLINE wrapping plus_##suffix(wrapping a, wrapping b) { return (wrapping)((wide)a + (wide)b); }          \
    INLINE wrapping times_##suffix(wrapping a, wrapping b) { return (wrapping)((wide)a * (wide)b); }         \
    DEFINE_PLAIN(sum_##suffix, wrapping, SAME, plus_##suffix, SAME)                                          \
    DEFINE_PLAIN(prod_##suffix, wrapping, SAME, times_##suffix, SAME)                                        \
    DEFINE_PLAIN(min_##suffix, element, SAME, LESS, SAME)                                                    \
    DEFINE_PLAIN(max_##suffix, element, SAME, MORE, SAME)

DEFINE_FLOAT(f32, float, SCALED_F32, PLUS_SCALED_F32)
DEFINE_FLOAT(f64, double, SCALED_F64, PLUS_SCALED_F64)
DEFINE_HALVES(f16)
DEFINE_HALVES(bf16)
DEFINE_INTEGER(i8, int8_t, uint8_t, uint32_t)
DEFINE_INTEGER(u8, uint8_t, uint8_t, uint32_t)
DEFINE_INTEGER(i16, int16_t, uint16_t, uint32_t)
DEFINE_INTEGER(i32, int32_t, uint32_t, uint32_t)
DEFINE_INTEGER(i64, int64_t, uint64_t, uint64_t)

/* Bits are bits, whatever they stand for. */
#define DEFINE_BITS(suffix, element)                                                                         \
    DEFINE_PLAIN(band_##suffix, element, SAME, AND, SAME)                                                    \
    DEFINE_PLAIN(bor_##suffix, element, SAME, OR, SAME)                                                      \
    DEFINE_PLAIN(bxor_##suffix, element, SAME, XOR, SAME)

DEFINE_BITS(8, uint8_t)
DEFINE_BITS(16, uint16_t)
DEFINE_BITS(32, uint32_t)
DEFINE_BITS(64, uint64_t)

#define FLOAT_ROWS(op)                                                                                       \
    [TD_DTYPE_F32] = op##_f32, [TD_DTYPE_F64] = op##_f64, [TD_DTYPE_F16] = op##_f16,                         \
    [TD_DTYPE_BF16] = op##_bf16
#define INTEGER_ROWS(op)                                                                                     \
    [TD_DTYPE_I8] = op##_i8, [TD_DTYPE_U8] = op##_u8, [TD_DTYPE_I16] = op##_i16, [TD_DTYPE_I32] = op##_i32,  \
    [TD_DTYPE_I64] = op##_i64
#define BIT_ROWS(op)                                                                                         \
    [TD_DTYPE_I8] = op##_8, [TD_DTYPE_U8] = op##_8, [TD_DTYPE_I16] = op##_16, [TD_DTYPE_I32] = op##_32,      \
    [TD_DTYPE_I64] = op##_64, [TD_DTYPE_BOOL] = op##_8

const td_reduce_table TD_REDUCE_TABLE = {
    .widen = {widen_f16, widen_bf16},
    .narrow = {narrow_f16, narrow_bf16},
    .kernels = {
        [TD_REDUCE_SUM] = {FLOAT_ROWS(sum), INTEGER_ROWS(sum), [TD_DTYPE_BOOL] = bor_8},
        [TD_REDUCE_AVG] = {FLOAT_ROWS(avg)},
        [TD_REDUCE_MIN] = {FLOAT_ROWS(min), INTEGER_ROWS(min), [TD_DTYPE_BOOL] = band_8},
        [TD_REDUCE_MAX] = {FLOAT_ROWS(max), INTEGER_ROWS(max), [TD_DTYPE_BOOL] = bor_8},
        [TD_REDUCE_PROD] = {FLOAT_ROWS(prod), INTEGER_ROWS(prod), [TD_DTYPE_BOOL] = band_8},
        [TD_REDUCE_BAND] = {BIT_ROWS(band)},
        [TD_REDUCE_BOR] = {BIT_ROWS(bor)},
        [TD_REDUCE_BXOR] = {BIT_ROWS(bxor)},
        [TD_REDUCE_PREMUL_SUM] = {FLOAT_ROWS(premul)},
    }};
