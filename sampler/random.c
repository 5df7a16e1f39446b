/*
 * PyTorch's RandomSampler. Its list is a row of blocks, each drawn when the pass reaches it: permutations of
 * all samples, or, with replacement, 32 independent draws. The last block is cut, possibly to nothing; it is
 * drawn nevertheless when the pass runs dry, which a generator of the caller's shows.
 */
#include "base/context.h"
#include "base/memory.h"
#include "sampler/internal.h"

enum { DRAWS_PER_BLOCK = 32 };

typedef struct random_sampler {
    td_sampler head;
    bool replacement;
    td_generator *lent;   /* the caller's, or NULL */
    td_generator *own;    /* used when none is lent */
    bool seeded;          /* in this pass */
    int64_t block_size;   /* entries of a whole block */
    int64_t blocks_drawn; /* in this pass; `order` holds the last of them */
    sampler_order order;
} random_sampler;

static void start_random(td_sampler *sampler) {
    random_sampler *random = (random_sampler *)sampler;
    random->seeded = false;
    random->blocks_drawn = 0;
}

static td_status prepare_random(td_sampler *sampler) {
    random_sampler *random = (random_sampler *)sampler;
    if (random->seeded) return TD_OK;
    if (!random->lent) {
        td_context *context = td_context_current();
        if (!context)
            return td_fail(
                TD_ERR_STATE, 0, "sampler",
                "random sampler: this thread has no context to draw a seed from; open one or give a "
                "generator");
        td_generator_seed(random->own, (uint64_t)td_generator_random_i64(td_context_generator(context)));
    }
    random->seeded = true;
    return TD_OK;
}

static void draw_replacements(random_sampler *random, td_generator *generator) {
    int64_t left = random->head.length - random->blocks_drawn * DRAWS_PER_BLOCK;
    int64_t draws[DRAWS_PER_BLOCK], count = left < DRAWS_PER_BLOCK ? left : DRAWS_PER_BLOCK;
    td_generator_randint(generator, draws, (size_t)count, 0, random->head.size);
    for (int64_t i = 0; i < count; i++) sampler_order_put(&random->order, i, draws[i]);
}

static void draw_block(random_sampler *random) {
    td_generator *generator = random->lent ? random->lent : random->own;
    if (random->replacement)
        draw_replacements(random, generator);
    else
        sampler_order_shuffle(&random->order, generator, random->head.size);
    random->blocks_drawn++;
}

static int64_t give_random(td_sampler *sampler, int64_t begin, int64_t end, int64_t *indices) {
    random_sampler *random = (random_sampler *)sampler;
    for (int64_t i = begin; i < end; i++) {
        while (random->blocks_drawn <= i / random->block_size) draw_block(random);
        indices[i - begin] = sampler_order_at(&random->order, i % random->block_size);
    }
    return end - begin;
}

static td_status finish_random(td_sampler *sampler) {
    random_sampler *random = (random_sampler *)sampler;
    if (sampler->length == 0) return TD_OK;
    TD_TRY(prepare_random(sampler));
    int64_t last = sampler->length / random->block_size;
    if (random->replacement && sampler->length % random->block_size == 0) last--;
    while (random->blocks_drawn <= last) draw_block(random);
    return TD_OK;
}

static void release_random(td_sampler *sampler) {
    random_sampler *random = (random_sampler *)sampler;
    sampler_order_close(&random->order);
    td_generator_close(&random->own);
}

static const sampler_kind random_kind = {
    .start = start_random,
    .prepare = prepare_random,
    .give = give_random,
    .finish = finish_random,
    .release = release_random,
};

static td_status allocate_random(random_sampler *random) {
    TD_TRY(sampler_order_open(&random->order, random->block_size, random->head.size));
    return random->lent ? TD_OK : td_generator_open(&random->own);
}

td_status td_sampler_random(int64_t size, const td_random_options *options, td_sampler **sampler) {
    static const td_random_options defaults = TD_RANDOM_DEFAULTS;
    if (!options) options = &defaults;
    int64_t length = options->num_samples ? options->num_samples : size;
    if (length < 0 || length > SAMPLER_SIZE_LIMIT || (length > 0 && size == 0))
        return td_fail(TD_ERR_ARG, 0, "sampler",
                       "random sampler: num_samples %lld of a data set of %lld, expected 0 (all) to 2^53",
                       (long long)length, (long long)size);
    td_sampler *made = NULL;
    TD_TRY(sampler_create(&random_kind, sizeof(random_sampler), "random", size, options->batch_size,
                          options->drop_short_batch, &made));
    random_sampler *random = (random_sampler *)made;
    random->replacement = options->replacement;
    random->lent = options->generator;
    random->block_size = options->replacement ? DRAWS_PER_BLOCK : size > 0 ? size : 1;
    made->length = made->end = length;
    made->capacity = made->step < length ? made->step : length;
    td_status status = allocate_random(random);
    if (status < 0)
        td_sampler_close(&made);
    else
        *sampler = made;
    return status;
}
