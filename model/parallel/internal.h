/*
 * Data-parallel training from the inside. Parameters that require grad have a slot each, in reverse order of
 * registration (about the order in which backward reaches them); consecutive slots share a bucket.
 *
 * A bucket is one block of the arena, one dtype, reduced by one all-reduce:
 *
 *     slot 0 | pad | slot 1 | pad | ... | samples | filled 0 | filled 1 | ... | active 0 | active 1 | ... | pad
 *
 * Slots begin at multiples of 64 bytes. `samples` is what this rank's gradients weigh, `filled` is 1 where
 * the rank has a gradient; their sums tell every rank the job's number of samples, and which slots are empty
 * everywhere. In the first bucket, `active` is 1 at the number of each rank that had data. The whole is a
 * multiple of 256 elements.
 *
 * One pass: backward fills slots (on_gradient); a bucket whose slots are all ready is posted, in order of
 * number; at the end of the pass (on_pass_end) the others are posted, and all are waited for and divided. After
 * the first one slots are put in the order in which backward reached them (rebuild.c).
 * Internal to model/parallel.
 */
#ifndef TANDEM_MODEL_PARALLEL_INTERNAL_H
#define TANDEM_MODEL_PARALLEL_INTERNAL_H

#include "dist/group.h"
#include "model/autograd/leaf.h"
#include "model/autograd/pass_hook.h"
#include "model/nn/module.h"
#include "model/parallel/ddp.h"
#include "model/parallel/hooks.h"

typedef struct td_ddp_update td_ddp_update; /* model/parallel/update.h */

typedef struct td_ddp_slot {
    td_ddp *ddp;
    td_tensor *param; /* lent by the module */
    const char *name; /* lent by the ddp's `parameters` */
    td_tensor *home;  /* kept: where the gradient lies; NULL in a group of one */
    size_t bucket;
    size_t offset, count; /* elements */
    bool ready;           /* this pass has brought its gradient */
    bool skipped;         /* static_graph: the first step did not use it */
    size_t arrival;       /* its place in the order of the first step, from 1; 0: it did not come */
    int filled;           /* ranks that had a gradient for it in the last step */
} td_ddp_slot;

typedef struct td_ddp_bucket {
    td_dtype dtype;
    void *data;            /* in the arena */
    size_t first, end;     /* its slots */
    size_t samples_at;     /* elements before the trailing numbers */
    size_t elements;       /* all */
    size_t active_at;      /* of the first bucket: where `active` begins; else 0 */
    size_t waiting;        /* slots that this pass has not brought yet */
    td_work *work;         /* posted in this pass */
    double hook_scale;     /* the hook has posted it, td_grad_bucket's scale; 0: no hook */
    td_work *numbers_work; /* then: of the trailing numbers */
    char label[32];        /* for the flight recorder: "ddp bucket 3" */
} td_ddp_bucket;

struct td_ddp {
    td_context *context;
    td_group *group;
    td_module *module;
    td_ddp_options options; /* without pointers */
    double *bucket_caps;    /* bytes, options.bucket_cap_mb_count of them; NULL: options.bucket_cap_mb */
    td_state_dict parameters, buffers;
    td_ddp_slot *slots;
    size_t slot_count;
    td_ddp_bucket *buckets; /* none in a group of one */
    size_t bucket_count;
    size_t posted; /* buckets of this pass */
    bool hooked;   /* on_pass_end is installed */
    bool no_sync;
    td_ddp_update *update; /* of shared and zero1, in a group of several; else NULL */

    /* The pass that is coming or running. */
    bool begun;   /* td_ddp_begin was called for it */
    bool reached; /* it has brought a gradient */

    /* What lies in local gradients: scale * gradient is the sum over samples, or over passes without weight.
     */
    int64_t scale;   /* samples of the last weighted pass; 0: none */
    int64_t samples; /* of all weighted passes since the last reduction */
    bool unweighted; /* there was a pass without weight */
    bool announced;  /* there was a td_ddp_begin */
    bool absent;     /* this rank takes part without data, td_ddp_join */

