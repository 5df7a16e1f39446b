/*
 * Tensors: n-dimensional arrays of numbers, up to 8 dimensions, each a shaped view of a storage. Central
 * object: td_tensor. Its life: an operation (model/ops/ops.h) or td_tensor_from makes it and the current
 * scope owns it; the scope's close drops it unless it was handed up or kept (model/tensor/scope.h). Kept
 * tensors live until td_release. Tensors share storage when one is a view of the other; writes are seen by
 * both. The thread that has the tensor's context may call these functions; td_release of a kept tensor is
 * legal from any thread.
 *
 * Sizes and strides are counted in elements. The functions that only look take no NULL; td_tensor_item and
 * the copies accept NULL, as the result of a failed operation, and then return the scope's status.
 */
#ifndef TANDEM_MODEL_TENSOR_TENSOR_H
#define TANDEM_MODEL_TENSOR_TENSOR_H

#include "base/dtype.h"

TD_BEGIN_DECLS

#define TD_MAX_DIMS 8

/* A short list of integers by value: sizes, dimensions. TD_INTS(2, 3) in C; in C++ fill it by hand. */
typedef struct td_ints {
    int64_t count; /* -1 is an absent list, where an operation takes one */
    int64_t at[TD_MAX_DIMS];
} td_ints;

#define TD_INTS(...)                                                                                         \
    ((td_ints){(int64_t)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}})

/* `count` numbers from memory; more than TD_MAX_DIMS give a list of 9, which every operation refuses. */
TD_API td_ints td_ints_from(const int64_t *values, int64_t count);

/* --- looking --------------------------------------------------------------------------------------- */

TD_API int td_tensor_ndim(const td_tensor *x);
TD_API int64_t td_tensor_size(const td_tensor *x, int dim); /* -1 is the last; a dim it lacks has size 1 */
TD_API td_ints td_tensor_sizes(const td_tensor *x);
TD_API td_ints td_tensor_strides(const td_tensor *x);
TD_API int64_t td_tensor_count(const td_tensor *x); /* elements: the product of the sizes */
TD_API td_dtype td_tensor_dtype(const td_tensor *x);
TD_API td_device td_tensor_device(const td_tensor *x);
TD_API bool td_tensor_is_contiguous(const td_tensor *x);    /* row-major without gaps */
TD_API bool td_tensor_is_channels_last(const td_tensor *x); /* N, C, H, W stored as N, H, W, C */

/* The first element's address on the tensor's device, *lent* as long as the tensor; element (i, j, ...) lies
 * at i * stride 0 + j * stride 1 + ... elements from it. Whoever writes through it calls td_tensor_written
 * after, so that autograd notices. NULL only for a tensor without elements. */
TD_API void *td_tensor_data(const td_tensor *x);
TD_API void td_tensor_written(td_tensor *x);

TD_API td_storage *td_tensor_storage(const td_tensor *x); /* *lent* */
TD_API int64_t td_tensor_offset(const td_tensor *x);      /* of the first element in its storage */
TD_API uint32_t td_tensor_version(const td_tensor *x);    /* writes to its storage so far */
TD_API td_tensor *td_tensor_base(const td_tensor *x);     /* what it is a view of, *lent*; or NULL */

/* "f32 (2, 3)" into the caller's buffer, cut to fit; returns it. NULL writes "nothing". */
TD_API char *td_tensor_describe(const td_tensor *x, char *text, size_t bytes);

/* --- making and reading, in and out of host memory --------------------------------------------------- */

/* A new contiguous tensor in the current scope with a copy of `data`, which is row-major and of `dtype`.
 * NULL after marking the scope: bad sizes, no memory. */
TD_API td_tensor *td_tensor_from(const void *data, td_dtype dtype, td_ints sizes);

/* A tensor in the current scope over memory of `storage` from element `offset` on, no copy: strides NULL
 * means contiguous. The storage is kept by the tensor. NULL after marking the scope when it does not fit. */
TD_API td_tensor *td_tensor_wrap(td_storage *storage, int64_t offset, td_dtype dtype, td_ints sizes,
                                 const td_ints *strides);

/* The only element of a tensor as a number. TD_ERR_ARG when it has more than one or none. */
TD_API td_status td_tensor_item(const td_tensor *x, double *value);
TD_API td_status td_tensor_item_i64(const td_tensor *x, int64_t *value);

/* All elements in row-major order and in the tensor's dtype; `bytes` must be exactly theirs (TD_ERR_ARG).
 * copy_from counts as a write; it refuses a leaf that requires grad while grad mode is on. */
TD_API td_status td_tensor_copy_to(const td_tensor *x, void *data, size_t bytes);
TD_API td_status td_tensor_copy_from(td_tensor *x, const void *data, size_t bytes);

TD_END_DECLS

#endif
