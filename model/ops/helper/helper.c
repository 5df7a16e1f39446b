/* Gradients that a single expression cannot say; each is made of operations, so it can be derived again. */
#include "base/memory.h"
#include "model/ops/dispatch.h"
#include "model/ops/shape/shape.h"

td_tensor *helper_pow_gradient(td_tensor *grad, td_tensor *self, td_scalar exponent) {
    double e = td_scalar_to_real(exponent);
    if (e == 0) return td_zeros_like(self, .dtype = (td_dtype)grad->dtype);
    td_scalar less = exponent.kind == TD_SCALAR_REAL ? td_scalar_real(e - 1)
                                                     : td_scalar_int(td_scalar_to_int(exponent) - 1);
    return td_mul(grad, td_mul_scalar(td_pow(self, less), exponent));
}

/* Nothing flows where the clamp holds self at a bound, the bound itself included. */
td_tensor *helper_clamp_gradient(td_tensor *grad, td_tensor *self, td_scalar min, td_scalar max) {
    td_tensor *free = NULL;
    if (min.kind != TD_SCALAR_NONE) free = td_gt_scalar(self, min);
    if (max.kind != TD_SCALAR_NONE) {
        td_tensor *below = td_lt_scalar(self, max);
        free = min.kind != TD_SCALAR_NONE ? td_logical_and(free, below) : below;
    }
    return td_masked_fill(grad, td_logical_not(free), td_scalar_int(0));
}

/* The dimensions that a reduction has dropped, put back with size 1. */
static td_tensor *restored(td_tensor *x, int ndim, td_ints dim, bool keepdim) {
    unsigned bits;
    if (keepdim || ndim == 0) return x;
    td_status status = shape_dim_bits(&dim, ndim, &bits);
    if (status < 0) return td_scope_fail(status);
    for (int d = 0; d < ndim; d++)
        if (bits >> d & 1) x = td_unsqueeze(x, d);
    return x;
}

td_tensor *helper_reduced_gradient(td_tensor *grad, td_ints sizes, td_ints dim, bool keepdim) {
    return td_expand(restored(grad, (int)sizes.count, dim, keepdim), sizes);
}

td_tensor *helper_mean_gradient(td_tensor *grad, td_ints sizes, td_ints dim, bool keepdim) {
    int64_t whole = 1;
    for (int d = 0; d < sizes.count; d++) whole *= sizes.at[d];
    double count = grad->count ? (double)whole / (double)grad->count : 0;
    return helper_reduced_gradient(td_div_scalar(grad, td_scalar_real(count)), sizes, dim, keepdim);
}

td_tensor *helper_amax_gradient(td_tensor *grad, td_tensor *self, td_tensor *result, td_ints dim,
                                bool keepdim) {
    td_tensor *largest = td_eq(self, restored(result, self->ndim, dim, keepdim));
    td_tensor *share = td_to(largest, (td_dtype)grad->dtype);
    td_tensor *count = td_sum(share, dim, true);
    return td_div(td_mul(restored(grad, self->ndim, dim, keepdim), share), count);
}

td_tensor *helper_picked_gradient(td_tensor *grad, td_tensor *indices, td_ints sizes, int64_t dim,
                                  bool keepdim) {
    if (!keepdim && sizes.count) {
        grad = td_unsqueeze(grad, dim < 0 ? dim + sizes.count : dim);
        indices = td_unsqueeze(indices, dim < 0 ? dim + sizes.count : dim);
    }
    if (!grad) return NULL;
    return td_scatter_add(td_zeros(sizes, .dtype = (td_dtype)grad->dtype), dim, indices, grad);
}

/* x in the front corner of zeros. */
td_tensor *helper_padded(td_tensor *x, td_ints sizes) {
    if (!x) return NULL;
    td_tensor *whole = NULL, *corner = NULL;
    for (int d = 0; d < sizes.count; d++) {
        if (x->sizes[d] == sizes.at[d]) continue;
        if (!whole) whole = corner = td_zeros(sizes, .dtype = (td_dtype)x->dtype);
        corner = td_narrow(corner, d, 0, x->sizes[d]);
    }
    if (!whole) return x;
    td_copy_(corner, x);
    return td_alias(whole);
}