    /* Of the last reduction. */
    int active;       /* ranks that had data */
    int first_active; /* the first of them; rank 0 before any step */
    bool weighed;     /* it was weighted */
    bool stepped;     /* there has been one with data */
    size_t arrivals;  /* gradients that have come in the first step */

    td_ddp_hook hook;    /* none if its post is NULL */
    double last_samples; /* of all ranks in the last weighted reduction; 0 before it */

    bool buffers_due; /* rank 0's are to be sent before the next forward */
    void *packed;     /* room for all buffers; NULL until needed */
};

/* ddp_sync.c: fail with the first difference unless every rank has the same parameters and buffers; then make
 * their values rank 0's. */
td_status ddp_compare(td_group *group, const td_state_dict *parameters, const td_state_dict *buffers);
td_status ddp_broadcast(td_group *group, const td_state_dict *tensors);

/* unused.c: after a reduction, TD_ERR_STATE with the names of trained parameters that some rank's pass should
 * have reached and did not; the first time, note what static_graph needs. */
td_status ddp_check_use(td_ddp *ddp);
td_status ddp_refuse_skipped(const td_ddp_slot *slot);

/* rebuild.c: once, after the first step: slots and buckets in the order in which gradients came. */
td_status ddp_rebuild(td_ddp *ddp);

/* hooks.c: the scale for a hook, 0 when the bucket is to be reduced plainly; what a hook does of ddp_post and
 * ddp_finish. */
double ddp_hook_scale(const td_ddp *ddp, bool weighted);
td_status ddp_hook_post(td_ddp *ddp, td_ddp_bucket *bucket);
td_status ddp_hook_finish(td_ddp *ddp, td_ddp_bucket *bucket);
void ddp_hook_close(td_ddp *ddp);

/* buffers.c: send the buffers if they are due. */
td_status ddp_forward_buffers(td_ddp *ddp);

/* ddp.c: reduce whatever is not posted yet. on_gradient is what slots' parameters call. */
td_status ddp_reduce(td_ddp *ddp);
/* Judge what the ranks have told each other with the gradients. */
td_status ddp_look_at_step(td_ddp *ddp);
/* Forget what local gradients weigh: they are used up. */
void ddp_forget_weights(td_ddp *ddp);
/* What this rank's gradients are multiplied by. */
double ddp_weight(const td_ddp *ddp);
td_status ddp_on_gradient(td_tensor *leaf, void *cookie);

/* sync_batch_norm.c: tell the module's synchronised layers that the coming pass is over `samples` samples of this
 * rank (0: ranks weigh the same); how many there are. */
size_t ddp_tell_layers(td_module *module, int64_t samples);

/* ddp_bucket.c */
/* Let the gradient of `param` be born at `place`, laid out as the parameter; *home is the view that says so. And
 * the end of it: the gradient is dropped. */
td_status ddp_give_home(td_context *context, td_tensor *param, void *place, td_tensor **home);
void ddp_take_home(td_tensor *param, td_tensor **home);
td_status ddp_make_buckets(td_ddp *ddp);
void ddp_drop_buckets(td_ddp *ddp);
/* The slots' gradients move to new buckets, whose slots are ddp->slots as they are now. */
td_status ddp_remake_buckets(td_ddp *ddp);
/* How many of its slots a pass brings. */
size_t ddp_count_awaited(const td_ddp *ddp, const td_ddp_bucket *bucket);
/* Multiply or divide a range of f32 or f64 elements in place. */
void ddp_multiply(td_dtype dtype, void *data, size_t count, double factor);
void ddp_divide(td_dtype dtype, void *data, size_t count, double divisor);
/* Weigh what the bucket holds and post its all-reduce. `weight` 0: this rank adds nothing. `samples` -1:
 * ranks weigh the same. */
td_status ddp_post(td_ddp *ddp, td_ddp_bucket *bucket, double weight, int64_t samples);
/* Wait for it and leave the mean in its slots. */
td_status ddp_finish(td_ddp *ddp, td_ddp_bucket *bucket, bool weighted);

#endif
