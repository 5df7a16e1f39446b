/*
 * Inputs for any operation, made from a line of text and the row's descriptors, so that one test can loop
 * over the whole table. op_cases.c has such lines for every row; a line is one call:
 *
 *     {"sum", "self=(2,3,4) dim=[1] keepdim=True"}
 *
 * A tensor is written as its shape. Before the shape may stand what its elements are:
 *     (2,3)           floating, distinct, both signs, none near 0; what gradients are taken of
 *     positive(2,3)   the same, from 0.5 up
 *     unit(2,3)       the same, between 0.1 and 0.9
 *     fixed(2,3)      positive, but nothing that gradients are taken of: class weights
 *     i64(2,3)<5      distinct integers around 0, or with `<5` from 0 to 4; also i32, u8, bool
 *     fixed()=3       3 everywhere
 * A list of tensors is {(2,3) (1,3)}; lists of integers, numbers, True, False, dtypes (f64), reductions (Sum)
 * and memory formats (ChannelsLast) are written as in Python. What is left out is absent.
 */
#ifndef TANDEM_TESTS_OP_INPUTS_H
#define TANDEM_TESTS_OP_INPUTS_H

#include "model/ops/value.h"

/* How the elements of tensors lie. Gaps hold `gap` (integers 77), so that who forgets strides is found out.
 */
typedef enum op_layout {
    OP_CONTIGUOUS,
    OP_TRANSPOSED,    /* the first dimension innermost */
    OP_CHANNELS_LAST, /* tensors of four dimensions; others are contiguous */
    OP_SLICED,        /* every second element of longer rows, not from the first one on */
    OP_EXPANDED,      /* the first dimension of size > 1 repeats one element: stride 0 */
    OP_LAYOUTS
} op_layout;

const char *op_layout_name(op_layout layout);

enum op_case_flag {
    OP_CONTIGUOUS_ONLY = 1, /* what it gives depends on strides: view, as_strided */
    OP_LARGE = 2            /* for kernels, not for finite differences element by element */
};

typedef struct op_case {
    const char *op, *args;
    unsigned flags;
} op_case;

/* Every row of ops.def has at least one; ends with an empty one. */
extern const op_case op_cases[];

/* The first case of an operation at or after `from`, or NULL. for (c = op_case_next(op_cases, name); c; c =
 * op_case_next(c + 1, name)) */
const op_case *op_case_next(const op_case *from, const char *op);

#define OP_MAX_TENSORS 4

typedef struct op_inputs {
    td_op op;
    const td_op_info *info;
    td_value in[TD_OP_MAX_ARGS];
    td_tensor *list[OP_MAX_TENSORS];      /* behind the Tensor[] argument */
    td_tensor *variables[TD_OP_MAX_ARGS]; /* what gradients are taken of */
    const char *names[TD_OP_MAX_ARGS];    /* the arguments that they are or are in */
    int variable_count;
} op_inputs;

/* Fill `inputs` from a case, floating tensors in `dtype`, as leaves that do not require grad in the current
 * scope. The object must not move afterwards. Fails the running test when the text does not fit the row. */
void op_inputs_make(op_inputs *inputs, const op_case *source, td_dtype dtype, op_layout layout, double gap);

/* "add(self=(2,3) other=2), f32, sliced", for messages; valid until the next call. */
const char *op_case_describe(const op_case *source, td_dtype dtype, op_layout layout);

/* A distinct, fixed, irregular number for element i of `count`, with both signs; `key` tells lists apart. */
void op_numbers(double *numbers, int64_t count, uint32_t key);

#endif
