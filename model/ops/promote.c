/* As c10/core/ScalarType (promoteTypes) and at::result_type have it. */
#include "model/ops/promote.h"

#include "model/tensor/internal.h"

/* Where a dtype stands; u8 and i8 are side by side, and so are f16 and bf16: their pair goes one up. */
static int rank_of(td_dtype dtype) {
    static const int ranks[TD_DTYPE_COUNT] = {
        [TD_DTYPE_BOOL] = 0, [TD_DTYPE_U8] = 1,  [TD_DTYPE_I8] = 1,   [TD_DTYPE_I16] = 2, [TD_DTYPE_I32] = 3,
        [TD_DTYPE_I64] = 4,  [TD_DTYPE_F16] = 5, [TD_DTYPE_BF16] = 5, [TD_DTYPE_F32] = 6, [TD_DTYPE_F64] = 7,
    };
    return ranks[dtype];
}

td_dtype td_promote(td_dtype a, td_dtype b) {
    if (a == b) return a;
    if (rank_of(a) == rank_of(b)) return td_dtype_is_floating(a) ? TD_DTYPE_F32 : TD_DTYPE_I16;
    return rank_of(a) > rank_of(b) ? a : b;
}

/* `high` has precedence; `low` counts only by being of a higher kind. */
static td_dtype combine(td_dtype high, td_dtype low) {
    if (td_dtype_is_floating(high)) return high;
    if (high == TD_DTYPE_BOOL || td_dtype_is_floating(low)) return td_promote(high, low);
    return high;
}

td_dtype td_result_type(const td_tensor *a, const td_tensor *b) {
    td_dtype x = (td_dtype)a->dtype, y = (td_dtype)b->dtype;
    if (x == y) return x;
    if ((a->ndim == 0) == (b->ndim == 0)) return td_promote(x, y);
    return a->ndim ? combine(x, y) : combine(y, x);
}

td_dtype td_scalar_dtype(td_scalar scalar) {
    return scalar.kind == TD_SCALAR_REAL  ? TD_DTYPE_F32
           : scalar.kind == TD_SCALAR_INT ? TD_DTYPE_I64
                                          : TD_DTYPE_BOOL;
}

td_dtype td_result_type_scalar(const td_tensor *a, td_scalar b) {
    return combine((td_dtype)a->dtype, td_scalar_dtype(b));
}
