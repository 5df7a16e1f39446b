/*
 * Gradients sent as f16 or bf16. What goes out is q = round(g * scale + e), where e is what earlier roundings
 * took (Seide et al. 2014, error feedback), and e becomes the rest; dist adds the halves up in f32 and rounds
 * the sum once more. Gaps between gradients are sent along: they hold zeros or old numbers and are read by
 * nobody.
 */
#include "base/memory.h"
#include "dist/arena.h"
#include "model/parallel/hooks.h"
#include "model/parallel/internal.h"
#include "model/tensor/half.h"

static const td_device cpu = {TD_DEVICE_CPU, 0};

/* What it keeps for a bucket. */
typedef struct td_half_bucket {
    size_t count;
    void *halves; /* in the arena */
    float *errors;
} td_half_bucket;

typedef struct td_compression {
    td_dtype dtype;
    bool feedback;
    td_half_bucket *buckets;
    size_t bucket_count;
} td_compression;

static void drop_bucket(td_half_bucket *half, td_group *group) {
    td_arena_free(td_group_arena(group), &half->halves);
    td_free(half->errors);
    *half = (td_half_bucket){0};
}

/* Room for a bucket of this number and size; buckets are cut anew after the first step. */
static td_status prepare(td_compression *c, td_group *group, const td_grad_bucket *bucket,
                         td_half_bucket **half) {
    if (bucket->index >= c->bucket_count) {
        td_half_bucket *grown = td_realloc(c->buckets, bucket->buckets, sizeof *grown);
        if (!grown) return TD_ERR_MEMORY;
        c->buckets = grown;
        while (c->bucket_count < bucket->buckets) grown[c->bucket_count++] = (td_half_bucket){0};
    }
    *half = &c->buckets[bucket->index];
    if ((*half)->count == bucket->count) return TD_OK;
    drop_bucket(*half, group);
    if (c->feedback && !((*half)->errors = td_calloc(bucket->count, sizeof(float)))) return TD_ERR_MEMORY;
    TD_TRY(td_arena_alloc(td_group_arena(group), bucket->count * sizeof(uint16_t), &(*half)->halves));
    (*half)->count = bucket->count;
    return TD_OK;
}

static void narrow(td_dtype dtype, const float *x, float scale, float *errors, uint16_t *halves,
                   size_t count) {
    bool brain = dtype == TD_DTYPE_BF16;
    for (size_t i = 0; i < count; i++) {
        float value = x[i] * scale + (errors ? errors[i] : 0);
        halves[i] = brain ? td_f32_to_bf16(value) : td_f32_to_f16(value);
        if (!errors) continue;
        float rest = value - (brain ? td_bf16_to_f32(halves[i]) : td_f16_to_f32(halves[i]));
        errors[i] = rest - rest == 0 ? rest : 0; /* nothing is carried on from an overflow */
    }
}

static void widen(td_dtype dtype, const uint16_t *halves, float scale, float *x, size_t count) {
    bool brain = dtype == TD_DTYPE_BF16;
    for (size_t i = 0; i < count; i++)
        x[i] = (brain ? td_bf16_to_f32(halves[i]) : td_f16_to_f32(halves[i])) / scale;
}

static td_status post(void *cookie, td_group *group, const td_grad_bucket *bucket, td_work **work) {
    td_compression *c = cookie;
    td_half_bucket *half;
    if (bucket->dtype != TD_DTYPE_F32) return td_ddp_allreduce_hook.post(NULL, group, bucket, work);
    TD_TRY(prepare(c, group, bucket, &half));
    narrow(c->dtype, bucket->data, (float)bucket->scale, half->errors, half->halves, bucket->count);
    return td_group_all_reduce(group, half->halves, bucket->count, c->dtype, TD_REDUCE_SUM, cpu, NULL, work);
}

static td_status finish(void *cookie, td_group *group, const td_grad_bucket *bucket) {
    (void)group;
    const td_compression *c = cookie;
    if (bucket->dtype == TD_DTYPE_F32)
        widen(c->dtype, c->buckets[bucket->index].halves, (float)bucket->scale, bucket->data, bucket->count);
    return TD_OK;
}

static void close_compression(void *cookie, td_group *group) {
    td_compression *c = cookie;
    for (size_t b = 0; b < c->bucket_count; b++) drop_bucket(&c->buckets[b], group);
    td_free(c->buckets);
    td_free(c);
}

td_status td_ddp_compress(td_ddp *ddp, td_dtype dtype, bool error_feedback) {
    if (dtype != TD_DTYPE_F16 && dtype != TD_DTYPE_BF16)
        return td_fail(TD_ERR_ARG, 0, "model/parallel", "ddp: compression to %s; f16 and bf16 are had",
                       td_dtype_name(dtype));
    td_compression *c = td_calloc(1, sizeof *c);
    if (!c) return TD_ERR_MEMORY;
    *c = (td_compression){.dtype = dtype, .feedback = error_feedback};
    td_status status =
        td_ddp_set_hook(ddp, &(td_ddp_hook){"compression", post, finish, close_compression, c});
    if (status < 0) td_free(c);
    return status;
}
