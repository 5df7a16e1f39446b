/*
 * The vector type of the instruction set that this object is compiled for. The sources of this folder are
 * compiled once per set (baseline SSE2, AVX2 with FMA, AVX-512); each object fills one table of fast.h, and
 * the choice between tables is made at run time. ISA(name) keeps their symbols apart.
 */
#ifndef TANDEM_MODEL_CPU_FAST_VEC_H
#define TANDEM_MODEL_CPU_FAST_VEC_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES     16
#define ISA(name) cpu_avx512_##name
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define LANES     8
#define ISA(name) cpu_avx2_##name
#else
#define LANES     4
#define ISA(name) cpu_base_##name
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float vec_at __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* anywhere in memory */
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec_at __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline vec load(const float *at) { return *(const vec_at *)at; }
static inline void store(float *at, vec v) { *(vec_at *)at = v; }
static inline vec splat(float x) { return x - (vec){0}; }

/* The first `count` (< LANES) elements; the other lanes are zero. Reads nothing beyond. */
static inline vec load_part(const float *at, int64_t count) {
    vec v = {0};
    memcpy(&v, at, (size_t)count * sizeof(float));
    return v;
}
static inline void store_part(float *at, vec v, int64_t count) {
    memcpy(at, &v, (size_t)count * sizeof(float));
}

/* a * b + c: in one rounding where the machine can, which is part of "bits are fixed by instruction set". */
static inline vec mul_add(vec a, vec b, vec c) {
#if LANES == 16
    return _mm512_fmadd_ps(a, b, c);
#elif LANES == 8
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
}

#endif
