/* Eight bytes at a time; compiled with -mavx2 -mfma. */
#include "sampler/normalize.h"

#include <immintrin.h>

void sampler_normalize_avx2(const sampler_normalizer *n, const uint8_t *in, size_t count, float *out) {
    const __m256 unit = _mm256_set1_ps(n->unit.high), unit_low = _mm256_set1_ps(n->unit.low);
    const __m256 scale = _mm256_set1_ps(n->scale.high), scale_low = _mm256_set1_ps(n->scale.low);
    const __m256 mean = _mm256_set1_ps(n->mean);
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(in + i))));
        __m256 centred = _mm256_sub_ps(_mm256_fmadd_ps(x, unit, _mm256_mul_ps(x, unit_low)), mean);
        _mm256_storeu_ps(out + i, _mm256_fmadd_ps(centred, scale, _mm256_mul_ps(centred, scale_low)));
    }
    for (; i < count; i++) out[i] = n->table[in[i]];
}
