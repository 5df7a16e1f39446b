/* MT19937 with the bookkeeping of PyTorch's CPUGeneratorImpl, so that the state blob is the same bytes. */
#include "base/generator_internal.h"
#include "base/memory.h"

#include <string.h>

/* The layout of Generator.get_state() in PyTorch 2.x, little-endian. */
typedef struct state_blob {
    uint64_t seed;
    int32_t left, seeded;
    uint64_t next;
    uint64_t words[MT_WORDS];
    double normal_x, normal_y, normal_rho;
    int32_t normal_is_valid;
    int32_t padding;
    float next_float;
    uint8_t next_float_is_valid;
    uint8_t padding2[3];
} state_blob;
_Static_assert(sizeof(state_blob) == TD_GENERATOR_STATE_BYTES, "the blob is PyTorch's");

td_status td_generator_open(td_generator **generator) {
    td_generator *opened = td_calloc(1, sizeof *opened);
    if (!opened) return TD_ERR_MEMORY;
    td_generator_seed(opened, TD_GENERATOR_DEFAULT_SEED);
    *generator = opened;
    return TD_OK;
}

void td_generator_close(td_generator **generator) {
    td_free(*generator);
    *generator = NULL;
}

void td_generator_seed(td_generator *g, uint64_t seed) {
    g->seed = seed;
    g->state[0] = (uint32_t)seed;
    for (uint32_t j = 1; j < MT_WORDS; j++)
        g->state[j] = UINT32_C(1812433253) * (g->state[j - 1] ^ g->state[j - 1] >> 30) + j;
    g->left = 1;
    g->next = 0;
    g->cached_normal = 0;
    g->has_cached_normal = false;
}

uint64_t td_generator_initial_seed(const td_generator *g) { return g->seed; }

static uint32_t twisted(uint32_t high, uint32_t low) {
    uint32_t mixed = (high & UINT32_C(0x80000000)) | (low & UINT32_C(0x7fffffff));
    return mixed >> 1 ^ (-(low & 1) & UINT32_C(0x9908b0df)); /* no branch, so that the loops become vectors */
}

static void twist(td_generator *g) {
    uint32_t *s = g->state;
    for (int j = 0; j < MT_WORDS - MT_SHIFT; j++) s[j] = s[j + MT_SHIFT] ^ twisted(s[j], s[j + 1]);
    for (int j = MT_WORDS - MT_SHIFT; j < MT_WORDS - 1; j++)
        s[j] = s[j + MT_SHIFT - MT_WORDS] ^ twisted(s[j], s[j + 1]);
    s[MT_WORDS - 1] = s[MT_SHIFT - 1] ^ twisted(s[MT_WORDS - 1], s[0]);
    g->left = MT_WORDS;
    g->next = 0;
}

static uint32_t tempered(uint32_t y) {
    y ^= y >> 11;
    y ^= y << 7 & UINT32_C(0x9d2c5680);
    y ^= y << 15 & UINT32_C(0xefc60000);
    return y ^ y >> 18;
}

uint32_t td_generator_random(td_generator *g) {
    if (--g->left == 0) twist(g);
    return tempered(g->state[g->next++]);
}

void generator_random_words(td_generator *g, uint32_t *out, size_t count) {
    while (count > 0) {
        if (g->left == 1) {
            twist(g);
            g->left++; /* the word that td_generator_random would draw along with the twist is still there */
        }
        const size_t ready = g->left - 1, n = count < ready ? count : ready;
        const uint32_t *state = g->state + g->next; /* read once, so that the loop becomes vectors */
        for (size_t i = 0; i < n; i++) out[i] = tempered(state[i]);
        g->left -= (uint32_t)n;
        g->next += (uint32_t)n;
        out += n;
        count -= n;
    }
}

uint64_t td_generator_random64(td_generator *g) {
    uint64_t high = td_generator_random(g);
    return high << 32 | td_generator_random(g);
}

int64_t td_generator_random_i64(td_generator *g) { return (int64_t)(td_generator_random64(g) & INT64_MAX); }

void td_generator_get_state(const td_generator *g, uint8_t state[TD_GENERATOR_STATE_BYTES]) {
    state_blob blob = {.seed = g->seed, .left = (int32_t)g->left, .seeded = 1, .next = g->next};
    for (int j = 0; j < MT_WORDS; j++) blob.words[j] = g->state[j];
    blob.normal_y = g->has_cached_normal ? g->cached_normal : 0;
    blob.normal_is_valid = g->has_cached_normal;
    memcpy(state, &blob, sizeof blob);
}

td_status td_generator_set_state(td_generator *g, const void *state, size_t bytes) {
    if (bytes != TD_GENERATOR_STATE_BYTES)
        return td_fail(TD_ERR_FORMAT, 0, "base", "generator state: %zu bytes, expected %d", bytes,
                       TD_GENERATOR_STATE_BYTES);
    state_blob blob;
    memcpy(&blob, state, sizeof blob);
    bool plausible = blob.seeded == 1 && blob.left >= 1 && blob.left <= MT_WORDS && blob.next <= MT_WORDS;
    if (!plausible)
        return td_fail(TD_ERR_FORMAT, 0, "base", "generator state: left %d and next %llu cannot be",
                       blob.left, (unsigned long long)blob.next);
    /* Between twists the counters move together; freshly seeded ones are (1, 0). */
    if (blob.left + (int64_t)blob.next != MT_WORDS + 1 && !(blob.left == 1 && blob.next == 0))
        return td_fail(TD_ERR_FORMAT, 0, "base", "generator state: left %d and next %llu disagree", blob.left,
                       (unsigned long long)blob.next);
    for (int j = 0; j < MT_WORDS; j++) g->state[j] = (uint32_t)blob.words[j];
    g->seed = blob.seed;
    g->left = (uint32_t)blob.left;
    g->next = (uint32_t)blob.next;
    g->cached_normal = blob.normal_y;
    g->has_cached_normal = blob.normal_is_valid != 0;
    return TD_OK;
}
