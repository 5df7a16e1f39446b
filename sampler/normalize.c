/* The table, and the choice of a faster way where the processor has one. */
#include "sampler/normalize.h"

#include <string.h>

static void normalize_by_table(const sampler_normalizer *n, const uint8_t *in, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) out[i] = n->table[in[i]];
}

static bool always(void) { return true; }

#if defined(__x86_64__)
static bool has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static bool has_avx512(void) { return __builtin_cpu_supports("avx512f"); }
#endif

const sampler_normalize_way sampler_normalize_ways[] = {
#if defined(__x86_64__)
    {"avx512", sampler_normalize_avx512, has_avx512},
    {"avx2", sampler_normalize_avx2, has_avx2},
#endif
    {"table", normalize_by_table, always},
    {NULL, NULL, NULL},
};

bool sampler_normalize_agrees(const sampler_normalizer *n, const sampler_normalize_way *way) {
    uint8_t bytes[256];
    float values[256];
    for (int i = 0; i < 256; i++) bytes[i] = (uint8_t)i;
    way->run(n, bytes, 256, values);
    return memcmp(values, n->table, sizeof values) == 0;
}

static sampler_reciprocal reciprocal(float divisor) {
    double exact = 1 / (double)divisor;
    float high = (float)exact;
    return (sampler_reciprocal){high, (float)(exact - (double)high)};
}

void sampler_normalizer_init(sampler_normalizer *n, double mean, double std) {
    n->mean = (float)mean;
    n->std = (float)std;
    n->unit = reciprocal(255);
    n->scale = reciprocal(n->std);
    for (int i = 0; i < 256; i++) {
        float unit = (float)i / 255.0f;
        float centred = unit - n->mean;
        n->table[i] = centred / n->std;
    }
    const sampler_normalize_way *way = sampler_normalize_ways;
    while (!way->can() || !sampler_normalize_agrees(n, way)) way++;
    n->run = way->run;
}
