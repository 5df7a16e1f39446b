/* Tensor headers: making, dropping, looking, and the way in and out of host memory. */
#include "base/checked.h"
#include "model/autograd/leaf.h"
#include "model/tensor/internal.h"

#include <stdio.h>
#include <string.h>

/* --- life ------------------------------------------------------------------------------------------ */

static td_tensor *new_header(td_pool *pool, const td_layout *layout) {
    td_tensor *x = td_pool_take(pool, sizeof *x);
    if (!x) return NULL;
    atomic_init(&x->refs, 1);
    x->ndim = (uint8_t)layout->ndim;
    x->dtype = (uint8_t)layout->dtype;
    x->requires_grad = x->made_without_grad = false;
    x->result_index = 0;
    x->grad_fn_version = 0;
    x->storage = NULL;
    x->offset = layout->offset;
    x->grad_fn = NULL;
    x->leaf = NULL;
    x->base = NULL;
    x->scope = NULL;
    td_copy_sizes(x->sizes, layout->sizes);
    td_copy_sizes(x->strides, layout->strides);
    int64_t count = 1;
    bool contiguous = true;
    for (int d = layout->ndim - 1; d >= 0; d--) {
        if (layout->sizes[d] != 1) contiguous &= layout->strides[d] == count;
        count *= layout->sizes[d];
    }
    x->count = count;
    x->contiguous = contiguous || count == 0;
    return x;
}

td_tensor *td_tensor_new(td_pool *pool, const td_layout *layout) {
    td_tensor *x = new_header(pool, layout);
    if (!x) return NULL;
    x->storage = td_storage_new(pool, (size_t)x->count * td_element_size(x->dtype));
    if (x->storage) return x;
    td_pool_give(x);
    return NULL;
}

td_tensor *td_tensor_new_over(td_pool *pool, const td_layout *layout, td_storage *storage) {
    td_tensor *x = new_header(pool, layout);
    if (x) x->storage = td_storage_retain(storage);
    return x;
}

td_tensor *td_tensor_retain(td_tensor *x) {
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    return x;
}

void td_tensor_unref(td_tensor *x) {
    while (x && td_drop_reference(&x->refs)) {
        td_tensor *base = x->base;
        if (x->grad_fn) td_node_unref(x->grad_fn);
        if (x->leaf) td_leaf_close(x->leaf);
        td_storage_unref(x->storage);
        td_pool_give(x);
        x = base;
    }
}

/* --- looking --------------------------------------------------------------------------------------- */

td_ints td_ints_from(const int64_t *values, int64_t count) {
    td_ints ints = {count <= TD_MAX_DIMS ? count : TD_MAX_DIMS + 1, {0}};
    for (int64_t i = 0; i < count && i < TD_MAX_DIMS; i++) ints.at[i] = values[i];
    return ints;
}

int td_tensor_ndim(const td_tensor *x) { return x->ndim; }

int64_t td_tensor_size(const td_tensor *x, int dim) {
    if (dim < 0) dim += x->ndim;
    return dim >= 0 && dim < x->ndim ? x->sizes[dim] : 1;
}

td_ints td_tensor_sizes(const td_tensor *x) { return td_ints_from(x->sizes, x->ndim); }
td_ints td_tensor_strides(const td_tensor *x) { return td_ints_from(x->strides, x->ndim); }
int64_t td_tensor_count(const td_tensor *x) { return x->count; }
td_dtype td_tensor_dtype(const td_tensor *x) { return (td_dtype)x->dtype; }
td_device td_tensor_device(const td_tensor *x) { return (void)x, (td_device){TD_DEVICE_CPU, 0}; }
bool td_tensor_is_contiguous(const td_tensor *x) { return x->contiguous; }

bool td_tensor_is_channels_last(const td_tensor *x) {
    if (x->ndim != 4) return false;
    td_layout layout;
    td_layout_of(x, &layout);
    td_layout_set_channels_last(&layout);
    for (int d = 0; d < 4; d++)
        if (x->sizes[d] != 1 && x->strides[d] != layout.strides[d]) return x->count == 0;
    return true;
}

void *td_tensor_data(const td_tensor *x) { return x->count ? td_tensor_bytes(x) : NULL; }
void td_tensor_written(td_tensor *x) { x->storage->version++; }
td_storage *td_tensor_storage(const td_tensor *x) { return x->storage; }
int64_t td_tensor_offset(const td_tensor *x) { return x->offset; }
uint32_t td_tensor_version(const td_tensor *x) { return x->storage->version; }
td_tensor *td_tensor_base(const td_tensor *x) { return x->base; }

