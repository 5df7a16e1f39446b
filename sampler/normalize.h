/*
 * Unsigned bytes to normalised floats: (x / 255 - mean) / std, each step rounded to f32, which is what
 * torchvision's ToTensor and Normalize give. Internal.
 */
#ifndef TANDEM_SAMPLER_NORMALIZE_H
#define TANDEM_SAMPLER_NORMALIZE_H

#include "base/status.h"

typedef struct sampler_normalizer sampler_normalizer;

/* Convert in[0..count) to out[0..count); the two do not overlap. */
typedef void sampler_normalize(const sampler_normalizer *normalizer, const uint8_t *in, size_t count,
                               float *out);

/* A reciprocal to 48 bits, as the sum of two floats. */
typedef struct sampler_reciprocal {
    float high, low;
} sampler_reciprocal;

struct sampler_normalizer {
    sampler_normalize *run;
    float mean, std;
    sampler_reciprocal unit, scale; /* of 255 and of std */
    float table[256];               /* the answer for every byte */
};

/* One way to compute it. All give the table's bits, or are not used. */
typedef struct sampler_normalize_way {
    const char *name;
    sampler_normalize *run;
    bool (*can)(void); /* does this processor have the instructions? */
} sampler_normalize_way;

/* Fastest first, ending with a row whose run is NULL; the last real one is the table, which can always serve.
 */
extern const sampler_normalize_way sampler_normalize_ways[];

/* Fill the table and choose the fastest way that this processor has and that gives the table's bits for every
 * byte. */
void sampler_normalizer_init(sampler_normalizer *normalizer, double mean, double std);
/* Does this way, with this mean and std, give the table's bits? */
bool sampler_normalize_agrees(const sampler_normalizer *normalizer, const sampler_normalize_way *way);

/* In files of their own, compiled for one instruction set. They divide by multiplying with a 48-bit
 * reciprocal in two steps, which gives a division's bits unless the quotient lies next to the middle between
 * two floats (4 of 256,000 over a grid of means and deviations). */
sampler_normalize sampler_normalize_avx2, sampler_normalize_avx512;

#endif
