/*
 * The argument types of operations (model/ops/ops.h), beside tensors and td_ints: numbers that remember their
 * kind, lists of tensors, and a few names. Plain values, nothing to free; any thread may call.
 */
#ifndef TANDEM_MODEL_OPS_TYPES_H
#define TANDEM_MODEL_OPS_TYPES_H

#include "model/tensor/tensor.h"

TD_BEGIN_DECLS

/* A number as an operation's argument. Its kind matters to the result's dtype, as in PyTorch: an i64 tensor
 * plus 2 is i64, plus 2.0 it is f32. Zeroed memory is an absent number. */
typedef enum td_scalar_kind { TD_SCALAR_NONE, TD_SCALAR_BOOL, TD_SCALAR_INT, TD_SCALAR_REAL } td_scalar_kind;

typedef struct td_scalar {
    td_scalar_kind kind;
    union {
        int64_t integer; /* of TD_SCALAR_INT and TD_SCALAR_BOOL (0 or 1) */
        double real;     /* of TD_SCALAR_REAL */
    } value;
} td_scalar;

static inline td_scalar td_scalar_int(int64_t value) {
    td_scalar scalar = {TD_SCALAR_INT, {value}};
    return scalar;
}

static inline td_scalar td_scalar_bool(bool value) {
    td_scalar scalar = {TD_SCALAR_BOOL, {value}};
    return scalar;
}

static inline td_scalar td_scalar_real(double value) {
    td_scalar scalar = {TD_SCALAR_REAL, {0}};
    scalar.value.real = value;
    return scalar;
}

/* td_num(2) is an integer, td_num(2.0) is real: td_pow(x, td_num(2)), .alpha = td_num(0.5). */
/* clang-format off */
#define td_num(number)                                                                                       \
    _Generic((number), float: td_scalar_real, double: td_scalar_real, bool: td_scalar_bool,                 \
             default: td_scalar_int)(number)
/* clang-format on */

static inline double td_scalar_to_real(td_scalar scalar) {
    return scalar.kind == TD_SCALAR_REAL ? scalar.value.real : (double)scalar.value.integer;
}
static inline int64_t td_scalar_to_int(td_scalar scalar) {
    return scalar.kind == TD_SCALAR_REAL ? (int64_t)scalar.value.real : scalar.value.integer;
}

/* An absent `int?` and an absent `ScalarType?`; an absent `int[]?` has count -1. */
#define TD_NONE       INT64_MIN
#define TD_DTYPE_NONE TD_DTYPE_COUNT
#ifdef __cplusplus
#define TD_NO_INTS (td_ints{-1, {0}})
#else
#define TD_NO_INTS ((td_ints){-1, {0}})
#endif

/* A list of tensors, *lent* for the call: td_cat(TD_TENSORS(a, b), 1). */
typedef struct td_tensors {
    td_tensor *const *at;
    size_t count;
} td_tensors;

#define TD_TENSORS(...)                                                                                      \
    ((td_tensors){(td_tensor *const[]){__VA_ARGS__},                                                         \
                  sizeof((td_tensor *const[]){__VA_ARGS__}) / sizeof(td_tensor *)})

typedef enum td_memory_format {
    TD_MEMORY_FORMAT_CONTIGUOUS,    /* row-major */
    TD_MEMORY_FORMAT_CHANNELS_LAST, /* four dimensions N, C, H, W stored as N, H, W, C */
    TD_MEMORY_FORMAT_PRESERVE       /* the argument's strides, where they leave no gaps */
} td_memory_format;

typedef enum td_reduction { TD_REDUCTION_NONE, TD_REDUCTION_MEAN, TD_REDUCTION_SUM } td_reduction;

/* What the macros of ops.h expand to: arguments over the row's defaults, then the call. */
#define TD_INVOKE(name, ...) TD_INVOKE_WITH_(name##_args, name##_call(td_arguments), __VA_ARGS__)
#define TD_INVOKE_IN_PLACE(name, ...)                                                                        \
    TD_INVOKE_WITH_(name##_args, name##_call_in_place(td_arguments), __VA_ARGS__)
#define TD_INVOKE_OUT(out, name, ...)                                                                        \
    TD_INVOKE_WITH_(name##_args, name##_call_out(out, td_arguments), __VA_ARGS__)
#define TD_INVOKE_WITH_(type, call, ...)                                                                     \
    __extension__({                                                                                          \
        TD_INVOKE_QUIET_ type td_arguments = {__VA_ARGS__};                                                  \
        TD_INVOKE_LOUD_ call;                                                                                \
    })
#ifdef __clang__
#define TD_INVOKE_QUIET_                                                                                     \
    _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Winitializer-overrides\"")         \
        _Pragma("clang diagnostic ignored \"-Wmissing-field-initializers\"")
#define TD_INVOKE_LOUD_ _Pragma("clang diagnostic pop")
#else
#define TD_INVOKE_QUIET_                                                                                     \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Woverride-init\"")                     \
        _Pragma("GCC diagnostic ignored \"-Wmissing-field-initializers\"")
#define TD_INVOKE_LOUD_ _Pragma("GCC diagnostic pop")
#endif

TD_END_DECLS

#endif
