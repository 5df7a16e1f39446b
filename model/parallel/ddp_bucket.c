/* Buckets: cutting, weighing, reducing. Everything that reads or writes their memory. */
#include "base/memory.h"
#include "dist/arena.h"
#include "model/parallel/internal.h"
#include "model/tensor/storage.h"

#include <stdio.h>
#include <string.h>

static const td_device cpu = {TD_DEVICE_CPU, 0};

#define SLOT_BYTES     64  /* slots begin at multiples of it, as tensors' data does */
#define SLICE_ELEMENTS 256 /* what ranks divide among themselves is cut at multiples of it */

static size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

static char *at_element(const td_ddp_bucket *bucket, size_t element) {
    return (char *)bucket->data + element * td_dtype_size(bucket->dtype);
}

static void set_number(td_ddp_bucket *bucket, size_t element, double value) {
    if (bucket->dtype == TD_DTYPE_F32)
        *(float *)(void *)at_element(bucket, element) = (float)value;
    else
        *(double *)(void *)at_element(bucket, element) = value;
}

static double get_number(const td_ddp_bucket *bucket, size_t element) {
    if (bucket->dtype == TD_DTYPE_F32) return *(const float *)(const void *)at_element(bucket, element);
    return *(const double *)(const void *)at_element(bucket, element);
}

/* --- cutting ---------------------------------------------------------------------------------------- */

/* Assign each slot to a bucket: a new one when the dtype changes or the last has reached its size. */
static void cut(td_ddp *ddp, size_t bucket_bytes) {
    td_ddp_bucket *bucket = NULL;
    for (size_t i = 0; i < ddp->slot_count; i++) {
        td_ddp_slot *slot = &ddp->slots[i];
        td_dtype dtype = td_tensor_dtype(slot->param);
        size_t size = td_dtype_size(dtype);
        if (!bucket || bucket->dtype != dtype || bucket->samples_at * size >= bucket_bytes) {
            bucket = &ddp->buckets[ddp->bucket_count++];
            *bucket = (td_ddp_bucket){.dtype = dtype, .first = i};
        }
        slot->bucket = ddp->bucket_count - 1;
        slot->count = (size_t)td_tensor_count(slot->param);
        slot->offset = bucket->samples_at;
        bucket->samples_at += round_up(slot->count, SLOT_BYTES / size);
        bucket->end = i + 1;
    }
    for (size_t b = 0; b < ddp->bucket_count; b++) {
        bucket = &ddp->buckets[b];
        bucket->waiting = bucket->end - bucket->first;
        bucket->elements = round_up(bucket->samples_at + 1 + bucket->waiting, SLICE_ELEMENTS);
    }
}

td_status ddp_give_home(td_context *context, td_tensor *param, void *place, td_tensor **home) {
    td_dtype dtype = td_tensor_dtype(param);
    td_storage *storage;
    TD_TRY(
        td_storage_wrap(place, (size_t)td_tensor_count(param) * td_dtype_size(dtype), NULL, NULL, &storage));
    td_ints strides = td_tensor_strides(param);
    td_scope *scope = td_scope_open(context);
    td_tensor *view = td_tensor_wrap(storage, 0, dtype, td_tensor_sizes(param), &strides);
    if (view) *home = td_keep(view);
    td_status status = td_scope_close(scope);
    td_storage_release(&storage);
    if (status < 0) return status;
    return td_leaf_set_home(param, *home);
}

void ddp_take_home(td_tensor *param, td_tensor **home) {
    if (!*home) return;
    td_tensor_zero_grad(param);
    td_leaf_set_home(param, NULL); /* an empty slot has nothing to move, so this cannot fail */
    td_release(home);
}

td_status ddp_make_buckets(td_ddp *ddp, size_t bucket_bytes) {
    ddp->buckets = td_calloc(ddp->slot_count, sizeof *ddp->buckets);
    if (!ddp->buckets) return TD_ERR_MEMORY;
    cut(ddp, bucket_bytes);
    for (size_t b = 0; b < ddp->bucket_count; b++) {
        td_ddp_bucket *bucket = &ddp->buckets[b];
        snprintf(bucket->label, sizeof bucket->label, "ddp bucket %zu", b);
        TD_TRY(td_arena_alloc(td_group_arena(ddp->group), bucket->elements * td_dtype_size(bucket->dtype),
                              &bucket->data));
    }
    for (size_t i = 0; i < ddp->slot_count; i++) {
        td_ddp_slot *slot = &ddp->slots[i];
        void *place = at_element(&ddp->buckets[slot->bucket], slot->offset);
        TD_TRY(ddp_give_home(ddp->context, slot->param, place, &slot->home));
    }
    return TD_OK;
}

