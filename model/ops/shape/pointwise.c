/*
 * Layouts of element-wise results: sizes by broadcasting, dtype by promotion, and the strides of the first
 * argument that already has the result's sizes, so that channels_last stays channels_last.
 */
#include "model/ops/parts.h"
#include "model/ops/promote.h"

#include <string.h>

static td_status do_not_broadcast(const td_tensor *a, const td_tensor *b) {
    char texts[2][96];
    return td_fail(TD_ERR_ARG, 0, "model", "sizes %s and %s do not broadcast",
                   td_sizes_text(a->sizes, a->ndim, texts[0], sizeof texts[0]),
                   td_sizes_text(b->sizes, b->ndim, texts[1], sizeof texts[1]));
}

/* Sizes of `out` broadcast with x's: false where a size is neither equal nor 1. */
static bool broadcast_into(td_layout *out, const td_tensor *x) {
    int ndim = out->ndim > x->ndim ? out->ndim : x->ndim;
    for (int back = 1; back <= ndim; back++) {
        int64_t a = back <= out->ndim ? out->sizes[out->ndim - back] : 1;
        int64_t b = back <= x->ndim ? x->sizes[x->ndim - back] : 1;
        if (a != b && a != 1 && b != 1) return false;
        /* From the back, so that no size is overwritten before it is read. */
        if (back <= out->ndim) out->sizes[out->ndim - back] = a == 1 ? b : a;
    }
    if (out->ndim < ndim) {
        memmove(out->sizes + (ndim - out->ndim), out->sizes, sizeof(int64_t) * (size_t)out->ndim);
        memcpy(out->sizes, x->sizes, sizeof(int64_t) * (size_t)(ndim - out->ndim));
        out->ndim = ndim;
    }
    return true;
}

static bool has_sizes(const td_tensor *x, const td_layout *layout) {
    return x->ndim == layout->ndim && !memcmp(x->sizes, layout->sizes, sizeof(int64_t) * x->ndim);
}

static void choose_strides(td_layout *out, const td_tensor *const *inputs, int count) {
    for (int i = 0; i < count; i++)
        if (has_sizes(inputs[i], out) && td_tensor_is_dense(inputs[i])) {
            memcpy(out->strides, inputs[i]->strides, sizeof(int64_t) * inputs[i]->ndim);
            return;
        }
    td_layout_set_contiguous(out);
}

static td_status broadcast(const td_tensor *a, const td_tensor *b, td_dtype dtype, td_layout *out) {
    td_layout_of(a, out);
    out->offset = 0;
    out->dtype = dtype;
    if (a->contiguous && b->contiguous && td_layout_same_sizes(a, b)) return TD_OK;
    if (!broadcast_into(out, b)) return do_not_broadcast(a, b);
    choose_strides(out, (const td_tensor *const[]){a, b}, 2);
    return TD_OK;
}

static td_status like(const td_tensor *x, td_dtype dtype, td_layout *out) {
    td_layout_of(x, out);
    out->offset = 0;
    out->dtype = dtype;
    if (!x->contiguous) td_layout_set_like(out, x);
    return TD_OK;
}

td_status shape_promoted(const td_tensor *self, const td_tensor *other, td_layout *out) {
    return broadcast(self, other, td_result_type(self, other), out);
}

td_status shape_promoted_scaled(const td_tensor *self, const td_tensor *other, td_scalar alpha,
                                td_layout *out) {
    td_dtype dtype = td_result_type(self, other);
    if (alpha.kind == TD_SCALAR_REAL && !td_dtype_is_floating(dtype))
        return td_fail(TD_ERR_ARG, 0, "model", "alpha %g is real, but the result is %s", alpha.value.real,
                       td_dtype_name(dtype));
    return broadcast(self, other, dtype, out);
}

td_status shape_promoted_floating(const td_tensor *self, const td_tensor *other, td_layout *out) {
    return broadcast(self, other, td_floating_of(td_result_type(self, other)), out);
}

td_status shape_promoted_scalar(const td_tensor *self, td_scalar other, td_layout *out) {
    return like(self, td_result_type_scalar(self, other), out);
}

td_status shape_promoted_scalar_floating(const td_tensor *self, td_scalar other, td_layout *out) {
    return like(self, td_floating_of(td_result_type_scalar(self, other)), out);
}

td_status shape_same(const td_tensor *self, td_layout *out) { return like(self, (td_dtype)self->dtype, out); }

td_status shape_floating(const td_tensor *self, td_layout *out) {
    return like(self, td_floating_of((td_dtype)self->dtype), out);
}

td_status shape_clamped(const td_tensor *self, td_scalar min, td_scalar max, td_layout *out) {
    if (min.kind == TD_SCALAR_NONE && max.kind == TD_SCALAR_NONE)
        return td_fail(TD_ERR_ARG, 0, "model", "min or max must be given");
    td_dtype dtype = (td_dtype)self->dtype;
    if (min.kind != TD_SCALAR_NONE) dtype = td_result_type_scalar(self, min);
    if (max.kind != TD_SCALAR_NONE) dtype = td_promote(dtype, td_result_type_scalar(self, max));
    return like(self, dtype, out);
}

td_status shape_compared(const td_tensor *self, const td_tensor *other, td_layout *out) {
    return broadcast(self, other, TD_DTYPE_BOOL, out);
}

td_status shape_compared_scalar(const td_tensor *self, td_scalar other, td_layout *out) {
    (void)other;
    return like(self, TD_DTYPE_BOOL, out);
}

td_status shape_flags(const td_tensor *self, td_layout *out) { return like(self, TD_DTYPE_BOOL, out); }

static td_status check_bool(const char *name, const td_tensor *x) {
    if (x->dtype == TD_DTYPE_BOOL) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "%s is %s, not bool", name, td_dtype_name((td_dtype)x->dtype));
}

td_status shape_chosen(const td_tensor *condition, const td_tensor *self, const td_tensor *other,
                       td_layout *out) {
    TD_TRY(check_bool("condition", condition));
    TD_TRY(broadcast(self, other, td_result_type(self, other), out));
    if (!broadcast_into(out, condition)) return do_not_broadcast(self, condition);
    choose_strides(out, (const td_tensor *const[]){self, other, condition}, 3);
    return TD_OK;
}

td_status shape_masked(const td_tensor *self, const td_tensor *mask, td_layout *out) {
    TD_TRY(check_bool("mask", mask));
    return broadcast(self, mask, (td_dtype)self->dtype, out);
}
