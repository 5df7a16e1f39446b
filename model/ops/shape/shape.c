/* Checks that several families of shape functions need. */
#include "model/ops/shape/shape.h"

#include <string.h>

td_status shape_wrap_dim(int64_t dim, int ndim, int *wrapped) {
    int64_t range = ndim ? ndim : 1;
    if (dim < -range || dim >= range)
        return td_fail(TD_ERR_ARG, 0, "model", "dim %lld is not within [%lld, %lld]", (long long)dim,
                       (long long)-range, (long long)(range - 1));
    *wrapped = (int)(dim < 0 ? dim + range : dim);
    return TD_OK;
}

td_status shape_dim_bits(const td_ints *dim, int ndim, unsigned *bits) {
    unsigned chosen = 0;
    for (int64_t i = 0; i < dim->count; i++) {
        int d = 0;
        TD_TRY(shape_wrap_dim(dim->at[i], ndim, &d));
        if (chosen >> d & 1) return td_fail(TD_ERR_ARG, 0, "model", "dim %d appears twice", d);
        chosen |= 1u << d;
    }
    *bits = dim->count > 0 ? chosen : ~0u;
    return TD_OK;
}

td_status shape_check_ndim(const char *name, const td_tensor *x, int ndim) {
    char text[96];
    if (x->ndim == ndim) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "%s has sizes %s, but %d dimensions are wanted", name,
                   td_sizes_text(x->sizes, x->ndim, text, sizeof text), ndim);
}

td_status shape_check_same_dtype(const char *name, const td_tensor *x, const td_tensor *y) {
    if (x->dtype == y->dtype) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "%s is %s beside %s", name, td_dtype_name((td_dtype)x->dtype),
                   td_dtype_name((td_dtype)y->dtype));
}

td_status shape_set_sizes(const td_ints *sizes, td_layout *out) {
    int64_t count;
    out->ndim = (int)sizes->count;
    memcpy(out->sizes, sizes->at, sizeof(int64_t) * (size_t)sizes->count);
    for (int d = 0; d < out->ndim; d++)
        if (out->sizes[d] < 0) return td_fail(TD_ERR_ARG, 0, "model", "size %lld", (long long)out->sizes[d]);
    if (!td_layout_count(out, &count))
        return td_fail(TD_ERR_ARG, 0, "model", "the sizes' product is too large");
    return TD_OK;
}