void ddp_drop_buckets(td_ddp *ddp) {
    for (size_t i = 0; i < ddp->slot_count; i++) ddp_take_home(ddp->slots[i].param, &ddp->slots[i].home);
    for (size_t b = 0; b < ddp->bucket_count; b++) {
        td_work_release(&ddp->buckets[b].work);
        td_arena_free(td_group_arena(ddp->group), &ddp->buckets[b].data);
    }
    td_free(ddp->buckets);
    ddp->buckets = NULL;
    ddp->bucket_count = 0;
}

/* --- weighing --------------------------------------------------------------------------------------- */

void ddp_multiply(td_dtype dtype, void *data, size_t count, double factor) {
    if (dtype == TD_DTYPE_F32) {
        float *x = data, f = (float)factor;
        for (size_t i = 0; i < count; i++) x[i] *= f;
    } else {
        double *x = data;
        for (size_t i = 0; i < count; i++) x[i] *= factor;
    }
}

void ddp_divide(td_dtype dtype, void *data, size_t count, double divisor) {
    if (dtype == TD_DTYPE_F32) {
        float *x = data, d = (float)divisor;
        for (size_t i = 0; i < count; i++) x[i] /= d;
    } else {
        double *x = data;
        for (size_t i = 0; i < count; i++) x[i] /= divisor;
    }
}

/* --- reducing --------------------------------------------------------------------------------------- */

td_status ddp_post(td_ddp *ddp, td_ddp_bucket *bucket, double weight, int64_t samples) {
    size_t element = td_dtype_size(bucket->dtype);
    for (size_t i = bucket->first; i < bucket->end; i++) {
        td_ddp_slot *slot = &ddp->slots[i];
        bool filled = td_leaf_state(slot->param) != TD_GRAD_EMPTY;
        char *data = at_element(bucket, slot->offset);
        /* Zeros, not a product: what lies in an empty slot, or a gradient of no samples, may be NaN. */
        if (!filled || weight == 0)
            memset(data, 0, slot->count * element);
        else if (weight != 1)
            ddp_multiply(bucket->dtype, data, slot->count, weight);
        set_number(bucket, bucket->samples_at + 1 + (i - bucket->first), filled);
    }
    set_number(bucket, bucket->samples_at, samples < 0 ? 1 : (double)samples);
    td_call call = {.kind = TD_CALL_ALL_REDUCE,
                    .dtype = bucket->dtype,
                    .op = samples < 0 ? TD_REDUCE_AVG : TD_REDUCE_SUM,
                    .count = bucket->elements,
                    .input = bucket->data,
                    .output = bucket->data,
                    .label = bucket->label,
                    .device = cpu};
    return td_group_post(ddp->group, &call, &bucket->work);
}

td_status ddp_finish(td_ddp *ddp, td_ddp_bucket *bucket, bool weighted) {
    td_status status = td_work_wait(bucket->work);
    td_work_release(&bucket->work);
    if (status < 0) return status;
    double samples = get_number(bucket, bucket->samples_at);
    if (samples == 0)
        return td_fail(TD_ERR_STATE, 0, "model/parallel", "ddp: no rank has a sample in this step");
    for (size_t i = bucket->first; i < bucket->end; i++) {
        td_ddp_slot *slot = &ddp->slots[i];
        bool filled = get_number(bucket, bucket->samples_at + 1 + (i - bucket->first)) > 0;
        if (filled && weighted)
            ddp_divide(bucket->dtype, at_element(bucket, slot->offset), slot->count, samples);
        td_leaf_set_state(slot->param, filled ? TD_GRAD_REDUCED : TD_GRAD_EMPTY);
        slot->ready = false;
    }
    bucket->waiting = bucket->end - bucket->first;
    return TD_OK;
}
