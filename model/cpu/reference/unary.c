/* Functions of one element, and powers of it. */
#include "model/cpu/reference/loops.h"
#include "model/ops/promote.h"

#include <math.h>

#define FLOATING_FUNCTIONS(type, name, f)                                                                    \
    UNARY_LOOP(neg, name, type, type, -x)                                                                    \
    UNARY_LOOP(abs, name, type, type, fabs##f(x))                                                            \
    UNARY_LOOP(sign, name, type, type, (type)((x > 0) - (x < 0)))                                            \
    UNARY_LOOP(exp, name, type, type, exp##f(x))                                                             \
    UNARY_LOOP(log, name, type, type, log##f(x))                                                             \
    UNARY_LOOP(sqrt, name, type, type, sqrt##f(x))                                                           \
    UNARY_LOOP(rsqrt, name, type, type, 1 / sqrt##f(x))                                                      \
    UNARY_LOOP(relu, name, type, type, isnan(x) || x > 0 ? x : 0)                                            \
    UNARY_LOOP(sigmoid, name, type, type, 1 / (1 + exp##f(-x)))                                              \
    UNARY_LOOP(tanh, name, type, type, tanh##f(x))                                                           \
    UNARY_LOOP(pow, name, type, type, pow##f(x, NUMBER(type)))                                               \
    UNARY_LOOP(square, name, type, type, x *x)                                                               \
    UNARY_LOOP(cube, name, type, type, x *x *x)                                                              \
    UNARY_LOOP(inverse, name, type, type, 1 / x)                                                             \
    UNARY_LOOP(inverse_square, name, type, type, 1 / (x * x))                                                \
    UNARY_LOOP(isfinite, name, type, bool, isfinite(x))

FLOATING_FUNCTIONS(float, f32, f)
FLOATING_FUNCTIONS(double, f64, )

/* A negative exponent was refused; 0 to the power of 0 is 1. */
static uint64_t integer_power(uint64_t base, int64_t exponent) {
    uint64_t power = 1;
    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1) power *= base;
    return power;
}

#define INTEGER_FUNCTIONS(dtype, type, name)                                                                 \
    UNARY_LOOP(neg, name, type, type, -(uint64_t)x)                                                          \
    UNARY_LOOP(abs, name, type, type, x < 1 ? -(uint64_t)x : (uint64_t)x)                                    \
    UNARY_LOOP(sign, name, type, type, (x > 0) - (x < 1 && x != 0))                                          \
    UNARY_LOOP(relu, name, type, type, x > 0 ? x : 0)                                                        \
    UNARY_LOOP(pow, name, type, type, integer_power((uint64_t)x, number->integer))

CPU_EACH_INTEGER(INTEGER_FUNCTIONS)

static loop_table neg_loops = {NUMBER_ROWS(neg)};
static loop_table abs_loops = {NUMBER_ROWS(abs)};
static loop_table sign_loops = {NUMBER_ROWS(sign)};
static loop_table relu_loops = {NUMBER_ROWS(relu)};
static loop_table pow_loops = {NUMBER_ROWS(pow)};
static loop_table exp_loops = {FLOATING_ROWS(exp)};
static loop_table log_loops = {FLOATING_ROWS(log)};
static loop_table sqrt_loops = {FLOATING_ROWS(sqrt)};
static loop_table rsqrt_loops = {FLOATING_ROWS(rsqrt)};
static loop_table sigmoid_loops = {FLOATING_ROWS(sigmoid)};
static loop_table tanh_loops = {FLOATING_ROWS(tanh)};
static loop_table square_loops = {FLOATING_ROWS(square)};
static loop_table cube_loops = {FLOATING_ROWS(cube)};
static loop_table inverse_loops = {FLOATING_ROWS(inverse)};
static loop_table inverse_square_loops = {FLOATING_ROWS(inverse_square)};
static loop_table isfinite_loops = {FLOATING_ROWS(isfinite)};

static td_status apply(cpu_loop *const *loops, td_dtype dtype, const td_tensor *x, const loop_number *number,
                       td_tensor *out) {
    return run_loops(loops, dtype, TD_DTYPE_NONE, out, &x, 1, number);
}

/* Rows that stay in self's dtype, and rows that make integers f32. */
#define SAME(row, dtype_of)                                                                                  \
    static td_status row##_kernel(td_context *context, const void *args, td_tensor *const *out) {            \
        (void)context;                                                                                       \
        const td_##row##_args *a = args;                                                                     \
        return apply(row##_loops, dtype_of((td_dtype)a->self->dtype), a->self, NULL, out[0]);                \
    }
#define ITSELF(dtype) (dtype)
SAME(neg, ITSELF)
SAME(abs, ITSELF)
SAME(sign, ITSELF)
SAME(relu, ITSELF)
SAME(exp, td_floating_of)
SAME(log, td_floating_of)
SAME(sqrt, td_floating_of)
SAME(rsqrt, td_floating_of)
SAME(sigmoid, td_floating_of)
SAME(tanh, td_floating_of)

static td_status isfinite_kernel(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_isfinite_args *a = args;
    return run_loops(isfinite_loops, td_floating_of((td_dtype)a->self->dtype), TD_DTYPE_BOOL, out[0],
                     (const td_tensor *const[]){a->self}, 1, NULL);
}

/* The exponents for which PyTorch does not call pow. */
static cpu_loop *const *loops_for(double exponent) {
    return exponent == 2      ? square_loops
           : exponent == 3    ? cube_loops
           : exponent == 0.5  ? sqrt_loops
           : exponent == -0.5 ? rsqrt_loops
           : exponent == -1   ? inverse_loops
           : exponent == -2   ? inverse_square_loops
                              : pow_loops;
}

static td_status pow_kernel(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_pow_args *a = args;
    loop_number number = number_of(a->exponent);
    td_dtype dtype = td_result_type_scalar(a->self, a->exponent);
    if (td_dtype_is_floating(dtype)) return apply(loops_for(number.real), dtype, a->self, &number, out[0]);
    if (number.integer < 0)
        return td_fail(TD_ERR_ARG, 0, "model", "integers have no negative integer powers; cast to f32 first");
    return apply(pow_loops, dtype, a->self, &number, out[0]);
}

const td_kernel_row cpu_reference_unary[] = {
    {TD_OP_NEG, neg_kernel},
    {TD_OP_ABS, abs_kernel},
    {TD_OP_SIGN, sign_kernel},
    {TD_OP_EXP, exp_kernel},
    {TD_OP_LOG, log_kernel},
    {TD_OP_SQRT, sqrt_kernel},
    {TD_OP_RSQRT, rsqrt_kernel},
    {TD_OP_RELU, relu_kernel},
    {TD_OP_SIGMOID, sigmoid_kernel},
    {TD_OP_TANH, tanh_kernel},
    {TD_OP_POW, pow_kernel},
    {TD_OP_ISFINITE, isfinite_kernel},
    TD_KERNELS_END,
};
