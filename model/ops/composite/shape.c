/* Composites that rearrange: they view where they can and copy where they must. */
#include "model/ops/shape/shape.h"

#include "base/memory.h"
#include "model/ops/dispatch.h"
#include "model/ops/view/sized.h"

#include <string.h>

td_tensor *composite_reshape(const td_reshape_args *a) {
    td_ints size;
    td_status status = view_infer_size(a->self, &a->shape, &size);
    if (status < 0) return td_scope_fail(status);
    td_layout layout = {.ndim = (int)size.count};
    memcpy(layout.sizes, size.at, sizeof layout.sizes);
    if (view_find_strides(a->self, &layout)) return td_view(a->self, size);
    return td_view(td_clone(a->self, .memory_format = TD_MEMORY_FORMAT_CONTIGUOUS), size);
}

td_tensor *composite_flatten(const td_flatten_args *a) {
    int start, end;
    td_status status = shape_wrap_dim(a->start_dim, a->self->ndim, &start);
    if (status >= 0) status = shape_wrap_dim(a->end_dim, a->self->ndim, &end);
    if (status >= 0 && end < start)
        status = td_fail(TD_ERR_ARG, 0, "model", "flatten: end_dim %d is before start_dim %d", end, start);
    if (status < 0) return td_scope_fail(status);
    if (a->self->ndim == 0) return td_reshape(a->self, TD_INTS(1));
    if (start == end) return td_alias(a->self);
    td_ints size = {0};
    int64_t product = 1;
    for (int d = 0; d < a->self->ndim; d++) {
        if (d < start || d > end) {
            size.at[size.count++] = a->self->sizes[d];
            continue;
        }
        product *= a->self->sizes[d];
        if (d == end) size.at[size.count++] = product;
    }
    return td_reshape(a->self, size);
}

td_tensor *composite_contiguous(const td_contiguous_args *a) {
    bool done = a->memory_format == TD_MEMORY_FORMAT_CHANNELS_LAST ? td_tensor_is_channels_last(a->self)
                : a->memory_format == TD_MEMORY_FORMAT_PRESERVE    ? td_tensor_is_dense(a->self)
                                                                   : a->self->contiguous;
    return done ? td_alias(a->self) : td_clone(a->self, .memory_format = a->memory_format);
}

td_tensor *composite_stack(const td_stack_args *a) {
    td_tensor **rows = td_alloc(a->tensors.count * sizeof *rows);
    if (!rows) return td_scope_fail(TD_ERR_MEMORY);
    for (size_t i = 0; i < a->tensors.count; i++) rows[i] = td_unsqueeze(a->tensors.at[i], a->dim);
    td_tensor *stacked = rows[0] ? td_cat(((td_tensors){rows, a->tensors.count}), a->dim) : NULL;
    td_free(rows);
    return stacked;
}

td_tensor *composite_to(const td_to_args *a) {
    return a->dtype == (td_dtype)a->self->dtype ? td_alias(a->self) : td_cast(a->self, a->dtype);
}

/* Sum over what broadcasting `size` to self's sizes would repeat. */
td_tensor *composite_sum_to_size(const td_sum_to_size_args *a) {
    td_ints lead = {0}, repeated = {0};
    int added = a->self->ndim - (int)a->size.count;
    bool fits = added >= 0;
    for (int d = 0; d < added; d++) lead.at[lead.count++] = d;
    for (int d = 0; fits && d < a->size.count; d++) {
        int64_t from = a->self->sizes[added + d], to = a->size.at[d];
        if (from == to) continue;
        fits = to == 1;
        repeated.at[repeated.count++] = d;
    }
    char texts[2][96];
    if (!fits)
        return td_scope_fail(
            td_fail(TD_ERR_ARG, 0, "model", "sum_to_size: %s does not broadcast to %s",
                    td_sizes_text(a->size.at, (int)a->size.count, texts[0], sizeof texts[0]),
                    td_sizes_text(a->self->sizes, a->self->ndim, texts[1], sizeof texts[1])));
    td_tensor *sum = a->self;
    if (lead.count) sum = td_sum(sum, lead);
    if (repeated.count) sum = td_sum(sum, repeated, true);
    return sum == a->self ? td_alias(sum) : sum;
}

td_tensor *composite_max(const td_max_args *a) { return td_amax(a->self); }
