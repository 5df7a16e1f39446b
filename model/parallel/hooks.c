/* Setting a hook, and the plain one. */
#include "model/parallel/hooks.h"

#include "model/parallel/internal.h"

static const td_device cpu = {TD_DEVICE_CPU, 0};

td_status td_ddp_set_hook(td_ddp *ddp, const td_ddp_hook *hook) {
    if (ddp->hook.post)
        return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: it has the hook '%s' already",
                       ddp->hook.name);
    if (ddp->options.sync != TD_SYNC_REPLICATED)
        return td_fail(TD_ERR_UNSUPPORTED, 0, "model/parallel",
                       "ddp: hooks reduce whole buckets on every rank; %s reduces slices",
                       td_sync_name(ddp->options.sync));
    if (ddp->posted)
        return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: a hook set in the middle of a step");
    ddp->hook = *hook;
    return TD_OK;
}

static td_status post_plainly(void *cookie, td_group *group, const td_grad_bucket *bucket, td_work **work) {
    (void)cookie;
    return td_group_all_reduce(group, bucket->data, bucket->count, bucket->dtype, TD_REDUCE_SUM, cpu, NULL,
                               work);
}

const td_ddp_hook td_ddp_allreduce_hook = {.name = "allreduce", .post = post_plainly};

/* Bucket number b as a hook sees it. */
static td_grad_bucket describe(const td_ddp *ddp, const td_ddp_bucket *bucket, double scale) {
    return (td_grad_bucket){.index = (size_t)(bucket - ddp->buckets),
                            .buckets = ddp->bucket_count,
                            .dtype = bucket->dtype,
                            .count = bucket->samples_at,
                            .data = bucket->data,
                            .scale = scale};
}

double ddp_hook_scale(const td_ddp *ddp, bool weighted) {
    if (!ddp->hook.post) return 0;
    if (!weighted) return 1.0 / td_group_size(ddp->group);
    return ddp->last_samples > 0 ? 1.0 / ddp->last_samples : 0;
}

td_status ddp_hook_post(td_ddp *ddp, td_ddp_bucket *bucket) {
    td_grad_bucket view = describe(ddp, bucket, bucket->hook_scale);
    size_t size = td_dtype_size(bucket->dtype), numbers = bucket->elements - bucket->samples_at;
    char *at = (char *)bucket->data + bucket->samples_at * size;
    TD_TRY(td_group_all_reduce(ddp->group, at, numbers, bucket->dtype, TD_REDUCE_SUM, cpu, NULL,
                               &bucket->numbers_work));
    return ddp->hook.post(ddp->hook.cookie, ddp->group, &view, &bucket->work);
}

td_status ddp_hook_finish(td_ddp *ddp, td_ddp_bucket *bucket) {
    td_status status = td_work_wait(bucket->numbers_work);
    td_work_release(&bucket->numbers_work);
    if (status < 0 || !ddp->hook.finish) return status;
    td_grad_bucket view = describe(ddp, bucket, bucket->hook_scale);
    return ddp->hook.finish(ddp->hook.cookie, ddp->group, &view);
}

void ddp_hook_close(td_ddp *ddp) {
    if (ddp->hook.close) ddp->hook.close(ddp->hook.cookie, ddp->group);
}
