/*
 * Operations by number: their names and arguments as data, and one way to call any of them. For tracing,
 * scripts, exporters and tests; model code uses the macros of model/ops/ops.h. Central object: td_op_info, a
 * constant row. Only the thread that has the context may call operations; the rest is read-only.
 */
#ifndef TANDEM_MODEL_OPS_VALUE_H
#define TANDEM_MODEL_OPS_VALUE_H

#include "model/ops/ops.h"

TD_BEGIN_DECLS

/* The type of an argument, by ATen's name; TD_VALUE_ABSENT is the kind of a value that is not given. */
typedef enum td_value_kind {
    TD_VALUE_ABSENT,
    TD_VALUE_TENSOR,        /* Tensor */
    TD_VALUE_TENSORS,       /* Tensor[] */
    TD_VALUE_SCALAR,        /* Scalar */
    TD_VALUE_INT,           /* int */
    TD_VALUE_INTS,          /* int[] */
    TD_VALUE_PAIR,          /* int[2] */
    TD_VALUE_FLOAT,         /* float: a double */
    TD_VALUE_BOOL,          /* bool */
    TD_VALUE_DTYPE,         /* ScalarType */
    TD_VALUE_MEMORY_FORMAT, /* MemoryFormat */
    TD_VALUE_REDUCTION      /* Reduction */
} td_value_kind;

typedef struct td_value {
    td_value_kind kind;
    union {
        td_tensor *tensor;
        td_tensors tensors;
        td_scalar scalar;
        int64_t integer;
        td_ints ints;
        int64_t pair[2];
        double real;
        bool boolean;
        td_dtype dtype;
        td_memory_format memory_format;
        td_reduction reduction;
    } as;
} td_value;

typedef struct td_op_arg {
    const char *name;
    td_value_kind kind;
    bool optional;       /* its type ends with `?`: may be absent */
    bool has_default;    /* may be left out */
    bool keyword_only;   /* stands after the `*` */
    bool differentiable; /* its row has a gradient for it */
    size_t offset;       /* in the operation's td_<op>_args */
} td_op_arg;

enum td_op_effect {
    TD_EFFECT_ALIAS = 1,  /* the result is a view of its first tensor argument, or may be */
    TD_EFFECT_WRITE = 2,  /* writes its first argument, and returns it */
    TD_EFFECT_RANDOM = 4, /* draws from the context's generator */
    TD_EFFECT_SYNC = 8,   /* waits for the device */
    TD_EFFECT_UPDATE = 16 /* overwrites an argument that is not its result: a buffer */
};

#define TD_OP_MAX_ARGS    12
#define TD_OP_MAX_RESULTS 2

typedef struct td_op_info {
    const char *name; /* "max_dim": the C name without td_ */
    const char *doc;
    const char *signature; /* ATen's notation, as in ops.def */
    int arg_count;
    const td_op_arg *args;
    int result_count;
    const char *results[TD_OP_MAX_RESULTS]; /* their names; "result" for the only one */
    unsigned effects;
    bool composite;      /* calls other rows; has no kernel */
    bool view;           /* has no kernel */
    bool in_place;       /* has an in-place form */
    bool differentiable; /* has gradients, its own or its parts' */
    size_t args_size;
    const void *defaults; /* of args_size: every argument's default, absent or zero */
} td_op_info;

/* Constant, for 0 <= op < TD_OP_COUNT; NULL for another number. */
TD_API const td_op_info *td_op_describe(td_op op);
/* The operation of that C name, or TD_ERR_ARG with the nearest one. */
TD_API td_status td_op_find(const char *name, td_op *op);

/* Call an operation, or with TD_OP_INPLACE its in-place form: td_op_call(TD_OP_ADD, in, out). `in` has a
 * value for each argument in order, of its kind or absent; `out` receives its results, owned by the current
 * scope. Failures also mark the scope, as everywhere. TD_ERR_ARG: wrong kind, or absent without default. */
TD_API td_status td_op_call(td_op op, const td_value *in, td_value *out);

TD_END_DECLS

#endif
