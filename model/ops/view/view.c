/* Views: the same storage under other sizes, strides and offset. */
#include "base/checked.h"
#include "model/ops/parts.h"
#include "model/ops/shape/shape.h"

#include <string.h>

td_status view_alias(const td_tensor *self, td_layout *out) {
    td_layout_of(self, out);
    return TD_OK;
}

td_status view_permuted(const td_tensor *self, const td_ints *dims, td_layout *out) {
    unsigned seen;
    TD_TRY(shape_dim_bits(dims, self->ndim, &seen));
    if (dims->count != self->ndim)
        return td_fail(TD_ERR_ARG, 0, "model", "%lld dims for a tensor of %d", (long long)dims->count,
                       self->ndim);
    td_layout_of(self, out);
    for (int d = 0; d < self->ndim; d++) {
        int from;
        TD_TRY(shape_wrap_dim(dims->at[d], self->ndim, &from));
        out->sizes[d] = self->sizes[from];
        out->strides[d] = self->strides[from];
    }
    return TD_OK;
}

td_status view_transposed(const td_tensor *self, int64_t dim0, int64_t dim1, td_layout *out) {
    int a, b;
    TD_TRY(shape_wrap_dim(dim0, self->ndim, &a));
    TD_TRY(shape_wrap_dim(dim1, self->ndim, &b));
    td_layout_of(self, out);
    if (self->ndim == 0) return TD_OK;
    out->sizes[a] = self->sizes[b];
    out->strides[a] = self->strides[b];
    out->sizes[b] = self->sizes[a];
    out->strides[b] = self->strides[a];
    return TD_OK;
}

td_status view_t(const td_tensor *self, td_layout *out) {
    char text[96];
    if (self->ndim > 2)
        return td_fail(TD_ERR_ARG, 0, "model",
                       "sizes %s have more than two dimensions; use transpose or permute",
                       td_sizes_text(self->sizes, self->ndim, text, sizeof text));
    if (self->ndim < 2) return view_alias(self, out);
    return view_transposed(self, 0, 1, out);
}

td_status view_squeezed(const td_tensor *self, const td_ints *dim, td_layout *out) {
    unsigned bits;
    TD_TRY(shape_dim_bits(dim, self->ndim, &bits));
    /* An empty list squeezes nothing, an absent one everything. */
    if (dim->count == 0) bits = 0;
    td_layout_of(self, out);
    out->ndim = 0;
    for (int d = 0; d < self->ndim; d++) {
        if ((bits >> d & 1) && self->sizes[d] == 1) continue;
        out->sizes[out->ndim] = self->sizes[d];
        out->strides[out->ndim++] = self->strides[d];
    }
    return TD_OK;
}

td_status view_unsqueezed(const td_tensor *self, int64_t dim, td_layout *out) {
    int at;
    if (self->ndim == TD_MAX_DIMS)
        return td_fail(TD_ERR_ARG, 0, "model", "there would be more than %d dimensions", TD_MAX_DIMS);
    TD_TRY(shape_wrap_dim(dim, self->ndim + 1, &at));
    td_layout_of(self, out);
    out->ndim++;
    for (int d = self->ndim; d > at; d--) {
        out->sizes[d] = out->sizes[d - 1];
        out->strides[d] = out->strides[d - 1];
    }
    out->sizes[at] = 1;
    out->strides[at] = at < self->ndim ? self->sizes[at] * self->strides[at] : 1;
    return TD_OK;
}

td_status view_expanded(const td_tensor *self, const td_ints *size, td_layout *out) {
    int added = (int)size->count - self->ndim;
    char texts[2][96];
    bool fits = added >= 0;
    td_layout_of(self, out);
    out->ndim = (int)size->count;
    for (int d = 0; fits && d < out->ndim; d++) {
        int64_t old = d < added ? 1 : self->sizes[d - added];
        out->sizes[d] = size->at[d] == -1 && d >= added ? old : size->at[d];
        out->strides[d] = d < added ? 0 : self->strides[d - added];
        if (out->sizes[d] == old) continue;
        fits = old == 1 && out->sizes[d] >= 0;
        out->strides[d] = 0;
    }
    if (fits) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "sizes %s cannot be expanded to %s",
                   td_sizes_text(self->sizes, self->ndim, texts[0], sizeof texts[0]),
                   td_sizes_text(size->at, (int)size->count, texts[1], sizeof texts[1]));
}

