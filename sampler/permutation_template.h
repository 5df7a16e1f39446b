/* The shuffles for one element type: INDEX is the type, NAMED(name) the name with its suffix. */

static void NAMED(shuffle_narrow)(td_generator *generator, INDEX *out, int64_t count) {
    for (int64_t i = 0; i < count; i++) out[i] = (INDEX)i;
    for (int64_t begin = 0; begin < count - 1; begin += AHEAD) {
        int64_t draws = count - 1 - begin < AHEAD ? count - 1 - begin : AHEAD;
        uint32_t offsets[AHEAD];
        generator_random_words(generator, offsets, (size_t)draws);
        for (int64_t k = 0; k < draws; k++) {
            offsets[k] = reduce_word(offsets[k], (uint32_t)(count - begin - k));
            __builtin_prefetch(&out[begin + k + offsets[k]], 1);
        }
        for (int64_t k = 0; k < draws; k++) {
            INDEX *here = &out[begin + k], *there = here + offsets[k];
            INDEX kept = *here;
            *here = *there;
            *there = kept;
        }
    }
}

void NAMED(sampler_shuffle_wide)(td_generator *generator, INDEX *out, int64_t count) {
    for (int64_t begin = 0; begin < count; begin += AHEAD) {
        int64_t draws = count - begin < AHEAD ? count - begin : AHEAD;
        int64_t places[AHEAD];
        for (int64_t k = 0; k < draws; k++) {
            places[k] = (int64_t)(td_generator_random64(generator) % (uint64_t)(begin + k + 1));
            __builtin_prefetch(&out[places[k]], 1);
        }
        for (int64_t k = 0; k < draws; k++) {
            int64_t i = begin + k;
            if (places[k] != i) out[i] = out[places[k]];
            out[places[k]] = (INDEX)i;
        }
    }
}

void NAMED(td_permutation)(td_generator *generator, INDEX *out, int64_t count) {
    if (count < TD_PERMUTATION_WIDE)
        NAMED(shuffle_narrow)(generator, out, count);
    else
        NAMED(sampler_shuffle_wide)(generator, out, count);
}
