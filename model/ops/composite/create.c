/* New tensors. They are leaves: nothing here is on the tape. */
#include "model/ops/dispatch.h"
#include "model/ops/promote.h"
#include "model/ops/shape/shape.h"

static td_tensor *allocate(td_layout *layout) {
    td_scope *scope = td_scope_ready();
    if (!scope) return NULL;
    td_tensor *x = td_tensor_new(scope->context->slots[TD_SLOT_ALLOCATOR], layout);
    if (!x) return td_scope_fail(TD_ERR_MEMORY);
    td_scope_own(scope, x);
    return x;
}

static td_dtype dtype_or(td_dtype dtype, td_dtype otherwise) {
    return dtype == TD_DTYPE_NONE ? otherwise : dtype;
}

td_tensor *composite_empty(const td_empty_args *a) {
    td_layout layout = {.dtype = dtype_or(a->dtype, TD_DTYPE_F32)};
    td_status status = shape_set_sizes(&a->size, &layout);
    if (status >= 0 && td_dtype_size(layout.dtype) == 0)
        status = td_fail(TD_ERR_ARG, 0, "model", "empty: %d is no dtype", (int)a->dtype);
    if (status >= 0 && a->memory_format == TD_MEMORY_FORMAT_CHANNELS_LAST && layout.ndim != 4)
        status =
            td_fail(TD_ERR_ARG, 0, "model", "empty: channels_last is for 4 dimensions, not %d", layout.ndim);
    if (status < 0) return td_scope_fail(status);
    if (a->memory_format == TD_MEMORY_FORMAT_CHANNELS_LAST)
        td_layout_set_channels_last(&layout);
    else
        td_layout_set_contiguous(&layout);
    return allocate(&layout);
}

td_tensor *composite_full(const td_full_args *a) {
    td_dtype dtype = dtype_or(a->dtype, td_scalar_dtype(a->fill_value));
    return td_fill_(td_empty(a->size, .dtype = dtype), a->fill_value);
}

td_tensor *composite_zeros(const td_zeros_args *a) { return td_zero_(td_empty(a->size, .dtype = a->dtype)); }

td_tensor *composite_ones(const td_ones_args *a) {
    return td_fill_(td_empty(a->size, .dtype = a->dtype), td_scalar_int(1));
}

td_tensor *composite_empty_like(const td_empty_like_args *a) {
    td_layout layout;
    td_layout_of(a->self, &layout);
    layout.offset = 0;
    layout.dtype = dtype_or(a->dtype, layout.dtype);
    td_layout_set_like(&layout, a->self);
    return allocate(&layout);
}

td_tensor *composite_zeros_like(const td_zeros_like_args *a) {
    return td_zero_(td_empty_like(a->self, .dtype = a->dtype));
}

td_tensor *composite_ones_like(const td_ones_like_args *a) {
    return td_fill_(td_empty_like(a->self, .dtype = a->dtype), td_scalar_int(1));
}

td_tensor *composite_arange(const td_arange_args *a) {
    return td_arange_start(td_scalar_int(0), a->end, .dtype = a->dtype);
}

td_tensor *composite_rand(const td_rand_args *a) { return td_uniform_(td_empty(a->size, .dtype = a->dtype)); }
td_tensor *composite_randn(const td_randn_args *a) {
    return td_normal_(td_empty(a->size, .dtype = a->dtype));
}
