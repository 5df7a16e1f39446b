/* Buckets: cutting, weighing, reducing. Everything that reads or writes their memory. */
#include "base/memory.h"
#include "dist/arena.h"
#include "model/parallel/update.h"
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

/* The bytes after which bucket number b is closed. */
static double cap_of(const td_ddp *ddp, size_t b) {
    size_t count = ddp->options.bucket_cap_mb_count;
    return count ? ddp->bucket_caps[b < count ? b : count - 1] : ddp->options.bucket_cap_mb * (1 << 20);
}

/* These stand at the end and are in no bucket. */
static bool is_left_out(const td_ddp *ddp, const td_ddp_slot *slot) {
    return slot->skipped && ddp->options.skip_all_reduce_unused_params;
}

size_t ddp_count_awaited(const td_ddp *ddp, const td_ddp_bucket *bucket) {
    size_t count = 0;
    for (size_t i = bucket->first; i < bucket->end; i++) count += !ddp->slots[i].skipped;
    return count;
}

/* Assign each slot to a bucket: a new one when the dtype changes or the last has reached its size. */
static void cut(td_ddp *ddp) {
    td_ddp_bucket *bucket = NULL;
    /* Where slices are updated, a block of UPDATE_CUT elements belongs to one slot. */
    size_t unit = ddp->options.sync == TD_SYNC_REPLICATED ? 0 : UPDATE_CUT;
    for (size_t i = 0; i < ddp->slot_count && !is_left_out(ddp, &ddp->slots[i]); i++) {
        td_ddp_slot *slot = &ddp->slots[i];
        td_dtype dtype = td_tensor_dtype(slot->param);
        size_t size = td_dtype_size(dtype);
        if (!bucket || bucket->dtype != dtype ||
            (double)(bucket->samples_at * size) >= cap_of(ddp, ddp->bucket_count - 1)) {
            bucket = &ddp->buckets[ddp->bucket_count++];
            *bucket = (td_ddp_bucket){.dtype = dtype, .first = i};
        }
        slot->bucket = ddp->bucket_count - 1;
        slot->count = (size_t)td_tensor_count(slot->param);
        slot->offset = bucket->samples_at;
        bucket->samples_at += round_up(slot->count, unit ? unit : SLOT_BYTES / size);
        bucket->end = i + 1;
    }
    for (size_t b = 0; b < ddp->bucket_count; b++) {
        bucket = &ddp->buckets[b];
        bucket->waiting = ddp_count_awaited(ddp, bucket);
        size_t used = bucket->samples_at + 1 + (bucket->end - bucket->first);
        if (b == 0) {
            bucket->active_at = used;
            used += (size_t)td_group_size(ddp->group);
        }
        bucket->elements = round_up(used, SLICE_ELEMENTS);
    }
}

