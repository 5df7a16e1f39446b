/* Arithmetic of two arguments, in the dtype that they are promoted to; integers wrap around. */
#include "model/cpu/reference/loops.h"
#include "model/ops/promote.h"

#include <math.h>

/* In u64 so that overflow is defined; the cast back takes the low bits. */
#define WRAPPING(x, sign, y) ((uint64_t)(x)sign(uint64_t)(y))

#define FLOATING_ARITHMETIC(dtype, type, name)                                                               \
    BINARY_LOOP(add, name, type, type, x + NUMBER(type) * y)                                                 \
    BINARY_LOOP(sub, name, type, type, x - NUMBER(type) * y)                                                 \
    BINARY_LOOP(mul, name, type, type, x *y)                                                                 \
    BINARY_LOOP(div, name, type, type, x / y)                                                                \
    BINARY_LOOP(maximum, name, type, type, isnan(x) || x > y ? x : y)                                        \
    BINARY_LOOP(minimum, name, type, type, isnan(x) || x < y ? x : y)                                        \
    BINARY_LOOP(threshold, name, type, type, y <= NUMBER(type) ? 0 : x)                                      \
    BINARY_LOOP(sigmoid_backward, name, type, type, x *(1 - y) * y)                                          \
    BINARY_LOOP(tanh_backward, name, type, type, x *(1 - y * y))                                             \
    UNARY_LOOP(add_number, name, type, type, x + NUMBER(type))                                               \
    UNARY_LOOP(sub_number, name, type, type, x - NUMBER(type))                                               \
    UNARY_LOOP(sub_from, name, type, type, NUMBER(type) - x)                                                 \
    UNARY_LOOP(mul_number, name, type, type, x *NUMBER(type))                                                \
    UNARY_LOOP(div_number, name, type, type, x / NUMBER(type))

#define INTEGER_ARITHMETIC(dtype, type, name)                                                                \
    BINARY_LOOP(add, name, type, type, WRAPPING(x, +, WRAPPING(NUMBER(type), *, y)))                         \
    BINARY_LOOP(sub, name, type, type, WRAPPING(x, -, WRAPPING(NUMBER(type), *, y)))                         \
    BINARY_LOOP(mul, name, type, type, WRAPPING(x, *, y))                                                    \
    BINARY_LOOP(maximum, name, type, type, x > y ? x : y)                                                    \
    BINARY_LOOP(minimum, name, type, type, x < y ? x : y)                                                    \
    BINARY_LOOP(threshold, name, type, type, y <= NUMBER(type) ? 0 : x)                                      \
    UNARY_LOOP(add_number, name, type, type, WRAPPING(x, +, NUMBER(type)))                                   \
    UNARY_LOOP(sub_number, name, type, type, WRAPPING(x, -, NUMBER(type)))                                   \
    UNARY_LOOP(sub_from, name, type, type, WRAPPING(NUMBER(type), -, x))                                     \
    UNARY_LOOP(mul_number, name, type, type, WRAPPING(x, *, NUMBER(type)))

CPU_EACH_FLOATING(FLOATING_ARITHMETIC)
CPU_EACH_INTEGER(INTEGER_ARITHMETIC)

/* Flags are added by or and multiplied by and. */
BINARY_LOOP(add, flag, uint8_t, bool, x || (y && number->integer))
BINARY_LOOP(mul, flag, uint8_t, bool, x &&y)
BINARY_LOOP(maximum, flag, uint8_t, bool, x || y)
BINARY_LOOP(minimum, flag, uint8_t, bool, x &&y)
UNARY_LOOP(add_number, flag, uint8_t, bool, x || number->integer)
UNARY_LOOP(mul_number, flag, uint8_t, bool, x && number->integer)

static loop_table add_loops = {NUMBER_ROWS(add), [TD_DTYPE_BOOL] = add_flag};
static loop_table sub_loops = {NUMBER_ROWS(sub)};
static loop_table mul_loops = {NUMBER_ROWS(mul), [TD_DTYPE_BOOL] = mul_flag};
static loop_table div_loops = {FLOATING_ROWS(div)};
static loop_table maximum_loops = {NUMBER_ROWS(maximum), [TD_DTYPE_BOOL] = maximum_flag};
static loop_table minimum_loops = {NUMBER_ROWS(minimum), [TD_DTYPE_BOOL] = minimum_flag};
static loop_table threshold_loops = {NUMBER_ROWS(threshold)};
static loop_table sigmoid_backward_loops = {FLOATING_ROWS(sigmoid_backward)};
static loop_table tanh_backward_loops = {FLOATING_ROWS(tanh_backward)};
static loop_table add_number_loops = {NUMBER_ROWS(add_number), [TD_DTYPE_BOOL] = add_number_flag};
static loop_table sub_number_loops = {NUMBER_ROWS(sub_number)};
static loop_table sub_from_loops = {NUMBER_ROWS(sub_from)};
static loop_table mul_number_loops = {NUMBER_ROWS(mul_number), [TD_DTYPE_BOOL] = mul_number_flag};
static loop_table div_number_loops = {FLOATING_ROWS(div_number)};