char *td_tensor_describe(const td_tensor *x, char *text, size_t bytes) {
    if (!x) {
        snprintf(text, bytes, "nothing");
        return text;
    }
    int used = snprintf(text, bytes, "%s ", td_dtype_name((td_dtype)x->dtype));
    if ((size_t)used < bytes) td_sizes_text(x->sizes, x->ndim, text + used, bytes - (size_t)used);
    return text;
}

/* --- in and out of host memory ----------------------------------------------------------------------- */

static td_status layout_from(const char *who, td_dtype dtype, td_ints sizes, td_layout *layout) {
    if (td_dtype_size(dtype) == 0)
        return td_fail(TD_ERR_ARG, 0, "model", "%s: %d is no dtype", who, (int)dtype);
    if (sizes.count < 0 || sizes.count > TD_MAX_DIMS)
        return td_fail(TD_ERR_ARG, 0, "model", "%s: a tensor has 0 to %d dimensions", who, TD_MAX_DIMS);
    *layout = (td_layout){.ndim = (int)sizes.count, .dtype = dtype};
    memcpy(layout->sizes, sizes.at, sizeof layout->sizes);
    int64_t count, bytes;
    for (int d = 0; d < layout->ndim; d++)
        if (layout->sizes[d] < 0)
            return td_fail(TD_ERR_ARG, 0, "model", "%s: size %lld", who, (long long)layout->sizes[d]);
    if (!td_layout_count(layout, &count) || !td_mul_i64(count, (int64_t)td_dtype_size(dtype), &bytes))
        return td_fail(TD_ERR_ARG, 0, "model", "%s: the sizes' product is too large", who);
    td_layout_set_contiguous(layout);
    return TD_OK;
}

/* Hand a new tensor to the current scope; NULL marks it with the thread's last failure. */
static td_tensor *hand_over(td_scope *scope, td_tensor *x) {
    if (!x) return td_scope_fail(td_error_last()->status);
    td_scope_own(scope, x);
    return x;
}

td_tensor *td_tensor_from(const void *data, td_dtype dtype, td_ints sizes) {
    td_scope *scope = td_scope_ready();
    if (!scope) return NULL;
    td_layout layout;
    td_status status = layout_from("tensor_from", dtype, sizes, &layout);
    if (status < 0) return td_scope_fail(status);
    td_tensor *x = td_tensor_new(scope->context->slots[TD_SLOT_ALLOCATOR], &layout);
    if (x && x->count) memcpy(x->storage->data, data, x->storage->bytes);
    return hand_over(scope, x);
}

/* Does every element lie within the storage. */
static bool fits_storage(const td_layout *layout, const td_storage *storage) {
    int64_t last = layout->offset, elements = (int64_t)(storage->bytes / td_dtype_size(layout->dtype));
    if (layout->offset < 0) return false;
    for (int d = 0; d < layout->ndim; d++) {
        int64_t reach;
        if (layout->sizes[d] == 0) return true;
        if (layout->strides[d] < 0 || !td_mul_i64(layout->sizes[d] - 1, layout->strides[d], &reach) ||
            !td_add_i64(last, reach, &last))
            return false;
    }
    return last < elements;
}

td_tensor *td_tensor_wrap(td_storage *storage, int64_t offset, td_dtype dtype, td_ints sizes,
                          const td_ints *strides) {
    td_scope *scope = td_scope_ready();
    if (!scope) return NULL;
    td_layout layout;
    td_status status = layout_from("tensor_wrap", dtype, sizes, &layout);
    if (status < 0) return td_scope_fail(status);
    if (strides) memcpy(layout.strides, strides->at, sizeof layout.strides);
    layout.offset = offset;
    if ((strides && strides->count != sizes.count) || !fits_storage(&layout, storage))
        return td_scope_fail(td_fail(TD_ERR_ARG, 0, "model",
                                     "tensor_wrap: the tensor does not fit its storage of %zu bytes",
                                     storage->bytes));
    return hand_over(scope, td_tensor_new_over(scope->context->slots[TD_SLOT_ALLOCATOR], &layout, storage));
}

/* Calls `copy` for each run of equally spaced elements along the last dimension, in row-major order. */
typedef void run_copier(char *element, int64_t stride_bytes, int64_t count, size_t size, char **host);

