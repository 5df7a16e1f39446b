/* What the shape and view functions share. Internal to model/ops. */
#ifndef TANDEM_MODEL_OPS_SHAPE_SHAPE_H
#define TANDEM_MODEL_OPS_SHAPE_SHAPE_H

#include "model/tensor/internal.h"

/* `dim` counted from the end when negative, into 0 <= *wrapped < ndim; a tensor without dimensions counts as
 * having one. TD_ERR_ARG outside. */
td_status shape_wrap_dim(int64_t dim, int ndim, int *wrapped);

/* One bit per dimension of `dim`; all of them when it is empty or absent. TD_ERR_ARG for one outside or
 * twice. */
td_status shape_dim_bits(const td_ints *dim, int ndim, unsigned *bits);

/* Refuses all but exactly `ndim` dimensions. */
td_status shape_check_ndim(const char *name, const td_tensor *x, int ndim);
td_status shape_check_same_dtype(const char *name, const td_tensor *x, const td_tensor *y);
/* Sizes that are not negative and whose product fits. */
td_status shape_set_sizes(const td_ints *sizes, td_layout *out);

#endif
