/* Layouts of sums, extremes and what picks elements along a dimension. */
#include "model/ops/parts.h"
#include "model/ops/promote.h"
#include "model/ops/shape/shape.h"

static td_status reduced(const td_tensor *self, const td_ints *dim, bool keepdim, td_dtype dtype,
                         td_layout *out) {
    unsigned bits;
    TD_TRY(shape_dim_bits(dim, self->ndim, &bits));
    *out = (td_layout){.dtype = dtype};
    for (int d = 0; d < self->ndim; d++) {
        if (!(bits >> d & 1))
            out->sizes[out->ndim++] = self->sizes[d];
        else if (keepdim)
            out->sizes[out->ndim++] = 1;
    }
    td_layout_set_contiguous(out);
    return TD_OK;
}

/* An extreme of nothing is no number. */
static td_status check_not_empty(const td_tensor *self, const td_ints *dim) {
    unsigned bits;
    TD_TRY(shape_dim_bits(dim, self->ndim, &bits));
    for (int d = 0; d < self->ndim; d++)
        if ((bits >> d & 1) && self->sizes[d] == 0)
            return td_fail(TD_ERR_ARG, 0, "model", "dim %d, over which the largest is sought, has size 0", d);
    return TD_OK;
}

td_status shape_summed(const td_tensor *self, const td_ints *dim, bool keepdim, td_dtype dtype,
                       td_layout *out) {
    if (dtype == TD_DTYPE_NONE)
        dtype = td_dtype_is_floating((td_dtype)self->dtype) ? (td_dtype)self->dtype : TD_DTYPE_I64;
    return reduced(self, dim, keepdim, dtype, out);
}

td_status shape_averaged(const td_tensor *self, const td_ints *dim, bool keepdim, td_dtype dtype,
                         td_layout *out) {
    if (dtype == TD_DTYPE_NONE) dtype = (td_dtype)self->dtype;
    if (!td_dtype_is_floating(dtype))
        return td_fail(TD_ERR_ARG, 0, "model", "a mean is floating, but %s is not; give .dtype",
                       td_dtype_name(dtype));
    return reduced(self, dim, keepdim, dtype, out);
}

td_status shape_reduced(const td_tensor *self, const td_ints *dim, bool keepdim, td_layout *out) {
    TD_TRY(check_not_empty(self, dim));
    return reduced(self, dim, keepdim, (td_dtype)self->dtype, out);
}

td_status shape_reduced_with_indices(const td_tensor *self, int64_t dim, bool keepdim, td_layout *out) {
    td_ints dims = TD_INTS(dim);
    TD_TRY(shape_reduced(self, &dims, keepdim, &out[0]));
    out[1] = out[0];
    out[1].dtype = TD_DTYPE_I64;
    return TD_OK;
}

td_status shape_arg_reduced(const td_tensor *self, int64_t dim, bool keepdim, td_layout *out) {
    td_ints dims = dim == TD_NONE ? TD_NO_INTS : TD_INTS(dim);
    TD_TRY(shape_reduced(self, &dims, keepdim, out));
    out->dtype = TD_DTYPE_I64;
    return TD_OK;
}

td_status shape_normalized(const td_tensor *self, int64_t dim, td_dtype dtype, td_layout *out) {
    int wrapped;
    TD_TRY(shape_wrap_dim(dim, self->ndim, &wrapped));
    TD_TRY(shape_same(self, out));
    if (dtype != TD_DTYPE_NONE) out->dtype = dtype;
    if (!td_dtype_is_floating(out->dtype))
        return td_fail(TD_ERR_ARG, 0, "model", "it is floating, but %s is not; give .dtype",
                       td_dtype_name(out->dtype));
    return TD_OK;
}

/* Along `dim` an index goes anywhere; elsewhere it stays within `self`. */
static td_status check_index(const td_tensor *self, int64_t dim, const td_tensor *index) {
    int wrapped;
    char texts[2][96];
    TD_TRY(shape_wrap_dim(dim, self->ndim, &wrapped));
    if (index->dtype != TD_DTYPE_I64)
        return td_fail(TD_ERR_ARG, 0, "model", "index is %s, not i64", td_dtype_name((td_dtype)index->dtype));
    bool fits = index->ndim == self->ndim;
    for (int d = 0; fits && d < self->ndim; d++) fits = d == wrapped || index->sizes[d] <= self->sizes[d];
    if (fits) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "index of sizes %s does not fit self of sizes %s",
                   td_sizes_text(index->sizes, index->ndim, texts[0], sizeof texts[0]),
                   td_sizes_text(self->sizes, self->ndim, texts[1], sizeof texts[1]));
}

td_status shape_gathered(const td_tensor *self, int64_t dim, const td_tensor *index, td_layout *out) {
    TD_TRY(check_index(self, dim, index));
    TD_TRY(shape_same(index, out));
    out->dtype = (td_dtype)self->dtype;
    return TD_OK;
}

td_status shape_scattered(const td_tensor *self, int64_t dim, const td_tensor *index, const td_tensor *src,
                          td_layout *out) {
    TD_TRY(check_index(self, dim, index));
    TD_TRY(shape_check_same_dtype("src", src, self));
    bool fits = src->ndim == index->ndim;
    for (int d = 0; fits && d < src->ndim; d++) fits = index->sizes[d] <= src->sizes[d];
    char texts[2][96];
    if (!fits)
        return td_fail(TD_ERR_ARG, 0, "model", "src of sizes %s is smaller than index of %s",
                       td_sizes_text(src->sizes, src->ndim, texts[0], sizeof texts[0]),
                       td_sizes_text(index->sizes, index->ndim, texts[1], sizeof texts[1]));
    return shape_same(self, out);
}