static void for_each_run(const td_tensor *x, char **host, run_copier *copy) {
    size_t size = td_dtype_size((td_dtype)x->dtype);
    int64_t index[TD_MAX_DIMS] = {0};
    int last = x->ndim - 1;
    int64_t count = last < 0 ? 1 : x->sizes[last], stride = last < 0 ? 1 : x->strides[last];
    char *element = td_tensor_bytes(x);
    for (int64_t done = 0; done < x->count; done += count) {
        copy(element, stride * (int64_t)size, count, size, host);
        for (int d = last - 1; d >= 0; d--) {
            element += x->strides[d] * (int64_t)size;
            if (++index[d] < x->sizes[d]) break;
            element -= x->strides[d] * x->sizes[d] * (int64_t)size;
            index[d] = 0;
        }
    }
}

static void copy_out(char *element, int64_t stride_bytes, int64_t count, size_t size, char **host) {
    for (int64_t i = 0; i < count; i++, element += stride_bytes, *host += size) memcpy(*host, element, size);
}

static void copy_in(char *element, int64_t stride_bytes, int64_t count, size_t size, char **host) {
    for (int64_t i = 0; i < count; i++, element += stride_bytes, *host += size) memcpy(element, *host, size);
}

/* The scope's status for the NULL of a failed operation. */
static td_status missing(const char *who) {
    td_scope *scope = td_scope_ready();
    if (!scope) return td_error_last()->status;
    return td_fail(TD_ERR_ARG, 0, "model", "%s: no tensor", who);
}

static td_status check_bytes(const char *who, const td_tensor *x, size_t bytes) {
    if (!x) return missing(who);
    size_t needed = (size_t)x->count * td_dtype_size((td_dtype)x->dtype);
    char text[128];
    if (bytes != needed)
        return td_fail(TD_ERR_ARG, 0, "model", "%s: %zu bytes for %s, which has %zu", who, bytes,
                       td_tensor_describe(x, text, sizeof text), needed);
    return TD_OK;
}

td_status td_tensor_copy_to(const td_tensor *x, void *data, size_t bytes) {
    TD_TRY(check_bytes("tensor_copy_to", x, bytes));
    char *host = data;
    if (!x->count) return TD_OK;
    if (x->contiguous)
        memcpy(host, td_tensor_bytes(x), bytes);
    else
        for_each_run(x, &host, copy_out);
    return TD_OK;
}

td_status td_tensor_copy_from(td_tensor *x, const void *data, size_t bytes) {
    TD_TRY(check_bytes("tensor_copy_from", x, bytes));
    if (x->requires_grad && td_grad_enabled())
        return td_fail(TD_ERR_STATE, 0, "model",
                       "tensor_copy_from: a leaf that requires grad is written; do so under no_grad");
    char *host = (char *)data; /* copy_in only reads it */
    if (x->count && x->contiguous)
        memcpy(td_tensor_bytes(x), host, bytes);
    else if (x->count)
        for_each_run(x, &host, copy_in);
    td_tensor_written(x);
    return TD_OK;
}

static td_status check_item(const td_tensor *x) {
    if (!x) return missing("tensor_item");
    char text[128];
    if (x->count != 1)
        return td_fail(TD_ERR_ARG, 0, "model", "tensor_item: %s has not one element",
                       td_tensor_describe(x, text, sizeof text));
    return TD_OK;
}

td_status td_tensor_item(const td_tensor *x, double *value) {
    TD_TRY(check_item(x));
    const void *element = td_tensor_bytes(x);
    switch ((td_dtype)x->dtype) {
    case TD_DTYPE_F32: *value = *(const float *)element; return TD_OK;
    case TD_DTYPE_F64: *value = *(const double *)element; return TD_OK;
    case TD_DTYPE_F16: *value = td_f16_to_f32(*(const uint16_t *)element); return TD_OK;
    case TD_DTYPE_BF16: *value = td_bf16_to_f32(*(const uint16_t *)element); return TD_OK;
    default: break;
    }
    int64_t integer = 0;
    TD_TRY(td_tensor_item_i64(x, &integer));
    *value = (double)integer;
    return TD_OK;
}

td_status td_tensor_item_i64(const td_tensor *x, int64_t *value) {
    TD_TRY(check_item(x));
    const void *element = td_tensor_bytes(x);
    double real = 0;
    switch ((td_dtype)x->dtype) {
    case TD_DTYPE_I8: *value = *(const int8_t *)element; return TD_OK;
    case TD_DTYPE_U8:
    case TD_DTYPE_BOOL: *value = *(const uint8_t *)element; return TD_OK;
    case TD_DTYPE_I16: *value = *(const int16_t *)element; return TD_OK;
    case TD_DTYPE_I32: *value = *(const int32_t *)element; return TD_OK;
    case TD_DTYPE_I64: *value = *(const int64_t *)element; return TD_OK;
    default:
        TD_TRY(td_tensor_item(x, &real));
        *value = (int64_t)real;
        return TD_OK;
    }
}
