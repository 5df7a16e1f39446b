/* PyTorch's type promotion. Internal to model/. */
#ifndef TANDEM_MODEL_OPS_PROMOTE_H
#define TANDEM_MODEL_OPS_PROMOTE_H

#include "model/ops/types.h"

/* The smallest dtype that holds both: i32 and f16 give f16, f16 and bf16 give f32. */
td_dtype td_promote(td_dtype a, td_dtype b);

/* The dtype in which two tensors, or a tensor and a number, are computed: a tensor without dimensions and a
 * number count only by their kind (bool, integer, real) where the other is not below it. */
td_dtype td_result_type(const td_tensor *a, const td_tensor *b);
td_dtype td_result_type_scalar(const td_tensor *a, td_scalar b);

/* The dtype itself when it is floating, else f32. */
static inline td_dtype td_floating_of(td_dtype dtype) {
    return td_dtype_is_floating(dtype) ? dtype : TD_DTYPE_F32;
}

/* The dtype of a number alone: bool, i64 or f32. */
td_dtype td_scalar_dtype(td_scalar scalar);

#endif
