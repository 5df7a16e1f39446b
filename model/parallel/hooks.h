/*
 * How DDP's buckets travel: communication hooks, as PyTorch's register_comm_hook. A hook takes a bucket of this
 * rank's gradients, posts what it sends, and leaves the sum over all ranks in it; weighing before and dividing
 * after stay DDP's. Ready-made: the plain all-reduce, and compression to f16 or bf16, which sends half the bytes
 * and, with error feedback, gives the next step what rounding took from this one. Central object: td_ddp_hook, a
 * plain struct of the caller, copied by td_ddp_set_hook. Only the thread that has the module's context calls.
 */
#ifndef TANDEM_MODEL_PARALLEL_HOOKS_H
#define TANDEM_MODEL_PARALLEL_HOOKS_H

#include "base/dtype.h"

TD_BEGIN_DECLS

/* What a hook is given, *lent* for the call. Buckets are the same on all ranks and come in order of index;
 * after the first step they may be others (td_ddp_open's doc), then with other counts. */
typedef struct td_grad_bucket {
    size_t index;
    size_t buckets; /* how many there are */
    td_dtype dtype; /* f32 or f64 */
    size_t count;   /* elements, gaps between gradients (which hold zeros or old numbers) included */
    void *data;     /* `count` elements in memory that the ranks share where they can */
    double scale; /* data times scale, summed over ranks, is about the job's mean: use it before narrowing */
} td_grad_bucket;

typedef struct td_ddp_hook {
    const char *name; /* for messages; static */
    /* Post what makes bucket->data the sum over all ranks; may rely on all ranks doing so in this order. *work:
     * *given* to DDP, which waits for it. */
    td_status (*post)(void *cookie, td_group *group, const td_grad_bucket *bucket, td_work **work);
    /* The work is done: put the sum in place. NULL: it is there. */
    td_status (*finish)(void *cookie, td_group *group, const td_grad_bucket *bucket);
    /* The ddp closes, on every rank. NULL: nothing to do. */
    void (*close)(void *cookie, td_group *group);
    void *cookie;
} td_ddp_hook;

/* Every rank calls it alike, between steps, once (TD_ERR_STATE); TD_ERR_UNSUPPORTED unless the ddp is replicated. Not called in a group of one, and not in the
 * first step of passes with td_ddp_begin, whose scale nobody knows yet: that is reduced plainly. */
TD_API td_status td_ddp_set_hook(td_ddp *ddp, const td_ddp_hook *hook);

/* The hook that does what DDP does without one. */
extern TD_API const td_ddp_hook td_ddp_allreduce_hook;

/* f32 buckets are sent as `dtype`, f16 or bf16 (TD_ERR_ARG), and added up in f32 on the way; f64 ones as they
 * are. With error feedback each rank keeps what rounding took (4 bytes an element) and adds it the next time. */
TD_API td_status td_ddp_compress(td_ddp *ddp, td_dtype dtype, bool error_feedback);

TD_END_DECLS

#endif
