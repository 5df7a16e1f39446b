/*
 * Which samples a rank sees, in which order, cut into batches. Central object: td_sampler. Its order is a
 * pure function of what it was opened with, the epoch and the cursor; rank and world size are just numbers.
 *
 * Life: open one of the kinds; for each epoch td_sampler_set_epoch, td_sampler_start, then td_sampler_next
 * until it says TD_SAMPLER_END; td_sampler_close. A cursor read with td_sampler_cursor can be given to
 * td_sampler_start later, by another process too, and the pass goes on from there.
 *
 * One thread at a time per sampler.
 */
#ifndef TANDEM_SAMPLER_SAMPLER_H
#define TANDEM_SAMPLER_SAMPLER_H

#include "base/generator.h"

TD_BEGIN_DECLS

/* In place of a count: the pass is over. */
#define TD_SAMPLER_END INT64_C(-1)

/* PyTorch's SequentialSampler: 0, 1, 2, ... */
typedef struct td_sequential_options {
    int64_t batch_size;    /* 1 */
    bool drop_short_batch; /* false; DataLoader's drop_last: a short last batch is left out */
} td_sequential_options;
#define TD_SEQUENTIAL_DEFAULTS                                                                               \
    { 1, false }

/* PyTorch's RandomSampler. */
typedef struct td_random_options {
    int64_t batch_size;    /* 1 */
    bool drop_short_batch; /* false */
    bool replacement;      /* false; true: every draw is independent */
    int64_t num_samples; /* 0: as many as there are; more than that repeats, permutation after permutation */
    /* NULL: each pass draws one seed (2 words) from the default generator of the current context when its
     * first batch is asked for, and shuffles with that. Else *lent* until the sampler is closed: shuffles
     * draw from it directly, one more permutation included when the pass runs dry, as in PyTorch. */
    td_generator *generator;
} td_random_options;
#define TD_RANDOM_DEFAULTS                                                                                   \
    { 1, false, false, 0, NULL }

/* PyTorch's DistributedSampler: rank r takes the entries r, r + W, r + 2W, ... of the epoch's permutation,
 * which is padded from its own start, or cut, so that all ranks have equally many. */
typedef struct td_distributed_options {
    int64_t batch_size;    /* 1; of this rank */
    bool drop_short_batch; /* false; DataLoader's drop_last */
    int world_size;        /* 1 */
    int rank;              /* 0 */
    bool shuffle;          /* true */
    bool drop_last;        /* false; DistributedSampler's: cut to a multiple of the world size, do not pad */
    uint64_t seed;         /* 0; epoch e is shuffled with seed + e */
} td_distributed_options;
#define TD_DISTRIBUTED_DEFAULTS                                                                              \
    { 1, false, 1, 0, true, false, 0 }

/*
 * Steps that do not depend on the world size: the epoch's permutation (DistributedSampler's) is cut into
 * global batches, and rank r takes of each the entries whose number in the permutation is congruent to r
 * modulo the world size. Nothing is padded; shares of one batch differ by at most one and may be empty. Where
 * the world size divides the batch this is DistributedSampler's order. The cursor counts entries of the
 * permutation, the same on all ranks, so a pass goes on from any cursor with any world size and any batch
 * size.
 */
typedef struct td_global_batch_options {
    int64_t global_batch_size; /* 1; samples of all ranks together */
    bool drop_short_batch;     /* false; leave out a short last global batch */
    int world_size;            /* 1 */
    int rank;                  /* 0 */
    bool shuffle;              /* true */
    uint64_t seed;             /* 0 */
} td_global_batch_options;
#define TD_GLOBAL_BATCH_DEFAULTS                                                                             \
    { 1, false, 1, 0, true, 0 }

/* Open a sampler over `size` samples (0 is allowed: no batches). NULL options are the defaults. *Yours*.
 * TD_ERR_ARG names the option that is wrong. */
TD_API td_status td_sampler_sequential(int64_t size, const td_sequential_options *options,
                                       td_sampler **sampler);
TD_API td_status td_sampler_random(int64_t size, const td_random_options *options, td_sampler **sampler);
TD_API td_status td_sampler_distributed(int64_t size, const td_distributed_options *options,
                                        td_sampler **sampler);
TD_API td_status td_sampler_global_batch(int64_t size, const td_global_batch_options *options,
                                         td_sampler **sampler);
/* Several consecutive ranks' shares at once: each batch holds those of options->rank, the rank after it, and so
 * on, `ranks` in all, one behind the other. How many samples each has tells td_sampler_share. */
TD_API td_status td_sampler_shares(int64_t size, const td_global_batch_options *options, int ranks,
                                   td_sampler **sampler);
TD_API void td_sampler_close(td_sampler **sampler);

/* How many samples `rank` has in the global batch that moves the cursor from `begin` to `end`. */
TD_API int64_t td_sampler_share(int64_t begin, int64_t end, int world_size, int rank);

/* As DistributedSampler.set_epoch: takes effect at the next td_sampler_start. Without it every pass repeats
 * epoch 0. Sequential and random samplers ignore it. */
TD_API void td_sampler_set_epoch(td_sampler *sampler, uint64_t epoch);

/* Begin a pass at `cursor`; 0 is the beginning. An opened sampler stands at the beginning of epoch 0.
 * TD_ERR_ARG when the cursor lies beyond the end of the pass. */
TD_API td_status td_sampler_start(td_sampler *sampler, int64_t cursor);

/* Where the next batch begins: entries already given of this rank's list, or of the permutation (global
 * batches). */
TD_API int64_t td_sampler_cursor(const td_sampler *sampler);

/*
 * Give the next batch's indices. `indices` has room for td_sampler_capacity; *count becomes how many were
 * written (0 for an empty share of a global batch), or TD_SAMPLER_END, again at each further call. The first
 * batch of a pass computes its order. TD_ERR_STATE: a random sampler needs a context and there is none.
 */
TD_API td_status td_sampler_next(td_sampler *sampler, int64_t *indices, int64_t *count);

/* The most indices a batch can have. */
TD_API int64_t td_sampler_capacity(const td_sampler *sampler);
/* Indices of this rank in a whole pass, short batches included: PyTorch's len(sampler). */
TD_API int64_t td_sampler_length(const td_sampler *sampler);
/* Batches from the cursor to the end of the pass; at the beginning of a pass, PyTorch's len(loader). */
TD_API int64_t td_sampler_batches_left(const td_sampler *sampler);
/* Samples it was opened over. */
TD_API int64_t td_sampler_size(const td_sampler *sampler);

TD_END_DECLS

#endif
