/*
 * Out of memory in the middle of any operation or its backward: for every row, the k-th allocation after the
 * inputs are made fails, for k = 0, 1, ... until all succeed. Each time the call says TD_ERR_MEMORY or
 * manages without, nothing stays alive behind the closed scope, and the same context can do it all once more.
 */
#include "base/context.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/tensor/scope.h"
#include "support/check.h"
#include "support/op_inputs.h"
#include "support/tensors.h"

#include <stdio.h>

#define SEED             42
#define MOST_ALLOCATIONS 400 /* in one call; more would be a loop that never ends */

/* The call and, where it carries gradients, its backward, with the k-th allocation failing (-1: none). */
static td_status call_and_differentiate(const op_inputs *inputs, long k) {
    td_value in[TD_OP_MAX_ARGS], out[TD_OP_MAX_RESULTS] = {{0}};
    memcpy(in, inputs->in, sizeof in);
    ck_ok(td_manual_seed(SEED));
    td_alloc_fail_after(k);
    if (inputs->info->effects & TD_EFFECT_WRITE) in[0].as.tensor = td_clone(in[0].as.tensor);
    td_status status = td_op_call(inputs->op, in, out);
    td_tensor *y = out[0].as.tensor;
    if (status == TD_OK && td_tensor_requires_grad(y))
        status = td_backward(y, .grad = td_ones(td_tensor_sizes(y), .dtype = td_tensor_dtype(y)));
    td_alloc_fail_after(-1);
    return status;
}

/* One attempt in a scope of its own; the status of its close. */
static td_status attempt(td_context *context, const op_case *source, td_dtype dtype, long k) {
    const char *title = op_case_describe(source, dtype, OP_CONTIGUOUS);
    op_inputs inputs;
    td_scope *scope = td_scope_open(context);
    op_inputs_make(&inputs, source, dtype, OP_CONTIGUOUS, 0);
    for (int i = 0; i < inputs.variable_count; i++)
        ck_ok(td_tensor_set_requires_grad(inputs.variables[i], true));
    td_status status = call_and_differentiate(&inputs, k);
    ck_expect(status == TD_OK || status == TD_ERR_MEMORY, "%s: allocation %ld failed and gave %s: %s", title,
              k, td_status_name(status), td_error_last()->text);
    td_status closed = td_scope_close(scope);
    ck_expect(closed == status, "%s: allocation %ld failed: the call gave %s, the scope's close %s", title, k,
              td_status_name(status), td_status_name(closed));
    return status;
}

static void check_case(const op_case *source, td_dtype dtype) {
    int successes = 0; /* in a row: one alone may have managed without */
    for (long k = 0; successes < 3; k++) {
        ck_expect(k < MOST_ALLOCATIONS, "%s: still failing after %ld allocations", source->op, k);
        td_context *context; /* a new one each time, whose pool has nothing to give */
        ck_ok(td_context_open(&context));
        successes = attempt(context, source, dtype, k) == TD_OK ? successes + 1 : 0;
        td_status again = attempt(context, source, dtype, -1);
        ck_expect(again == TD_OK, "%s: after allocation %ld had failed, everything fails: %s", source->op, k,
                  td_error_last()->text);
        close_context_empty(&context);
    }
}

START_TEST(every_failed_allocation_is_a_status) {
    const char *name = td_op_describe((td_op)_i)->name;
    for (const op_case *c = op_case_next(op_cases, name); c; c = op_case_next(c + 1, name)) {
        check_case(c, TD_DTYPE_F32);
        check_case(c, TD_DTYPE_F64);
    }
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("ops_memory");
    TCase *tcase = tcase_create("rows");
    tcase_add_loop_test(tcase, every_failed_allocation_is_a_status, 0, TD_OP_COUNT);
    suite_add_tcase(suite, tcase);
    return suite;
}
