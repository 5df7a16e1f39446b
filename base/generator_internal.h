/* The generator's state, shared by the engine (generator.c) and the fills (random_fill.c). */
#ifndef TANDEM_BASE_GENERATOR_INTERNAL_H
#define TANDEM_BASE_GENERATOR_INTERNAL_H

#include "base/generator.h"

enum { MT_WORDS = 624, MT_SHIFT = 397 };

struct td_generator {
    uint64_t seed;
    uint32_t state[MT_WORDS];
    uint32_t left; /* words until the next twist, 1 right after seeding */
    uint32_t next; /* the word drawn next */
    double cached_normal;
    bool has_cached_normal;
};

/* The next `count` words at once. */
void generator_random_words(td_generator *g, uint32_t *out, size_t count);

#endif
