/* Layouts of copies, casts, concatenation, ranges and losses. */
#include "model/ops/parts.h"
#include "model/ops/promote.h"
#include "model/ops/shape/shape.h"

#include <math.h>
#include <string.h>

td_status shape_cloned(const td_tensor *self, td_memory_format memory_format, td_layout *out) {
    TD_TRY(shape_same(self, out));
    if (memory_format == TD_MEMORY_FORMAT_CONTIGUOUS) td_layout_set_contiguous(out);
    if (memory_format != TD_MEMORY_FORMAT_CHANNELS_LAST) return TD_OK;
    TD_TRY(shape_check_ndim("self", self, 4));
    td_layout_set_channels_last(out);
    return TD_OK;
}

td_status shape_cast(const td_tensor *self, td_dtype dtype, td_layout *out) {
    if (td_dtype_size(dtype) == 0) return td_fail(TD_ERR_ARG, 0, "model", "%d is no dtype", (int)dtype);
    TD_TRY(shape_same(self, out));
    out->dtype = dtype;
    return TD_OK;
}

td_status shape_as_strided_backward(const td_tensor *grad_output, const td_ints *input_size, td_layout *out) {
    *out = (td_layout){.dtype = (td_dtype)grad_output->dtype};
    TD_TRY(shape_set_sizes(input_size, out));
    td_layout_set_contiguous(out);
    return TD_OK;
}

/* PyTorch lets an empty tensor of one dimension pass among others of any. */
static bool is_passed_over(const td_tensor *x) { return x->ndim == 1 && x->count == 0; }

td_status shape_concatenated(const td_tensors *tensors, int64_t dim, td_layout *out) {
    const td_tensor *first = tensors->at[0];
    td_dtype dtype = (td_dtype)tensors->at[0]->dtype;
    for (size_t i = 0; i < tensors->count; i++) {
        if (is_passed_over(first)) first = tensors->at[i];
        dtype = td_promote(dtype, (td_dtype)tensors->at[i]->dtype);
    }
    int wrapped;
    if (first->ndim == 0)
        return td_fail(TD_ERR_ARG, 0, "model", "tensors without dimensions cannot be concatenated");
    TD_TRY(shape_wrap_dim(dim, first->ndim, &wrapped));
    TD_TRY(shape_same(first, out));
    out->dtype = dtype;
    out->sizes[wrapped] = 0;
    for (size_t i = 0; i < tensors->count; i++) {
        const td_tensor *x = tensors->at[i];
        if (is_passed_over(x)) continue;
        bool fits = x->ndim == first->ndim;
        for (int d = 0; fits && d < x->ndim; d++) fits = d == wrapped || x->sizes[d] == first->sizes[d];
        char texts[2][96];
        if (!fits)
            return td_fail(TD_ERR_ARG, 0, "model", "sizes %s beside %s, apart from dim %d",
                           td_sizes_text(x->sizes, x->ndim, texts[0], sizeof texts[0]),
                           td_sizes_text(first->sizes, first->ndim, texts[1], sizeof texts[1]), wrapped);
        out->sizes[wrapped] += x->sizes[wrapped];
    }
    if (td_tensor_is_channels_last(first) && !first->contiguous)
        td_layout_set_channels_last(out);
    else
        td_layout_set_contiguous(out);
    return TD_OK;
}

td_status shape_arange(td_scalar start, td_scalar end, td_scalar step, td_dtype dtype, td_layout *out) {
    bool real = start.kind == TD_SCALAR_REAL || end.kind == TD_SCALAR_REAL || step.kind == TD_SCALAR_REAL;
    double from = td_scalar_to_real(start), to = td_scalar_to_real(end), by = td_scalar_to_real(step);
    if (by == 0 || !isfinite(from) || !isfinite(to) || !isfinite(by) || (to - from) * by < 0)
        return td_fail(TD_ERR_ARG, 0, "model", "there is no way from %g to %g in steps of %g", from, to, by);
    double count = ceil((to - from) / by);
    if (count > 0x1p52) return td_fail(TD_ERR_ARG, 0, "model", "%g elements are too many", count);
    *out = (td_layout){.ndim = 1,
                       .dtype = dtype != TD_DTYPE_NONE ? dtype
                                : real                 ? TD_DTYPE_F32
                                                       : TD_DTYPE_I64,
                       .sizes = {(int64_t)count},
                       .strides = {1}};
    return TD_OK;
}

/* Classes are along dim 1, or dim 0 of a single sample; what is left must be the target's sizes. */
static td_status check_target(const td_tensor *self, const td_tensor *target, const td_tensor *weight) {
    char texts[2][96];
    int class_dim = self->ndim == 1 ? 0 : 1;
    if (self->ndim < 1) return shape_check_ndim("self", self, 2);
    if (target->dtype != TD_DTYPE_I64)
        return td_fail(TD_ERR_ARG, 0, "model", "target is %s; classes are i64",
                       td_dtype_name((td_dtype)target->dtype));
    bool fits = target->ndim == self->ndim - 1;
    for (int d = 0; fits && d < target->ndim; d++)
        fits = target->sizes[d] == self->sizes[d + (d >= class_dim)];
    if (!fits)
        return td_fail(TD_ERR_ARG, 0, "model", "target of sizes %s for self of sizes %s",
                       td_sizes_text(target->sizes, target->ndim, texts[0], sizeof texts[0]),
                       td_sizes_text(self->sizes, self->ndim, texts[1], sizeof texts[1]));
    if (!weight) return TD_OK;
    TD_TRY(shape_check_same_dtype("weight", weight, self));
    if (weight->ndim != 1 || weight->sizes[0] != self->sizes[class_dim])
        return td_fail(TD_ERR_ARG, 0, "model", "weight of sizes %s for %lld classes",
                       td_sizes_text(weight->sizes, weight->ndim, texts[0], sizeof texts[0]),
                       (long long)self->sizes[class_dim]);
    return TD_OK;
}

td_status shape_nll_loss(const td_tensor *self, const td_tensor *target, const td_tensor *weight,
                         td_reduction reduction, td_layout *out) {
    if (!td_dtype_is_floating((td_dtype)self->dtype))
        return td_fail(TD_ERR_ARG, 0, "model", "self is %s, not floating",
                       td_dtype_name((td_dtype)self->dtype));
    TD_TRY(check_target(self, target, weight));
    out[0] = out[1] = (td_layout){.dtype = (td_dtype)self->dtype};
    if (reduction != TD_REDUCTION_NONE) return TD_OK;
    out[0].ndim = target->ndim;
    memcpy(out[0].sizes, target->sizes, sizeof(int64_t) * target->ndim);
    td_layout_set_contiguous(&out[0]);
    return TD_OK;
}

td_status shape_nll_loss_backward(const td_tensor *grad_output, const td_ints *input_size, td_layout *out) {
    *out = (td_layout){.dtype = (td_dtype)grad_output->dtype};
    TD_TRY(shape_set_sizes(input_size, out));
    td_layout_set_contiguous(out);
    return TD_OK;
}

td_status shape_dropout(const td_tensor *input, td_layout *out) {
    if (!td_dtype_is_floating((td_dtype)input->dtype))
        return td_fail(TD_ERR_ARG, 0, "model", "input is %s, not floating",
                       td_dtype_name((td_dtype)input->dtype));
    TD_TRY(shape_same(input, &out[0]));
    out[1] = out[0];
    out[1].dtype = TD_DTYPE_BOOL;
    return TD_OK;
}