static td_status allocate(td_ddp *ddp) {
    ddp->buckets = td_calloc(ddp->slot_count, sizeof *ddp->buckets);
    if (!ddp->buckets) return TD_ERR_MEMORY;
    cut(ddp);
    for (size_t b = 0; b < ddp->bucket_count; b++) {
        td_ddp_bucket *bucket = &ddp->buckets[b];
        snprintf(bucket->label, sizeof bucket->label, "ddp bucket %zu", b);
        TD_TRY(td_arena_alloc(td_group_arena(ddp->group), bucket->elements * td_dtype_size(bucket->dtype),
                              &bucket->data));
    }
    return TD_OK;
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

td_status ddp_make_buckets(td_ddp *ddp) {
    TD_TRY(allocate(ddp));
    for (size_t i = 0; i < ddp->slot_count; i++) {
        td_ddp_slot *slot = &ddp->slots[i];
        void *place = at_element(&ddp->buckets[slot->bucket], slot->offset);
        TD_TRY(ddp_give_home(ddp->context, slot->param, place, &slot->home));
    }
    return TD_OK;
}

static void free_buckets(td_ddp *ddp, td_ddp_bucket *buckets, size_t count) {
    for (size_t b = 0; b < count; b++) {
        td_work_release(&buckets[b].work);
        td_work_release(&buckets[b].numbers_work);
        td_arena_free(td_group_arena(ddp->group), &buckets[b].data);
    }
    td_free(buckets);
}

/* Move what lies in the bucket's slots: tensors stay the same, only their memory is another. */
static td_status move_in(td_ddp *ddp, const td_ddp_bucket *bucket) {
    size_t size = td_dtype_size(bucket->dtype);
    td_storage *host;
    TD_TRY(td_storage_wrap(bucket->data, bucket->elements * size, NULL, NULL, &host));
    td_status status = TD_OK;
    for (size_t i = bucket->first; status == TD_OK && i < bucket->end; i++)
        status = td_storage_rehome(td_tensor_storage(ddp->slots[i].home), host, ddp->slots[i].offset * size);
    td_storage_release(&host);
    return status;
}

td_status ddp_remake_buckets(td_ddp *ddp) {
    td_ddp_bucket *old = ddp->buckets;
    size_t old_count = ddp->bucket_count;
    ddp->buckets = NULL;
    ddp->bucket_count = 0;
    td_status status = allocate(ddp);
    for (size_t b = 0; status == TD_OK && b < ddp->bucket_count; b++) status = move_in(ddp, &ddp->buckets[b]);
    for (size_t i = 0; i < ddp->slot_count; i++)
        if (status < 0 || is_left_out(ddp, &ddp->slots[i]))
            ddp_take_home(ddp->slots[i].param, &ddp->slots[i].home);
    free_buckets(ddp, old, old_count);
    return status;
}

void ddp_drop_buckets(td_ddp *ddp) {
    for (size_t i = 0; i < ddp->slot_count; i++) ddp_take_home(ddp->slots[i].param, &ddp->slots[i].home);
    free_buckets(ddp, ddp->buckets, ddp->bucket_count);
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

/* What this rank says of itself in the first bucket. */
static void set_active(const td_ddp *ddp, td_ddp_bucket *bucket, bool active) {
    for (int r = 0; r < td_group_size(ddp->group); r++)
        set_number(bucket, bucket->active_at + (size_t)r, active && r == td_group_rank(ddp->group));
}

static void read_active(td_ddp *ddp, const td_ddp_bucket *bucket) {
    ddp->active = 0;
    for (int r = td_group_size(ddp->group) - 1; r >= 0; r--) {
        if (get_number(bucket, bucket->active_at + (size_t)r) <= 0) continue;
        ddp->first_active = r;
        ddp->active++;
    }
}

td_status ddp_post(td_ddp *ddp, td_ddp_bucket *bucket, double weight, int64_t samples) {
    size_t element = td_dtype_size(bucket->dtype);
    for (size_t i = bucket->first; i < bucket->end; i++) {
        td_ddp_slot *slot = &ddp->slots[i];
        bool filled = weight != 0 && td_leaf_state(slot->param) != TD_GRAD_EMPTY;
        char *data = at_element(bucket, slot->offset);
        /* Zeros, not a product: what lies in an empty slot, or a gradient of no samples, may be NaN. */
        if (!filled)
            memset(data, 0, slot->count * element);
        else if (weight != 1)
            ddp_multiply(bucket->dtype, data, slot->count, weight);
        set_number(bucket, bucket->samples_at + 1 + (i - bucket->first), filled);
    }
    set_number(bucket, bucket->samples_at, samples < 0 ? weight : (double)samples);
    if (bucket->active_at) set_active(ddp, bucket, weight != 0);
    bucket->hook_scale = ddp_hook_scale(ddp, samples >= 0);
    if (bucket->hook_scale > 0) return ddp_hook_post(ddp, bucket);
    td_call call = {.kind = TD_CALL_ALL_REDUCE,
                    .dtype = bucket->dtype,
                    .op = samples < 0 ? TD_REDUCE_AVG : TD_REDUCE_SUM,
                    .count = bucket->elements,
                    .input = bucket->data,
                    .output = bucket->data,
                    .label = bucket->label,
                    .device = cpu};
    if (ddp->update) update_scatter_call(ddp, bucket, &call);
    return td_group_post(ddp->group, &call, &bucket->work);
}

/* What the numbers are divided by to make them the job's mean: samples; where ranks weigh the same, their number,
 * or that of those that had data if that is wished. The mean over all ranks has been formed already but where a
 * hook has added up. */
static double divisor(const td_ddp *ddp, const td_ddp_bucket *bucket, bool weighted, double samples) {
    if (weighted) return samples;
    double ranks = td_group_size(ddp->group);
    double wanted = ddp->options.divide_by_initial_world_size == TD_CHOICE_NO ? ddp->active : ranks;
    return bucket->hook_scale > 0 ? wanted : wanted / ranks;
}

td_status ddp_finish(td_ddp *ddp, td_ddp_bucket *bucket, bool weighted) {
    td_status status = td_work_wait(bucket->work);
    td_work_release(&bucket->work);
    if (status == TD_OK && bucket->hook_scale > 0) status = ddp_hook_finish(ddp, bucket);
    if (status < 0) return status;
    if (bucket->active_at) read_active(ddp, bucket);
    bool summed = weighted || bucket->hook_scale > 0;
    double samples = get_number(bucket, bucket->samples_at), ranks = summed ? 1 : td_group_size(ddp->group);
    double by = divisor(ddp, bucket, weighted, samples);
    if (weighted) ddp->last_samples = samples;
    for (size_t i = bucket->first; i < bucket->end; i++) {
        td_ddp_slot *slot = &ddp->slots[i];
        double filled = get_number(bucket, bucket->samples_at + 1 + (i - bucket->first)) * ranks;
        slot->filled = (int)(filled + 0.5);
        if (slot->filled && by != 1)
            ddp_divide(bucket->dtype, at_element(bucket, slot->offset), slot->count, by);
        td_leaf_set_state(slot->param, slot->filled ? TD_GRAD_REDUCED : TD_GRAD_EMPTY);
        slot->ready = false;
    }
    bucket->waiting = ddp_count_awaited(ddp, bucket);
    return TD_OK;
}