/* Positions start, start + step, ... of a dim, `count` of them. */
static void take_along(const td_tensor *self, int dim, int64_t start, int64_t count, int64_t step,
                       td_layout *out) {
    td_layout_of(self, out);
    out->offset += start * self->strides[dim];
    out->sizes[dim] = count;
    out->strides[dim] *= step;
}

static td_status check_has_dims(const td_tensor *self) {
    if (self->ndim > 0) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "a tensor without dimensions has no parts");
}

td_status view_narrowed(const td_tensor *self, int64_t dim, int64_t start, int64_t length, td_layout *out) {
    int d;
    TD_TRY(check_has_dims(self));
    TD_TRY(shape_wrap_dim(dim, self->ndim, &d));
    int64_t from = start < 0 ? start + self->sizes[d] : start;
    if (from < 0 || length < 0 || from > self->sizes[d] || length > self->sizes[d] - from)
        return td_fail(TD_ERR_ARG, 0, "model", "start %lld, length %lld is not within dim %d of size %lld",
                       (long long)start, (long long)length, d, (long long)self->sizes[d]);
    take_along(self, d, from, length, 1, out);
    return TD_OK;
}

/* A bound counted from the end when negative, cut to [0, size]. */
static int64_t clamp_bound(int64_t bound, int64_t size) {
    if (bound < 0) bound += size;
    return bound < 0 ? 0 : bound > size ? size : bound;
}

td_status view_sliced(const td_tensor *self, int64_t dim, int64_t start, int64_t end, int64_t step,
                      td_layout *out) {
    int d;
    TD_TRY(check_has_dims(self));
    TD_TRY(shape_wrap_dim(dim, self->ndim, &d));
    if (step < 1) return td_fail(TD_ERR_ARG, 0, "model", "step %lld is not positive", (long long)step);
    int64_t size = self->sizes[d];
    int64_t from = start == TD_NONE ? 0 : clamp_bound(start, size);
    int64_t to = end == TD_NONE ? size : clamp_bound(end, size);
    take_along(self, d, from, to > from ? (to - from - 1) / step + 1 : 0, step, out);
    return TD_OK;
}

td_status view_selected(const td_tensor *self, int64_t dim, int64_t index, td_layout *out) {
    int d;
    TD_TRY(check_has_dims(self));
    TD_TRY(shape_wrap_dim(dim, self->ndim, &d));
    int64_t size = self->sizes[d], at = index < 0 ? index + size : index;
    if (at < 0 || at >= size)
        return td_fail(TD_ERR_ARG, 0, "model", "index %lld is not within dim %d of size %lld",
                       (long long)index, d, (long long)size);
    take_along(self, d, at, 1, 1, out);
    out->ndim--;
    for (; d < out->ndim; d++) {
        out->sizes[d] = out->sizes[d + 1];
        out->strides[d] = out->strides[d + 1];
    }
    return TD_OK;
}

td_status view_as_strided(const td_tensor *self, const td_ints *size, const td_ints *stride,
                          int64_t storage_offset, td_layout *out) {
    td_layout_of(self, out);
    if (stride->count != size->count)
        return td_fail(TD_ERR_ARG, 0, "model", "%lld strides for %lld sizes", (long long)stride->count,
                       (long long)size->count);
    if (storage_offset != TD_NONE) out->offset = storage_offset;
    TD_TRY(shape_set_sizes(size, out));
    memcpy(out->strides, stride->at, sizeof(int64_t) * (size_t)size->count);
    int64_t last = out->offset,
            elements = (int64_t)(self->storage->bytes / td_dtype_size((td_dtype)self->dtype));
    bool fits = last >= 0, empty = false;
    for (int d = 0; d < out->ndim; d++) {
        int64_t reach;
        empty |= out->sizes[d] == 0;
        fits = fits && out->strides[d] >= 0 && td_mul_i64(out->sizes[d] - 1, out->strides[d], &reach) &&
               td_add_i64(last, reach, &last);
    }
    if (empty || (fits && last < elements)) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "the view does not fit a storage of %lld elements",
                   (long long)elements);
}
