/*
 * Data-parallel training from the inside. Parameters that require grad have a slot each, in reverse order of
 * registration (about the order in which backward reaches them); consecutive slots share a bucket.
 *
 * A bucket is one block of the arena, one dtype, reduced by one all-reduce:
 *
 *     slot 0 | pad | slot 1 | pad | ... | samples | filled 0 | filled 1 | ... | pad
 *
 * Slots begin at multiples of 64 bytes. `samples` is what this rank's gradients weigh, `filled` is 1 where
 * the rank has a gradient; their sums tell every rank the job's number of samples, and which slots are empty
 * everywhere. The whole is a multiple of 256 elements.
 *
 * One pass: backward fills slots (on_gradient); a bucket whose slots are all ready is posted, in order of
 * number; at the end of the pass (on_pass_end) the others are posted, and all are waited for and divided.
 * Internal to model/parallel.
 */
#ifndef TANDEM_MODEL_PARALLEL_INTERNAL_H
#define TANDEM_MODEL_PARALLEL_INTERNAL_H

#include "dist/group.h"
#include "model/autograd/leaf.h"
#include "model/autograd/pass_hook.h"
#include "model/nn/module.h"
#include "model/parallel/ddp.h"

typedef struct td_ddp_slot {
    td_ddp *ddp;
    td_tensor *param; /* lent by the module */
    td_tensor *home;  /* kept: where the gradient lies; NULL in a group of one */
    size_t bucket;
    size_t offset, count; /* elements */
    bool ready;           /* this pass has brought its gradient */
} td_ddp_slot;

typedef struct td_ddp_bucket {
    td_dtype dtype;
    void *data;        /* in the arena */
    size_t first, end; /* its slots */
    size_t samples_at; /* elements before the trailing numbers */
    size_t elements;   /* all */
    size_t waiting;    /* slots that this pass has not brought yet */
    td_work *work;     /* posted in this pass */
    char label[32];    /* for the flight recorder: "ddp bucket 3" */
} td_ddp_bucket;

struct td_ddp {
    td_context *context;
    td_group *group;
    td_module *module;
    td_ddp_slot *slots;
    size_t slot_count;
    td_ddp_bucket *buckets; /* none in a group of one */
    size_t bucket_count;
    size_t posted; /* buckets of this pass */
    bool hooked;   /* on_pass_end is installed */
    bool no_sync;

    /* The pass that is coming or running. */
    bool begun;   /* td_ddp_begin was called for it */
    bool reached; /* it has brought a gradient */

    /* What lies in local gradients: scale * gradient is the sum over samples, or over passes without weight.
     */
    int64_t scale;   /* samples of the last weighted pass; 0: none */
    int64_t samples; /* of all weighted passes since the last reduction */
    bool unweighted; /* there was a pass without weight */
};

/* ddp_sync.c: fail with the first difference unless every rank has the same parameters and buffers; then make
 * their values rank 0's. */
td_status ddp_compare(td_group *group, const td_state_dict *parameters, const td_state_dict *buffers);
td_status ddp_broadcast(td_group *group, const td_state_dict *tensors);

/* sync_batch_norm.c: tell the module's synchronised layers that the coming pass is over `samples` samples of this
 * rank (0: ranks weigh the same); how many there are. */
size_t ddp_tell_layers(td_module *module, int64_t samples);

/* ddp_bucket.c */
/* Let the gradient of `param` be born at `place`, laid out as the parameter; *home is the view that says so. And
 * the end of it: the gradient is dropped. */
td_status ddp_give_home(td_context *context, td_tensor *param, void *place, td_tensor **home);
void ddp_take_home(td_tensor *param, td_tensor **home);
td_status ddp_make_buckets(td_ddp *ddp, size_t bucket_bytes);
void ddp_drop_buckets(td_ddp *ddp);
/* Multiply or divide a range of f32 or f64 elements in place. */
void ddp_multiply(td_dtype dtype, void *data, size_t count, double factor);
void ddp_divide(td_dtype dtype, void *data, size_t count, double divisor);
/* Weigh what the bucket holds and post its all-reduce. `weight` 0: this rank adds nothing. `samples` -1:
 * ranks weigh the same. */
td_status ddp_post(td_ddp *ddp, td_ddp_bucket *bucket, double weight, int64_t samples);
/* Wait for it and leave the mean in its slots. */
td_status ddp_finish(td_ddp *ddp, td_ddp_bucket *bucket, bool weighted);

#endif