static td_status two(cpu_loop *const *loops, const td_tensor *a, const td_tensor *b, td_scalar number,
                     td_tensor *out) {
    loop_number n = number_of(number);
    return run_loops(loops, td_result_type(a, b), TD_DTYPE_NONE, out, (const td_tensor *const[]){a, b}, 2,
                     &n);
}

/* The number takes part in the dtype; alone it is of its own kind's. */
static td_status one(cpu_loop *const *loops, td_dtype dtype, const td_tensor *a, td_scalar number,
                     td_tensor *out) {
    loop_number n = number_of(number);
    return run_loops(loops, dtype, TD_DTYPE_NONE, out, &a, 1, &n);
}

static const td_scalar nothing = {TD_SCALAR_INT, {0}};

#define TWO(row, with)                                                                                       \
    static td_status row(td_context *context, const void *args, td_tensor *const *out) {                     \
        (void)context;                                                                                       \
        const td_##row##_args *a = args;                                                                     \
        return two(row##_loops, a->self, a->other, with, out[0]);                                            \
    }
TWO(add, a->alpha)
TWO(sub, a->alpha)
TWO(mul, nothing)
TWO(maximum, nothing)
TWO(minimum, nothing)

#define TWO_BACKWARD(row, y, with)                                                                           \
    static td_status row(td_context *context, const void *args, td_tensor *const *out) {                     \
        (void)context;                                                                                       \
        const td_##row##_args *a = args;                                                                     \
        return two(row##_loops, a->grad_output, a->y, with, out[0]);                                         \
    }
#define threshold_backward_loops threshold_loops
TWO_BACKWARD(threshold_backward, self, a->threshold)
TWO_BACKWARD(sigmoid_backward, output, nothing)
TWO_BACKWARD(tanh_backward, output, nothing)

#define ONE(row, loops)                                                                                      \
    static td_status row(td_context *context, const void *args, td_tensor *const *out) {                     \
        (void)context;                                                                                       \
        const td_##row##_args *a = args;                                                                     \
        return one(loops, td_result_type_scalar(a->self, a->other), a->self, a->other, out[0]);              \
    }
ONE(add_scalar, add_number_loops)
ONE(sub_scalar, sub_number_loops)
ONE(rsub_scalar, sub_from_loops)
ONE(mul_scalar, mul_number_loops)

static td_status div_scalar(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_div_scalar_args *a = args;
    td_dtype dtype = td_floating_of(td_result_type_scalar(a->self, a->other));
    return one(div_number_loops, dtype, a->self, a->other, out[0]);
}

static td_status div_kernel(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_div_args *a = args;
    return run_loops(div_loops, td_floating_of(td_result_type(a->self, a->other)), TD_DTYPE_NONE, out[0],
                     (const td_tensor *const[]){a->self, a->other}, 2, NULL);
}

const td_kernel_row cpu_reference_pointwise[] = {
    {TD_OP_ADD, add},
    {TD_OP_ADD_SCALAR, add_scalar},
    {TD_OP_SUB, sub},
    {TD_OP_SUB_SCALAR, sub_scalar},
    {TD_OP_RSUB_SCALAR, rsub_scalar},
    {TD_OP_MUL, mul},
    {TD_OP_MUL_SCALAR, mul_scalar},
    {TD_OP_DIV, div_kernel},
    {TD_OP_DIV_SCALAR, div_scalar},
    {TD_OP_MAXIMUM, maximum},
    {TD_OP_MINIMUM, minimum},
    {TD_OP_THRESHOLD_BACKWARD, threshold_backward},
    {TD_OP_SIGMOID_BACKWARD, sigmoid_backward},
    {TD_OP_TANH_BACKWARD, tanh_backward},
    TD_KERNELS_END,
};
