/* Shares of several ranks in one batch: a sampler for each, asked in turn for the same global batch. */
#include "base/memory.h"
#include "sampler/internal.h"

typedef struct shares_sampler {
    td_sampler head;
    int ranks;
    td_sampler **of; /* one for each rank */
} shares_sampler;

static void start_shares(td_sampler *sampler) {
    shares_sampler *shares = (shares_sampler *)sampler;
    for (int r = 0; r < shares->ranks; r++) {
        shares->of[r]->epoch = sampler->epoch;
        shares->of[r]->kind->start(shares->of[r]);
    }
}

static td_status prepare_shares(td_sampler *sampler) {
    shares_sampler *shares = (shares_sampler *)sampler;
    for (int r = 0; r < shares->ranks; r++) TD_TRY(shares->of[r]->kind->prepare(shares->of[r]));
    return TD_OK;
}

static int64_t give_shares(td_sampler *sampler, int64_t begin, int64_t end, int64_t *indices) {
    shares_sampler *shares = (shares_sampler *)sampler;
    int64_t given = 0;
    for (int r = 0; r < shares->ranks; r++)
        given += shares->of[r]->kind->give(shares->of[r], begin, end, indices + given);
    return given;
}

static void release_shares(td_sampler *sampler) {
    shares_sampler *shares = (shares_sampler *)sampler;
    for (int r = 0; shares->of && r < shares->ranks; r++) td_sampler_close(&shares->of[r]);
    td_free(shares->of);
}

static const sampler_kind shares_kind = {
    .start = start_shares,
    .prepare = prepare_shares,
    .give = give_shares,
    .release = release_shares,
};

static td_status open_each(shares_sampler *shares, int64_t size, td_global_batch_options options) {
    shares->of = td_calloc((size_t)shares->ranks, sizeof(td_sampler *));
    if (!shares->of) return TD_ERR_MEMORY;
    for (int r = 0; r < shares->ranks; r++, options.rank++) {
        TD_TRY(td_sampler_global_batch(size, &options, &shares->of[r]));
        shares->head.length += shares->of[r]->length;
        shares->head.capacity += shares->of[r]->capacity;
    }
    return TD_OK;
}

td_status td_sampler_shares(int64_t size, const td_global_batch_options *options, int ranks,
                            td_sampler **sampler) {
    static const td_global_batch_options defaults = TD_GLOBAL_BATCH_DEFAULTS;
    if (!options) options = &defaults;
    if (ranks < 1 || options->rank < 0 || options->rank > options->world_size - ranks)
        return td_fail(TD_ERR_ARG, 0, "sampler",
                       "shares sampler: %d ranks from rank %d, but a world of %d has ranks 0 to %d", ranks,
                       options->rank, options->world_size, options->world_size - 1);
    td_sampler *made = NULL;
    TD_TRY(sampler_create(&shares_kind, sizeof(shares_sampler), "shares", size, options->global_batch_size,
                          options->drop_short_batch, &made));
    ((shares_sampler *)made)->ranks = ranks;
    made->end = size;
    td_status status = open_each((shares_sampler *)made, size, *options);
    if (status < 0) {
        td_sampler_close(&made);
        return status;
    }
    *sampler = made;
    return TD_OK;
}

int64_t td_sampler_share(int64_t begin, int64_t end, int world_size, int rank) {
    return sampler_count_own(end, world_size, rank) - sampler_count_own(begin, world_size, rank);
}
