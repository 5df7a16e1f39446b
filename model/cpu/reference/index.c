/* Rearranging by position: cat, gather, scatter_add, the gradient of as_strided, arange. */
#include "base/memory.h"
#include "model/cpu/reference/walk.h"

static void copy_element(void *to, int64_t to_index, td_dtype to_dtype, const void *from, int64_t from_index,
                         td_dtype from_dtype) {
    const size_t size = td_dtype_size(to_dtype);
    if (to_dtype == from_dtype)
        memcpy((char *)to + to_index * (int64_t)size, element(from, from_index, from_dtype), size);
    else if (td_dtype_is_floating(from_dtype))
        store_real(to, to_index, to_dtype, load_real(from, from_index, from_dtype));
    else
        store_int(to, to_index, to_dtype, load_int(from, from_index, from_dtype));
}

static td_status cat(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_cat_args *a = args;
    td_tensor *y = out[0];
    const int64_t dim = wrap_dim(a->dim, y->ndim);
    int64_t start = 0;
    for (size_t i = 0; i < a->tensors.count; i++) {
        const td_tensor *x = a->tensors.at[i];
        if (x->count == 0) continue; /* an empty one-dimensional tensor fits everywhere, as in PyTorch */
        if (x->dtype != y->dtype && !(is_computable(x->dtype) && is_computable(y->dtype)))
            return refuse_dtype(x);
        walk w = walk_over(x, y, NULL, NULL);
        do
            copy_element(td_tensor_bytes(y), start * y->strides[dim] + w.offset[1], y->dtype,
                         td_tensor_bytes(x), w.offset[0], x->dtype);
        while (walk_next(&w));
        start += x->sizes[dim];
    }
    return TD_OK;
}

/* The index at `offset`, which must be a position along a dimension of `extent`. */
static td_status read_index(const td_tensor *index, int64_t offset, int64_t extent, int64_t *position) {
    const int64_t i = load_int(td_tensor_bytes(index), offset, index->dtype);
    if (i < 0 || i >= extent)
        return td_fail(TD_ERR_ARG, 0, "model", "index %lld is outside a dimension of size %lld", (long long)i,
                       (long long)extent);
    *position = i;
    return TD_OK;
}

/* A walk over `index` with the strides of x (0 along dim), index and other. */
static walk walk_index(const td_tensor *index, const td_tensor *x, int64_t dim, const td_tensor *other) {
    walk w = {0};
    for (int d = 0; d < index->ndim; d++)
        walk_add(&w, index->sizes[d], d == dim ? 0 : x->strides[d], index->strides[d], other->strides[d], 0);
    return w;
}

static td_status gather(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_gather_args *a = args;
    const td_tensor *x = a->self;
    const int64_t dim = wrap_dim(a->dim, x->ndim);
    walk w = walk_index(a->index, x, dim, out[0]);
    if (walk_is_empty(&w)) return TD_OK;
    do {
        int64_t i = 0;
        TD_TRY(read_index(a->index, w.offset[1], x->ndim ? x->sizes[dim] : 1, &i));
        copy_element(td_tensor_bytes(out[0]), w.offset[2], x->dtype, td_tensor_bytes(x),
                     w.offset[0] + (x->ndim ? i * x->strides[dim] : 0), x->dtype);
    } while (walk_next(&w));
    return TD_OK;
}

static td_status scatter_add(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_scatter_add_args *a = args;
    td_tensor *y = out[0];
    const td_dtype dtype = y->dtype;
    if (!is_computable(dtype)) return refuse_dtype(y);
    if (y != a->self) {
        walk all = walk_over(y, a->self, NULL, NULL);
        if (walk_is_empty(&all)) return TD_OK;
        do
            copy_element(td_tensor_bytes(y), all.offset[0], dtype, td_tensor_bytes(a->self), all.offset[1],
                         a->self->dtype);
        while (walk_next(&all));
    }
    const int64_t dim = wrap_dim(a->dim, y->ndim);
    walk w = walk_index(a->index, y, dim, a->src);
    if (walk_is_empty(&w)) return TD_OK;
    void *to = td_tensor_bytes(y);
    do {
        int64_t i = 0;
        TD_TRY(read_index(a->index, w.offset[1], y->ndim ? y->sizes[dim] : 1, &i));
        const int64_t at = w.offset[0] + (y->ndim ? i * y->strides[dim] : 0);
        const void *from = td_tensor_bytes(a->src);
        if (td_dtype_is_floating(dtype))
            store_real(to, at, dtype, load_real(to, at, dtype) + load_real(from, w.offset[2], a->src->dtype));
        else
            store_int(to, at, dtype,
                      (int64_t)((uint64_t)load_int(to, at, dtype) +
                                (uint64_t)load_int(from, w.offset[2], a->src->dtype)));
    } while (walk_next(&w));
    return TD_OK;
}

