/* What the files of sampler/ share: the kinds of samplers as a table, and pieces that tests reach into. */
#ifndef TANDEM_SAMPLER_INTERNAL_H
#define TANDEM_SAMPLER_INTERNAL_H

#include "sampler/sampler.h"

/* The largest data set: every count stays exact in a double and no sum of two overflows. */
#define SAMPLER_SIZE_LIMIT (INT64_C(1) << 53)

/* What differs between kinds. */
typedef struct sampler_kind {
    /* A pass begins: take over the epoch, forget what the last pass drew. */
    void (*start)(td_sampler *sampler);
    /* Compute the order of the pass if that is not done yet. Called before every batch. */
    td_status (*prepare)(td_sampler *sampler);
    /* Write the indices of [begin, end), which are cursors of the pass; returns how many. */
    int64_t (*give)(td_sampler *sampler, int64_t begin, int64_t end, int64_t *indices);
    /* Draw what PyTorch's iterator draws when it runs dry; NULL where that is nothing. */
    td_status (*finish)(td_sampler *sampler);
    /* Release what the kind owns, not the struct itself. */
    void (*release)(td_sampler *sampler);
} sampler_kind;

/* The head of every kind's struct. */
struct td_sampler {
    const sampler_kind *kind;
    const char *name;      /* "distributed", for messages */
    int64_t size;          /* samples in the data set */
    int64_t end;           /* the cursor at the end of a pass */
    int64_t step;          /* how far a batch moves the cursor */
    int64_t capacity;      /* the most indices in a batch */
    int64_t length;        /* indices of this rank in a pass */
    bool drop_short_batch; /* the pass ends before a batch shorter than step */
    bool finished;         /* kind->finish has been done in this pass */
    uint64_t epoch;        /* of the next pass */
    int64_t cursor;
};

/* Check what all kinds share and allocate `bytes` for the kind's struct, head filled in but for end, capacity
 * and length. Names are static. */
td_status sampler_create(const sampler_kind *kind, size_t bytes, const char *name, int64_t size,
                         int64_t batch_size, bool drop_short_batch, td_sampler **sampler);

/* td_sampler_next in two halves, for a loader that reads ahead: give a batch without drawing what follows the
 * end; and draw that, when a batch shorter than the step, or the end, is really reached. */
td_status sampler_give(td_sampler *sampler, int64_t *indices, int64_t *count);
td_status sampler_finish(td_sampler *sampler, int64_t count);

/* How many of the permutation's first `entries` belong to a rank, which has each world_size-th. */
static inline int64_t sampler_count_own(int64_t entries, int64_t world_size, int64_t rank) {
    return entries <= rank ? 0 : (entries - rank - 1) / world_size + 1;
}

/* An order: 4 bytes an entry where the data set allows it. */
typedef struct sampler_order {
    int32_t *narrow; /* one of the two, or neither */
    int64_t *wide;
} sampler_order;

static inline int64_t sampler_order_at(const sampler_order *order, int64_t place) {
    return order->narrow ? order->narrow[place] : order->wide[place];
}
static inline void sampler_order_put(sampler_order *order, int64_t place, int64_t index) {
    if (order->narrow)
        order->narrow[place] = (int32_t)index;
    else
        order->wide[place] = index;
}
/* Room for `count` entries below `size`. */
td_status sampler_order_open(sampler_order *order, int64_t count, int64_t size);
void sampler_order_shuffle(sampler_order *order, td_generator *generator, int64_t count);
/* Keep the first `count` entries and give the rest of the memory back. */
void sampler_order_shrink(sampler_order *order, int64_t count);
void sampler_order_close(sampler_order *order);

/* The permutation for huge sizes, at any size (permutation.c). */
void sampler_shuffle_wide_i32(td_generator *generator, int32_t *out, int64_t count);
void sampler_shuffle_wide_i64(td_generator *generator, int64_t *out, int64_t count);

#endif
