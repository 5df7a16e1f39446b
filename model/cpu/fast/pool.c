/* Max pooling of channels that lie side by side. */
#include "model/cpu/fast/fast.h"
#include "model/cpu/fast/loops.h"
#include "model/cpu/fast/vec.h"

typedef uint8_t bytes __attribute__((vector_size(LANES)));

static inline vec choose(ivec mask, vec yes, vec no) {
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

void ISA(pool)(const float *x, const int64_t *offsets, const uint8_t *positions, int64_t count,
               int64_t channels, float *y, uint8_t *choice) {
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES) {
        vec most = load(x + offsets[0] + c);
        ivec chosen = positions[0] - (ivec){0};
        for (int64_t i = 1; i < count; i++) {
            vec v = load(x + offsets[i] + c);
            ivec mask = (v > most) | (v != v), position = positions[i] - (ivec){0};
            most = choose(mask, v, most);
            chosen = (mask & position) | (~mask & chosen);
        }
        store(y + c, most);
        bytes narrow = __builtin_convertvector(chosen, bytes);
        memcpy(choice + c, &narrow, sizeof narrow);
    }
    for (; c < channels; c++) {
        float most = x[offsets[0] + c];
        choice[c] = positions[0];
        for (int64_t i = 1; i < count; i++) {
            float v = x[offsets[i] + c];
            if (v > most || v != v) most = v, choice[c] = positions[i];
        }
        y[c] = most;
    }
}

void ISA(unpool)(const float *g, int64_t stride, const uint8_t *choice, const int64_t *offsets,
                 const uint8_t *positions, int64_t count, int64_t channels, float *y) {
    float gathered[CPU_UNPOOL_CHANNELS];
    if (stride != 1) {
        for (int64_t c = 0; c < channels; c++) gathered[c] = g[c * stride];
        g = gathered;
    }
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES) {
        bytes narrow;
        memcpy(&narrow, choice + c, sizeof narrow);
        const ivec chosen = __builtin_convertvector(narrow, ivec), gradient = (ivec)load(g + c);
        for (int64_t i = 0; i < count; i++)
            store(y + offsets[i] + c, (vec)(gradient & (chosen == positions[i] - (ivec){0})));
    }
    for (; c < channels; c++)
        for (int64_t i = 0; i < count; i++) y[offsets[i] + c] = choice[c] == positions[i] ? g[c] : 0;
}
