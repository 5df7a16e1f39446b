/*
 * One rank's part of an epoch's permutation: the entries r, r + W, r + 2W, ... of it. DistributedSampler,
 * the cut into global batches and the sequential sampler (a world of one, not shuffled) differ only in where
 * the permutation ends, whether it is padded, and whether the cursor counts the part's entries or the
 * permutation's.
 */
#include "base/memory.h"
#include "sampler/internal.h"

typedef struct part_sampler {
    td_sampler head;
    int64_t world_size, rank;
    bool shuffle;
    bool by_permutation; /* the cursor counts entries of the permutation */
    uint64_t seed;
    uint64_t pass_epoch;
    bool ordered;        /* `order` holds the part of stream order_seed */
    uint32_t order_seed; /* the generator uses the low 32 bits only */
    sampler_order order; /* head.length entries */
} part_sampler;

static void start_part(td_sampler *sampler) {
    part_sampler *part = (part_sampler *)sampler;
    part->pass_epoch = sampler->epoch;
}

/* Move this rank's entries to the front of the whole permutation. Padding takes entries from the
 * permutation's start again; at most the part's last entry is such a one, and it is read before it can be
 * overwritten. */
static void keep_own(const part_sampler *part, sampler_order *order) {
    int64_t last = part->head.length - 1;
    if (last < 0) return;
    int64_t padded = sampler_order_at(order, (part->rank + last * part->world_size) % part->head.size);
    for (int64_t i = 0; i < last; i++)
        sampler_order_put(order, i, sampler_order_at(order, part->rank + i * part->world_size));
    sampler_order_put(order, last, padded);
    sampler_order_shrink(order, part->head.length);
}

static td_status prepare_part(td_sampler *sampler) {
    part_sampler *part = (part_sampler *)sampler;
    uint32_t seed = (uint32_t)(part->seed + part->pass_epoch);
    if (!part->shuffle || (part->ordered && part->order_seed == seed)) return TD_OK;
    part->ordered = false;
    sampler_order_close(&part->order);
    TD_TRY(sampler_order_open(&part->order, sampler->size, sampler->size));
    td_generator *generator = NULL;
    td_status status = td_generator_open(&generator);
    if (status < 0) return status;
    td_generator_seed(generator, seed);
    sampler_order_shuffle(&part->order, generator, sampler->size);
    td_generator_close(&generator);
    keep_own(part, &part->order);
    part->ordered = true;
    part->order_seed = seed;
    return TD_OK;
}

static int64_t give_part(td_sampler *sampler, int64_t begin, int64_t end, int64_t *indices) {
    part_sampler *part = (part_sampler *)sampler;
    if (part->by_permutation) {
        begin = sampler_count_own(begin, part->world_size, part->rank);
        end = sampler_count_own(end, part->world_size, part->rank);
    }
    for (int64_t i = begin; i < end; i++)
        indices[i - begin] = part->shuffle ? sampler_order_at(&part->order, i)
                                           : (part->rank + i * part->world_size) % sampler->size;
    return end - begin;
}

static void release_part(td_sampler *sampler) { sampler_order_close(&((part_sampler *)sampler)->order); }

static const sampler_kind part_kind = {
    .start = start_part,
    .prepare = prepare_part,
    .give = give_part,
    .release = release_part,
};

static td_status check_world(const char *name, int world_size, int rank) {
    if (world_size < 1)
        return td_fail(TD_ERR_ARG, 0, "sampler", "%s sampler: world size %d, expected at least 1", name,
                       world_size);
    if (rank < 0 || rank >= world_size)
        return td_fail(TD_ERR_ARG, 0, "sampler", "%s sampler: rank %d, but a world of %d has ranks 0 to %d",
                       name, rank, world_size, world_size - 1);
    return TD_OK;
}

td_status td_sampler_sequential(int64_t size, const td_sequential_options *options, td_sampler **sampler) {
    static const td_sequential_options defaults = TD_SEQUENTIAL_DEFAULTS;
    if (!options) options = &defaults;
    td_sampler *made = NULL;
    TD_TRY(sampler_create(&part_kind, sizeof(part_sampler), "sequential", size, options->batch_size,
                          options->drop_short_batch, &made));
    ((part_sampler *)made)->world_size = 1;
    made->length = made->end = size;
    made->capacity = made->step < size ? made->step : size;
    *sampler = made;
    return TD_OK;
}

/* What DistributedSampler calls num_samples. */
static int64_t equal_share(int64_t size, int64_t world_size, bool drop_last) {
    return size / world_size + (!drop_last && size % world_size != 0);
}

td_status td_sampler_distributed(int64_t size, const td_distributed_options *options, td_sampler **sampler) {
    static const td_distributed_options defaults = TD_DISTRIBUTED_DEFAULTS;
    if (!options) options = &defaults;
    TD_TRY(check_world("distributed", options->world_size, options->rank));
    td_sampler *made = NULL;
    TD_TRY(sampler_create(&part_kind, sizeof(part_sampler), "distributed", size, options->batch_size,
                          options->drop_short_batch, &made));
    part_sampler *part = (part_sampler *)made;
    part->world_size = options->world_size;
    part->rank = options->rank;
    part->shuffle = options->shuffle;
    part->seed = options->seed;
    made->length = made->end = equal_share(size, part->world_size, options->drop_last);
    made->capacity = made->step < made->length ? made->step : made->length;
    *sampler = made;
    return TD_OK;
}

td_status td_sampler_global_batch(int64_t size, const td_global_batch_options *options,
                                  td_sampler **sampler) {
    static const td_global_batch_options defaults = TD_GLOBAL_BATCH_DEFAULTS;
    if (!options) options = &defaults;
    TD_TRY(check_world("global-batch", options->world_size, options->rank));
    td_sampler *made = NULL;
    TD_TRY(sampler_create(&part_kind, sizeof(part_sampler), "global-batch", size, options->global_batch_size,
                          options->drop_short_batch, &made));
    part_sampler *part = (part_sampler *)made;
    part->world_size = options->world_size;
    part->rank = options->rank;
    part->shuffle = options->shuffle;
    part->seed = options->seed;
    part->by_permutation = true;
    made->end = size;
    made->length = sampler_count_own(size, part->world_size, part->rank);
    int64_t share = (made->step - 1) / part->world_size + 1;
    made->capacity = share < made->length ? share : made->length;
    *sampler = made;
    return TD_OK;
}