td_tensor *helper_permuted_back(td_tensor *grad, td_ints dims) {
    td_ints back = dims;
    for (int d = 0; d < dims.count; d++) {
        int64_t from = dims.at[d];
        back.at[from < 0 ? from + dims.count : from] = d;
    }
    return td_permute(grad, back);
}

/* Zeros of the whole with the gradient written into the part that the view showed. */
td_tensor *helper_slice_gradient(td_tensor *grad, td_ints sizes, int64_t dim, int64_t start, int64_t end,
                                 int64_t step) {
    td_tensor *whole = td_zeros(sizes, .dtype = (td_dtype)grad->dtype);
    td_copy_(td_slice(whole, dim, .start = start, .end = end, .step = step), grad);
    return td_alias(whole);
}

td_tensor *helper_narrow_gradient(td_tensor *grad, td_ints sizes, int64_t dim, int64_t start,
                                  int64_t length) {
    td_tensor *whole = td_zeros(sizes, .dtype = (td_dtype)grad->dtype);
    td_copy_(td_narrow(whole, dim, start, length), grad);
    return td_alias(whole);
}

td_tensor *helper_select_gradient(td_tensor *grad, td_ints sizes, int64_t dim, int64_t index) {
    td_tensor *whole = td_zeros(sizes, .dtype = (td_dtype)grad->dtype);
    td_copy_(td_select(whole, dim, index), grad);
    return td_alias(whole);
}

td_status helper_cat_gradient(td_tensor *grad, td_longs lengths, int64_t dim, td_tensor **out) {
    int64_t start = 0;
    for (int64_t i = 0; i < lengths.count; i++) {
        /* An empty one-dimensional tensor was passed over: any empty part fits it. */
        out[i] = td_narrow(grad, dim, start, lengths.at[i]);
        start += lengths.at[i];
    }
    return td_gradient_status();
}

/* `grad` laid out in memory as the input was, and seen as as_strided saw the input. */
td_tensor *helper_strided_again(td_tensor *grad, td_ints input_size, td_ints input_stride,
                                int64_t input_offset, td_ints size, td_ints stride, int64_t storage_offset) {
    if (storage_offset == TD_NONE) storage_offset = input_offset;
    int64_t first = input_offset < storage_offset ? input_offset : storage_offset;
    int64_t ends[2] = {input_offset - first + 1, storage_offset - first + 1};
    for (int d = 0; d < input_size.count; d++) ends[0] += (input_size.at[d] - 1) * input_stride.at[d];
    for (int d = 0; d < size.count; d++) ends[1] += (size.at[d] - 1) * stride.at[d];
    int64_t extent = ends[0] > ends[1] ? ends[0] : ends[1];
    td_tensor *memory = td_zeros(TD_INTS(extent > 0 ? extent : 0), .dtype = (td_dtype)grad->dtype);
    td_copy_(td_as_strided(memory, input_size, input_stride, input_offset - first), grad);
    return td_as_strided(memory, size, stride, storage_offset - first);
}

static td_tensor *as_matrix(td_tensor *x) {
    if (x->ndim == 2) return x;
    int64_t columns = x->sizes[x->ndim - 1], rows = 1;
    for (int d = 0; d < x->ndim - 1; d++) rows *= x->sizes[d];
    return td_reshape(x, TD_INTS(rows, columns));
}

td_tensor *helper_linear_weight_gradient(td_tensor *grad, td_tensor *input) {
    td_tensor *rows = as_matrix(grad);
    return rows ? td_mm(td_t(rows), as_matrix(input)) : NULL;
}

/* nll_loss, with the total weight that is known already. */
td_tensor *helper_nll_loss_again(td_tensor *grad, td_tensor *target, td_tensor *weight,
                                 td_reduction reduction, int64_t ignore_index, td_tensor *total_weight) {
    if (reduction != TD_REDUCTION_MEAN)
        return td_nll_loss(grad, target, .weight = weight, .reduction = reduction,
                           .ignore_index = ignore_index);
    return td_div(td_nll_loss(grad, target, .weight = weight, .reduction = TD_REDUCTION_SUM,
                              .ignore_index = ignore_index),
                  total_weight);
}

td_tensor *helper_image_sum(td_tensor *grad) { return td_sum(grad, TD_INTS(0, 2, 3)); }
