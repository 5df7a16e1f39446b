/*
 * torch.randperm. Below TD_PERMUTATION_WIDE it is Fisher-Yates from the front, one 32-bit word and a plain
 * modulo for each place; from there on an inside-out shuffle with 64-bit draws. Which places are exchanged
 * does not depend on what lies there, so a few dozen draws are made ahead and their cache lines fetched
 * meanwhile: a permutation larger than the cache is otherwise one cache miss after another.
 */
#include "sampler/permutation.h"

#include "base/generator_internal.h"
#include "sampler/internal.h"

enum { AHEAD = 64 };

/* word % range, by a division of doubles: a processor does that several times faster, and it is exact. Both
 * numbers are below 2^32, so a quotient that is no whole number lies at least 2^-32 of itself below the next
 * one, and rounding to 53 bits cannot reach it. */
static inline uint32_t reduce_word(uint32_t word, uint32_t range) {
    uint32_t quotient = (uint32_t)(int64_t)((double)word / (double)range);
    return word - quotient * range;
}

#define INDEX       int32_t
#define NAMED(name) name##_i32
#include "sampler/permutation_template.h"
#undef INDEX
#undef NAMED

#define INDEX       int64_t
#define NAMED(name) name##_i64
#include "sampler/permutation_template.h"
