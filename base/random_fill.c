/*
 * PyTorch's fills, with its x86-64 numerics: every fused multiply-add here is one that the reference's
 * compiler fuses; everything else rounds after each operation (this project is compiled with
 * -ffp-contract=off). The float logarithm, sine and cosine are the Cephes single-precision polynomials.
 */
#include "base/generator_internal.h"

#include <math.h>

enum { WORDS_AT_ONCE = 512 };

/* The whole number below 2^53 of which uniform_f64 makes a fraction: two words, the first being the high
 * half. */
static inline uint64_t bits53(const uint32_t words[2]) {
    return (uint64_t)(words[0] & 0x1fffff) << 32 | words[1];
}

static double uniform_f64(td_generator *g) {
    uint32_t words[2];
    generator_random_words(g, words, 2);
    return (double)(int64_t)bits53(words) * 0x1p-53; /* exact */
}

static void uniforms_f32(td_generator *g, float *out, size_t count) {
    uint32_t words[WORDS_AT_ONCE];
    for (size_t n; count > 0; out += n, count -= n) {
        n = count < WORDS_AT_ONCE ? count : WORDS_AT_ONCE;
        generator_random_words(g, words, n);
        for (size_t i = 0; i < n; i++) out[i] = (float)(int32_t)(words[i] & 0xffffff) * 0x1p-24f; /* exact */
    }
}

static void uniforms_f64(td_generator *g, double *out, size_t count) {
    uint32_t words[WORDS_AT_ONCE];
    for (size_t n; count > 0; out += n, count -= n) {
        n = count < WORDS_AT_ONCE / 2 ? count : WORDS_AT_ONCE / 2;
        generator_random_words(g, words, 2 * n);
        for (size_t i = 0; i < n; i++) out[i] = (double)(int64_t)bits53(words + 2 * i) * 0x1p-53;
    }
}

/* A value that rounding pushed onto the open end becomes `from`, as PyTorch since 2.x. */
void td_generator_uniform_f32(td_generator *g, float *out, size_t count, double from, double to) {
    float low = (float)from, high = (float)to, range = high - low;
    uniforms_f32(g, out, count);
    for (size_t i = 0; i < count; i++) {
        float value = fmaf(out[i], range, low);
        out[i] = value == high ? low : value;
    }
}

void td_generator_uniform_f64(td_generator *g, double *out, size_t count, double from, double to) {
    double range = to - from;
    uniforms_f64(g, out, count);
    for (size_t i = 0; i < count; i++) {
        double value = fma(out[i], range, from);
        out[i] = value == to ? from : value;
    }
}

/* uniform_f64(g) < p, with both sides times 2^53: whole numbers, exactly. */
void td_generator_bernoulli(td_generator *g, uint8_t *out, size_t count, double p) {
    uint32_t words[WORDS_AT_ONCE];
    const uint64_t limit = p > 0 ? (uint64_t)ceil((p < 1 ? p : 1) * 0x1p53) : 0;
    for (size_t n; count > 0; out += n, count -= n) {
        n = count < WORDS_AT_ONCE / 2 ? count : WORDS_AT_ONCE / 2;
        generator_random_words(g, words, 2 * n);
        for (size_t i = 0; i < n; i++) out[i] = bits53(words + 2 * i) < limit;
    }
}

void td_generator_randint(td_generator *g, int64_t *out, size_t count, int64_t low, int64_t high) {
    uint64_t range = (uint64_t)high - (uint64_t)low;
    for (size_t i = 0; i < count; i++) {
        uint64_t word = range >= UINT64_C(1) << 28 ? td_generator_random64(g) : td_generator_random(g);
        out[i] = (int64_t)((uint64_t)low + word % range);
    }
}

