/* Comparisons, and choosing by flags. */
#include "model/cpu/reference/loops.h"
#include "model/ops/promote.h"

#include <math.h>

#define COMPARISONS(dtype, type, name)                                                                       \
    BINARY_LOOP(eq, name, type, bool, x == y)                                                                \
    BINARY_LOOP(ne, name, type, bool, x != y)                                                                \
    BINARY_LOOP(lt, name, type, bool, x < y)                                                                 \
    BINARY_LOOP(le, name, type, bool, x <= y)                                                                \
    BINARY_LOOP(gt, name, type, bool, x > y)                                                                 \
    BINARY_LOOP(ge, name, type, bool, x >= y)                                                                \
    BINARY_LOOP(logical_and, name, type, bool, x != 0 && y != 0)                                             \
    UNARY_LOOP(eq_number, name, type, bool, x == NUMBER(type))                                               \
    UNARY_LOOP(ne_number, name, type, bool, x != NUMBER(type))                                               \
    UNARY_LOOP(lt_number, name, type, bool, x < NUMBER(type))                                                \
    UNARY_LOOP(le_number, name, type, bool, x <= NUMBER(type))                                               \
    UNARY_LOOP(gt_number, name, type, bool, x > NUMBER(type))                                                \
    UNARY_LOOP(ge_number, name, type, bool, x >= NUMBER(type))                                               \
    UNARY_LOOP(logical_not, name, type, bool, x == 0)

CPU_EACH_NUMBER(COMPARISONS)
COMPARISONS(TD_DTYPE_BOOL, bool, flag)

/* self in [1], other in [2], the condition's bytes in [3]; elements of one size are copied alike. */
#define CHOICE(dtype, type, name)                                                                            \
    static void where_##name(char *const *data, const int64_t *strides, int64_t count, const void *cookie) { \
        (void)cookie;                                                                                        \
        for (int64_t i = 0; i < count; i++) {                                                                \
            const type x = *(const type *)(data[1] + i * strides[1]);                                        \
            const type y = *(const type *)(data[2] + i * strides[2]);                                        \
            const type c = *(const type *)(data[3] + i * strides[3]);                                        \
            *(type *)(data[0] + i * strides[0]) = c != 0 ? x : y;                                            \
        }                                                                                                    \
    }                                                                                                        \
    BINARY_LOOP(masked_fill, name, type, type, y != 0 ? NUMBER(type) : x)

CPU_EACH_NUMBER(CHOICE)
CHOICE(TD_DTYPE_BOOL, bool, flag)

#define CLAMP(dtype, type, name)                                                                             \
    UNARY_LOOP(at_least, name, type, type, x < NUMBER(type) ? NUMBER(type) : x)                              \
    UNARY_LOOP(at_most, name, type, type, x > NUMBER(type) ? NUMBER(type) : x)
CPU_EACH_NUMBER(CLAMP)