static walk walk_geometry(const td_ints *sizes, const td_ints *strides) {
    walk w = {0};
    for (int64_t d = 0; d < sizes->count; d++) walk_add(&w, sizes->at[d], strides->at[d], 0, 0, 0);
    return w;
}

/* Elements of storage that a geometry without negative strides reaches, from its offset on. */
static int64_t span(const td_ints *sizes, const td_ints *strides) {
    int64_t last = 0;
    for (int64_t d = 0; d < sizes->count; d++) {
        if (sizes->at[d] == 0) return 0;
        last += (sizes->at[d] - 1) * strides->at[d];
    }
    return last + 1;
}

/* The gradient lands in a picture of the storage, which is then read in the input's geometry. An element that
 * the input itself shows several times shares its gradient among them (ATen, as_strided_backward). */
static td_status as_strided_backward(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_as_strided_backward_args *a = args;
    const td_tensor *grad = a->grad_output;
    td_tensor *y = out[0];
    if (!is_computable(grad->dtype)) return refuse_dtype(grad);
    const int64_t start = a->storage_offset == TD_NONE ? a->input_offset : a->storage_offset;
    const int64_t low = start < a->input_offset ? start : a->input_offset;
    const int64_t view_end = start + span(&a->size, &a->stride);
    const int64_t input_end = a->input_offset + span(&a->input_size, &a->input_stride);
    const int64_t count = (view_end > input_end ? view_end : input_end) - low;
    if (y->count == 0) return TD_OK;
    double *sums = td_calloc((size_t)count, 2 * sizeof *sums), *shown = sums + count;
    if (!sums) return TD_ERR_MEMORY;

    walk view = walk_geometry(&a->size, &a->stride), from = walk_over(grad, NULL, NULL, NULL);
    if (grad->count > 0) {
        do {
            sums[start - low + view.offset[0]] +=
                load_real(td_tensor_bytes(grad), from.offset[0], grad->dtype);
            walk_next(&view);
        } while (walk_next(&from));
    }
    walk input = walk_geometry(&a->input_size, &a->input_stride), to = walk_over(y, NULL, NULL, NULL);
    do shown[a->input_offset - low + input.offset[0]]++;
    while (walk_next(&input));
    do {
        const int64_t at = a->input_offset - low + input.offset[0];
        store_real(td_tensor_bytes(y), to.offset[0], y->dtype, sums[at] / shown[at]);
        walk_next(&input);
    } while (walk_next(&to));
    td_free(sums);
    return TD_OK;
}

static td_status arange_start(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_arange_start_args *a = args;
    td_tensor *y = out[0];
    if (!is_computable(y->dtype)) return refuse_dtype(y);
    for (int64_t i = 0; i < y->count; i++) {
        if (td_dtype_is_floating(y->dtype))
            store_real(td_tensor_bytes(y), i * y->strides[0], y->dtype,
                       td_scalar_to_real(a->start) + (double)i * td_scalar_to_real(a->step));
        else
            store_int(td_tensor_bytes(y), i * y->strides[0], y->dtype,
                      td_scalar_to_int(a->start) + i * td_scalar_to_int(a->step));
    }
    return TD_OK;
}

const td_kernel_row cpu_reference_index[] = {
    {TD_OP_CAT, cat},
    {TD_OP_GATHER, gather},
    {TD_OP_SCATTER_ADD, scatter_add},
    {TD_OP_AS_STRIDED_BACKWARD, as_strided_backward},
    {TD_OP_ARANGE_START, arange_start},
    TD_KERNELS_END,
};
