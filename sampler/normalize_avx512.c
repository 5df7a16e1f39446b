/* Sixteen bytes at a time; compiled with -mavx512f. */
#include "sampler/normalize.h"

#include <immintrin.h>

void sampler_normalize_avx512(const sampler_normalizer *n, const uint8_t *in, size_t count, float *out) {
    const __m512 unit = _mm512_set1_ps(n->unit.high), unit_low = _mm512_set1_ps(n->unit.low);
    const __m512 scale = _mm512_set1_ps(n->scale.high), scale_low = _mm512_set1_ps(n->scale.low);
    const __m512 mean = _mm512_set1_ps(n->mean);
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m512 x = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(in + i))));
        __m512 centred = _mm512_sub_ps(_mm512_fmadd_ps(x, unit, _mm512_mul_ps(x, unit_low)), mean);
        _mm512_storeu_ps(out + i, _mm512_fmadd_ps(centred, scale, _mm512_mul_ps(centred, scale_low)));
    }
    for (; i < count; i++) out[i] = n->table[in[i]];
}
