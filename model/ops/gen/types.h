/* Types of gradient expressions, and what their calls' parts are given to. */
#ifndef TANDEM_MODEL_OPS_GEN_TYPES_H
#define TANDEM_MODEL_OPS_GEN_TYPES_H

#include "model/ops/gen/syntax.h"

#define GEN_MAX_ARGS 16

/* What a call's name stands for. */
typedef enum gen_callee_kind {
    GEN_CALLEE_ROW,
    GEN_CALLEE_HELPER,
    GEN_CALLEE_FACT /* sizes, strides, offset, dtype, lengths: of an argument, saved in its place */
} gen_callee_kind;

typedef struct gen_callee {
    gen_callee_kind kind;
    const gen_row *row;
    const gen_helper *helper;
    int arg_count;
    const gen_arg *args;
    gen_type type;
    const gen_expr *given[GEN_MAX_ARGS]; /* by argument; NULL where the default stands */
} gen_callee;

/* The type of an expression in a row's gradient; false with `fault` filled when it has none. */
bool gen_type_of(const gen_file *file, const gen_row *row, const gen_expr *expr, gen_type *type,
                 gen_fault *fault);

/* What a call calls, with its parts sorted to the callee's arguments and their types checked. */
bool gen_resolve(const gen_file *file, const gen_row *row, const gen_expr *call, gen_callee *callee,
                 gen_fault *fault);

/* Is `name` one of the row's results; and is it the gradient of one ("grad", "grad_indices"). -1 if not. */
int gen_result_index(const gen_row *row, const char *name);
int gen_grad_index(const gen_row *row, const char *name);

/* Can a value of type `from` be given to an argument of type `to`. */
bool gen_type_fits(gen_type from, gen_type to);

/* The row that `left sign right` stands for ("mul", "mul_scalar"), or NULL for plain numbers. *swap: the
 * second operand comes first. False when there is none. */
bool gen_operator_row(char sign, gen_type left, gen_type right, const char **c_name, bool *swap);

__attribute__((format(printf, 3, 4))) bool gen_complain(gen_fault *fault, gen_place at, const char *format,
                                                        ...);

#endif