/* Box-Muller in double, one value at a time; the second waits for the next draw, of any tensor. */
static double serial_normal(td_generator *g) {
    if (g->has_cached_normal) {
        g->has_cached_normal = false;
        return g->cached_normal;
    }
    double u1 = uniform_f64(g), u2 = uniform_f64(g);
    double radius = sqrt(-2 * log1p(-u2)), theta = 2 * 3.14159265358979323846 * u1;
    g->cached_normal = radius * sin(theta);
    g->has_cached_normal = true;
    return radius * cos(theta);
}

static float log_f32(float x) {
    int exponent;
    float m = frexpf(x, &exponent), e = (float)exponent;
    if (m < 0.70710678118654752f) {
        e -= 1;
        x = (m - 1) + m;
    } else {
        x = m - 1;
    }
    static const float c[] = {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                              -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};
    float z = x * x, y = 7.0376836292e-2f;
    for (int i = 0; i < 8; i++) y = fmaf(y, x, c[i]);
    y *= x;
    y = fmaf(y, z, e * -2.12194440e-4f);
    y = fmaf(-z, 0.5f, y);
    return fmaf(e, 0.693359375f, x + y);
}

static void sincos_f32(float t, float *sine, float *cosine) {
    int j = ((int)(t * 1.27323954473516f) + 1) & ~1;
    float y = (float)j;
    float x = fmaf(y, -0.78515625f, t);
    x = fmaf(y, -2.4187564849853515625e-4f, x);
    x = fmaf(y, -3.77489497744594108e-8f, x);
    float z = x * x;
    float p = fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f);
    p = fmaf(p, z, 4.166664568298827e-2f) * z;
    p = fmaf(p, z, -(z * 0.5f)) + 1;
    float q = fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f);
    q = fmaf(q, z, -1.6666654611e-1f) * z;
    q = fmaf(q, x, x);
    *sine = j & 2 ? p : q;
    *cosine = j & 2 ? q : p;
    if (j & 4) *sine = -*sine;
    if (!((j - 2) & 4)) *cosine = -*cosine;
}

/* Sixteen uniforms become sixteen normals: entries j and j + 8 are one Box-Muller pair. */
static void transform_f32(float d[16], float mean, float std) {
    for (int j = 0; j < 8; j++) {
        float radius = sqrtf(-2 * log_f32(1 - d[j])), sine, cosine;
        sincos_f32(6.283185307179586f * d[j + 8], &sine, &cosine);
        d[j] = fmaf(radius * cosine, std, mean);
        d[j + 8] = fmaf(radius * sine, std, mean);
    }
}

static void transform_f64(double d[16], double mean, double std) {
    for (int j = 0; j < 8; j++) {
        double radius = sqrt(-2 * log(1 - d[j])), theta = 2 * 3.14159265358979323846 * d[j + 8];
        d[j] = fma(radius * cos(theta), std, mean);
        d[j + 8] = fma(radius * sin(theta), std, mean);
    }
}

/* All slots get uniforms, whole groups of 16 are transformed; where some remain, the LAST 16 slots are drawn
 * afresh and transformed, over what stood there. */
void td_generator_normal_f32(td_generator *g, float *out, size_t count, double mean, double std) {
    if (count < 16) {
        for (size_t i = 0; i < count; i++) out[i] = (float)fma(serial_normal(g), std, mean);
        return;
    }
    uniforms_f32(g, out, count);
    for (size_t i = 0; i + 16 <= count; i += 16) transform_f32(out + i, (float)mean, (float)std);
    if (count % 16 == 0) return;
    uniforms_f32(g, out + count - 16, 16);
    transform_f32(out + count - 16, (float)mean, (float)std);
}

void td_generator_normal_f64(td_generator *g, double *out, size_t count, double mean, double std) {
    if (count < 16) {
        for (size_t i = 0; i < count; i++) out[i] = fma(serial_normal(g), std, mean);
        return;
    }
    uniforms_f64(g, out, count);
    for (size_t i = 0; i + 16 <= count; i += 16) transform_f64(out + i, mean, std);
    if (count % 16 == 0) return;
    uniforms_f64(g, out + count - 16, 16);
    transform_f64(out + count - 16, mean, std);
}
