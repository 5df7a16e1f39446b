/*
 * Random permutations equal to torch.randperm on the CPU, bit for bit, including the words they take from the
 * generator. Plain functions on the caller's arrays. One thread at a time per generator.
 */
#ifndef TANDEM_SAMPLER_PERMUTATION_H
#define TANDEM_SAMPLER_PERMUTATION_H

#include "base/generator.h"

TD_BEGIN_DECLS

/* From this many elements on PyTorch shuffles another way, with 64-bit draws. */
#define TD_PERMUTATION_WIDE INT64_C(214748364)

/*
 * Write a permutation of 0 .. count-1 to out[count]. Below TD_PERMUTATION_WIDE it takes count-1 words from
 * the generator (none for 0 or 1), from there on two words an element. The i32 form gives the same numbers in
 * half the memory; count is then at most INT32_MAX.
 */
TD_API void td_permutation_i64(td_generator *generator, int64_t *out, int64_t count);
TD_API void td_permutation_i32(td_generator *generator, int32_t *out, int64_t count);

TD_END_DECLS

#endif
