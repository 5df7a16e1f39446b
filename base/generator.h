/*
 * A random stream equal to PyTorch's CPU generator (MT19937), bit for bit, with the fills that PyTorch
 * builds on it. Central object: td_generator, opened with a seed, drawn from, closed. The state can be saved
 * and restored as the same 5,056 bytes that torch.Generator.get_state gives. One thread at a time.
 *
 * Fills follow the reference numerics of PyTorch's x86-64 Linux wheels ("one fused multiply-add",
 * checked against 2.15): on every machine, whatever instructions it has.
 */
#ifndef TANDEM_BASE_GENERATOR_H
#define TANDEM_BASE_GENERATOR_H

#include "base/status.h"

TD_BEGIN_DECLS

#define TD_GENERATOR_DEFAULT_SEED UINT64_C(67280421310721) /* of a fresh torch.Generator() */
#define TD_GENERATOR_STATE_BYTES  5056

/* Open a generator seeded with TD_GENERATOR_DEFAULT_SEED. *Yours*. */
TD_API td_status td_generator_open(td_generator **generator);
TD_API void td_generator_close(td_generator **generator);

/* As Generator.manual_seed: only the low 32 bits choose the stream; forgets the cached normal. Pass a
 * negative seed as the two's complement, as PyTorch does. */
TD_API void td_generator_seed(td_generator *generator, uint64_t seed);
TD_API uint64_t td_generator_initial_seed(const td_generator *generator);

/* The next 32-bit word; and two words, the first being the high half. */
TD_API uint32_t td_generator_random(td_generator *generator);
TD_API uint64_t td_generator_random64(td_generator *generator);

/* The state blob of PyTorch 2.x. Setting refuses a blob of another size or with impossible counters
 * (TD_ERR_FORMAT) and then leaves the generator alone. */
TD_API void td_generator_get_state(const td_generator *generator, uint8_t state[TD_GENERATOR_STATE_BYTES]);
TD_API td_status td_generator_set_state(td_generator *generator, const void *state, size_t bytes);

/* An int64 as Tensor.random_() without bounds draws it (DataLoader's base seed): 2 words, never negative. */
TD_API int64_t td_generator_random_i64(td_generator *generator);

/* Tensor.uniform_(from, to): f32 one word an element, f64 two. */
TD_API void td_generator_uniform_f32(td_generator *generator, float *out, size_t count, double from,
                                     double to);
TD_API void td_generator_uniform_f64(td_generator *generator, double *out, size_t count, double from,
                                     double to);

/* Tensor.normal_(mean, std) of a contiguous tensor: from 16 elements on the vector fill, below it the serial
 * Box-Muller with its cached second value. */
TD_API void td_generator_normal_f32(td_generator *generator, float *out, size_t count, double mean,
                                    double std);
TD_API void td_generator_normal_f64(td_generator *generator, double *out, size_t count, double mean,
                                    double std);

/* Tensor.bernoulli_(p), scalar p: two words an element; out[i] is 1 where the draw is below p, else 0. */
TD_API void td_generator_bernoulli(td_generator *generator, uint8_t *out, size_t count, double p);

/* Tensor.random_(low, high): low <= out[i] < high; one word an element below a range of 2^28, else two. */
TD_API void td_generator_randint(td_generator *generator, int64_t *out, size_t count, int64_t low,
                                 int64_t high);

TD_END_DECLS

#endif
