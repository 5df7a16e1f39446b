/*
 * Steps that the ranks make together, from the inside: the shared update and ZeRO-1 (docs/sync.md). Both cut
 * every bucket into a slice for each rank, at multiples of 256 elements, lay parameters out as buckets lay out
 * gradients, and let a rank update its slice alone. They differ in where things lie:
 *
 *                 parameters               optimizer state          before the update        after it
 *     shared      one copy in the arena    one copy in the arena    (reduced on the way)     a barrier
 *     zero1       each rank's, flat        own slices, private      reduce-scatter           all-gather
 *
 * A step first settles that all state is where it belongs, then meets: one small all-reduce of a header tells
 * every rank what the others' gradients weigh and which exist, and that all ranks are done with reading
 * parameters. Between the meeting and the end of the step nothing can fail but another rank.
 * Internal to model/parallel.
 */
#ifndef TANDEM_MODEL_PARALLEL_UPDATE_H
#define TANDEM_MODEL_PARALLEL_UPDATE_H

#include "model/optim/internal.h"
#include "model/parallel/internal.h"

enum {
    UPDATE_CUT = 256,          /* elements: slices begin at multiples of it */
    UPDATE_PIECE = 1024,       /* elements at a time, which stay in the first-level cache */
    TD_UPDATE_RANKS_MAX = 256, /* of a shared update */
};

typedef struct td_update_bucket {
    td_dtype dtype;
    size_t elements;               /* of data: a multiple of UPDATE_CUT */
    void *params;                  /* the block where its parameters lie */
    td_storage *host;              /* over that block */
    size_t *counts;                /* elements of each rank's slice */
    size_t begin, end;             /* this rank's slice */
    const void **grads;            /* shared: each rank's bucket */
    void *states[OPTIM_MAX_SLOTS]; /* blocks of the slots: whole ones in the arena, or own slices */
    td_storage *state_hosts[OPTIM_MAX_SLOTS]; /* shared: over them */
} td_update_bucket;

/* What belongs to a slot of the ddp. */
typedef struct td_update_item {
    bool owned;          /* the optimizer has its parameter: */
    size_t group, index; /* there */
    bool started;        /* zero1: its state has been written */
    double step;         /* in this step: its number */
    size_t norms_at;     /* where its blocks' sums of squares begin */
} td_update_item;

/* Some elements of one slot, all in this rank's slice. */
typedef struct td_update_piece {
    size_t slot, begin, end;
} td_update_piece;

struct td_ddp_update {
    td_ddp *ddp;
    td_optimizer *optimizer; /* lent; NULL until attached */
    uint64_t loads;          /* the optimizer's, when its state was settled last */
    size_t param_count;      /* the optimizer's, when items were filled in */
    td_update_bucket *buckets;
    td_update_item *items;
    td_update_piece *pieces;
    size_t piece_count;
    double *header;
    size_t header_count;
    double *norms; /* NULL until a step clips: sums of squares of blocks, of all slots */
    size_t norm_count;

    /* This step. */
    bool met;          /* the header is known; what it says is in the ddp and its slots */
    double correction; /* of that mean: to one over the ranks that had data */
    double divisor;    /* of the sum over ranks */
    double scale;      /* the clipped gradient over the mean */
    bool reduced;      /* own slices hold the mean */
    bool to_norms;     /* pieces are to be reduced, not updated */
};

/* update.c: what both share. */
td_status update_open(td_ddp *ddp);
void update_close(td_ddp *ddp);
/* The block of a slot's parameter, in bytes from the bucket's start. */
static inline size_t update_offset(const td_ddp_slot *slot, size_t element) {
    return (slot->offset + element) * td_dtype_size(td_tensor_dtype(slot->param));
}
td_optim_param *update_param(const td_ddp_update *update, const td_update_item *item);
/* Memory for the sums of squares, which clipping needs. */
td_status update_make_norms(td_ddp_update *update);
/* The header's all-reduce: waits for all ranks. */
td_status update_meet(td_ddp_update *update);
/* Reduce, clip if the optimizer says so, and update all pieces. */
td_status update_run(td_ddp_update *update);
/* Parameters were written, gradients are used up. */
void update_end(td_ddp_update *update);

/* update_state.c: where optimizer state lies. */
td_status update_settle(td_ddp_update *update);
void update_drop_states(td_ddp_update *update);
/* The range of a slot's state `k` that this piece has. */
void *update_state_at(const td_ddp_update *update, const td_update_piece *piece, int k);

/* update_home.c: parameters move into the buckets' layout, and out again. */
td_status update_move_in(td_ddp_update *update);
void update_move_out(td_ddp_update *update);

/* shared_update.c and zero.c: the whole step. */
td_status update_shared_step(void *cookie);
td_status update_zero_step(void *cookie);
/* zero.c: the call that reduces a bucket; the end of a backward pass. */
void update_scatter_call(const td_ddp *ddp, const td_ddp_bucket *bucket, td_call *call);
td_status update_zero_reduce(td_ddp *ddp);

#endif