#define ALL_ROWS(name)                                                                                       \
    { NUMBER_ROWS(name), [TD_DTYPE_BOOL] = name##_flag }
#define COMPARISON_TABLES(op)                                                                                \
    static loop_table op##_loops = ALL_ROWS(op), op##_number_loops = ALL_ROWS(op##_number);
COMPARISON_TABLES(eq)
COMPARISON_TABLES(ne)
COMPARISON_TABLES(lt)
COMPARISON_TABLES(le)
COMPARISON_TABLES(gt)
COMPARISON_TABLES(ge)
static loop_table logical_and_loops = ALL_ROWS(logical_and), logical_not_loops = ALL_ROWS(logical_not);
static loop_table where_loops = ALL_ROWS(where), masked_fill_loops = ALL_ROWS(masked_fill);
static loop_table at_least_loops = {NUMBER_ROWS(at_least)}, at_most_loops = {NUMBER_ROWS(at_most)};

static td_status compare(cpu_loop *const *loops, td_dtype dtype, const td_tensor *a, const td_tensor *b,
                         const loop_number *number, td_tensor *out) {
    return run_loops(loops, dtype, TD_DTYPE_BOOL, out, (const td_tensor *const[]){a, b}, b ? 2 : 1, number);
}

#define COMPARE(op)                                                                                          \
    static td_status op(td_context *context, const void *args, td_tensor *const *out) {                      \
        (void)context;                                                                                       \
        const td_##op##_args *a = args;                                                                      \
        return compare(op##_loops, td_result_type(a->self, a->other), a->self, a->other, NULL, out[0]);      \
    }
#define COMPARE_NUMBER(op)                                                                                   \
    static td_status op##_scalar(td_context *context, const void *args, td_tensor *const *out) {             \
        (void)context;                                                                                       \
        const td_##op##_scalar_args *a = args;                                                               \
        loop_number number = number_of(a->other);                                                            \
        td_dtype dtype = td_result_type_scalar(a->self, a->other);                                           \
        return compare(op##_number_loops, dtype, a->self, NULL, &number, out[0]);                            \
    }
COMPARE(eq)
COMPARE(ne)
COMPARE(lt)
COMPARE(le)
COMPARE(gt)
COMPARE(ge)
COMPARE(logical_and)
COMPARE_NUMBER(eq)
COMPARE_NUMBER(ne)
COMPARE_NUMBER(lt)
COMPARE_NUMBER(le)
COMPARE_NUMBER(gt)
COMPARE_NUMBER(ge)

static td_status logical_not(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_logical_not_args *a = args;
    return compare(logical_not_loops, (td_dtype)a->self->dtype, a->self, NULL, NULL, out[0]);
}

static td_status where(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_where_args *a = args;
    return run_loops(where_loops, td_result_type(a->self, a->other), TD_DTYPE_NONE, out[0],
                     (const td_tensor *const[]){a->self, a->other, a->condition}, 3, NULL);
}

static td_status masked_fill(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_masked_fill_args *a = args;
    loop_number number = number_of(a->value);
    return run_loops(masked_fill_loops, (td_dtype)a->self->dtype, TD_DTYPE_NONE, out[0],
                     (const td_tensor *const[]){a->self, a->mask}, 2, &number);
}

/* A bound that an integer dtype cannot hold holds nothing back, or, as PyTorch has it, is a mistake. */
static td_status bound_within(td_dtype dtype, bool is_min, int64_t *bound) {
    static const int64_t lowest[TD_DTYPE_COUNT] = {[TD_DTYPE_I8] = INT8_MIN,
                                                   [TD_DTYPE_I16] = INT16_MIN,
                                                   [TD_DTYPE_I32] = INT32_MIN,
                                                   [TD_DTYPE_I64] = INT64_MIN};
    static const int64_t highest[TD_DTYPE_COUNT] = {[TD_DTYPE_U8] = UINT8_MAX,
                                                    [TD_DTYPE_I8] = INT8_MAX,
                                                    [TD_DTYPE_I16] = INT16_MAX,
                                                    [TD_DTYPE_I32] = INT32_MAX,
                                                    [TD_DTYPE_I64] = INT64_MAX};
    if (!highest[dtype] || (*bound >= lowest[dtype] && *bound <= highest[dtype])) return TD_OK;
    if (is_min == (*bound > 0))
        return td_fail(TD_ERR_ARG, 0, "model", "%s %lld is beyond what %s holds", is_min ? "min" : "max",
                       (long long)*bound, td_dtype_name(dtype));
    *bound = is_min ? lowest[dtype] : highest[dtype];
    return TD_OK;
}

/* max has the last word where the bounds cross, and a NaN stays. */
static td_status clamp(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_clamp_args *a = args;
    const td_tensor *from = a->self;
    const struct {
        cpu_loop *const *loops;
        td_scalar bound;
    } steps[] = {{at_least_loops, a->min}, {at_most_loops, a->max}};
    for (int i = 0; i < 2; i++) {
        if (steps[i].bound.kind == TD_SCALAR_NONE) continue;
        loop_number number = number_of(steps[i].bound);
        TD_TRY(bound_within((td_dtype)out[0]->dtype, i == 0, &number.integer));
        TD_TRY(run_loops(steps[i].loops, (td_dtype)out[0]->dtype, TD_DTYPE_NONE, out[0], &from, 1, &number));
        from = out[0];
    }
    return TD_OK;
}

const td_kernel_row cpu_reference_compare[] = {
    {TD_OP_EQ, eq},
    {TD_OP_EQ_SCALAR, eq_scalar},
    {TD_OP_NE, ne},
    {TD_OP_NE_SCALAR, ne_scalar},
    {TD_OP_LT, lt},
    {TD_OP_LT_SCALAR, lt_scalar},
    {TD_OP_LE, le},
    {TD_OP_LE_SCALAR, le_scalar},
    {TD_OP_GT, gt},
    {TD_OP_GT_SCALAR, gt_scalar},
    {TD_OP_GE, ge},
    {TD_OP_GE_SCALAR, ge_scalar},
    {TD_OP_LOGICAL_AND, logical_and},
    {TD_OP_LOGICAL_NOT, logical_not},
    {TD_OP_WHERE, where},
    {TD_OP_MASKED_FILL, masked_fill},
    {TD_OP_CLAMP, clamp},
    TD_KERNELS_END,
};
