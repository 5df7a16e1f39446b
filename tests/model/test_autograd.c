/* Autograd beyond single operations (test_ops_gradients.c) and views (test_views.c): leaves, passes, hooks.
 */
#include "base/context.h"
#include "base/memory.h"
#include "model/autograd/leaf.h"
#include "model/ops/ops.h"
#include "support/check.h"

static td_context *context;
static td_scope *scope;

static void open(void) {
    ck_ok(td_context_open(&context));
    scope = td_scope_open(context);
    ck_assert_ptr_nonnull(scope);
}

static void close(void) { td_context_close(&context); }

static td_tensor *leaf(double a, double b) {
    td_tensor *x = td_tensor_from((const double[]){a, b}, TD_DTYPE_F64, TD_INTS(2));
    ck_ok(td_tensor_set_requires_grad(x, true));
    return x;
}

static void check_pair(const td_tensor *x, double a, double b) {
    double values[2];
    ck_ok(td_tensor_copy_to(x, values, sizeof values));
    ck_assert_double_eq(values[0], a);
    ck_assert_double_eq(values[1], b);
}

/* --- leaves and modes ------------------------------------------------------------------------------- */

START_TEST(gradients_accumulate_until_they_are_zeroed) {
    td_tensor *x = leaf(1, 2);
    ck_assert_ptr_null(td_tensor_grad(x));
    ck_ok(td_backward(td_sum(td_mul(x, x))));
    check_pair(td_tensor_grad(x), 2, 4);
    ck_ok(td_backward(td_sum(x)));
    check_pair(td_tensor_grad(x), 3, 5);
    td_tensor_zero_grad(x);
    ck_assert_ptr_null(td_tensor_grad(x));
    ck_ok(td_backward(td_sum(x)));
    check_pair(td_tensor_grad(x), 1, 1);
}
END_TEST

START_TEST(nothing_is_recorded_without_need) {
    td_tensor *x = leaf(1, 2), *c = td_detach(x);
    ck_assert(!td_tensor_requires_grad(td_exp(c)));
    td_no_grad_begin();
    td_no_grad_begin();
    td_no_grad_end();
    ck_assert(!td_grad_enabled());
    ck_assert(!td_tensor_requires_grad(td_exp(x)));
    td_no_grad_end();
    ck_assert(td_grad_enabled());
    ck_assert_str_eq(td_tensor_grad_fn(td_exp(x)), "exp");
    ck_assert(!td_tensor_requires_grad(td_argmax(x)));
    ck_assert(!td_tensor_requires_grad(td_gt(x, c)));
    ck_assert_ptr_null(td_tensor_grad_fn(x));
}
END_TEST

START_TEST(only_floating_leaves_can_be_marked) {
    ck_fails(td_tensor_set_requires_grad(td_arange(td_num(3)), true), TD_ERR_ARG, "i64");
    ck_fails(td_tensor_set_requires_grad(td_exp(leaf(1, 2)), false), TD_ERR_STATE, "detach");
}
END_TEST

START_TEST(a_gradient_can_be_put_in) {
    td_tensor *x = leaf(1, 2);
    ck_ok(td_tensor_set_grad(x, leaf(5, 6)));
    ck_ok(td_backward(td_sum(x)));
    check_pair(td_tensor_grad(x), 6, 7);
    ck_fails(td_tensor_set_grad(x, td_zeros(TD_INTS(3))), TD_ERR_ARG, "f32 (3) for a leaf of f64 (2)");
    ck_ok(td_tensor_set_grad(x, NULL));
    ck_assert_ptr_null(td_tensor_grad(x));
}
END_TEST

START_TEST(a_kept_gradient_outlives_zero_grad) {
    td_tensor *x = leaf(1, 2);
    ck_ok(td_backward(td_sum(x)));
    td_tensor *grad = td_keep(td_tensor_grad(x));
    td_tensor_zero_grad(x);
    ck_ok(td_backward(td_sum(td_mul_scalar(x, td_num(3.0)))));
    check_pair(grad, 1, 1);
    check_pair(td_tensor_grad(x), 3, 3);
    td_release(&grad);
}
END_TEST

START_TEST(the_tape_lives_on_without_the_tensors_names) {
    td_tensor *x = leaf(2, 3);
    td_tensor *y = td_mul(x, x);
    for (int i = 0; i < 2; i++) td_move(&y, td_mul(y, x));
    ck_ok(td_backward(td_sum(y)));
    check_pair(td_tensor_grad(x), 4 * 8, 4 * 27);
}
END_TEST

START_TEST(a_leaf_that_is_gone_gets_nothing) {
    td_tensor *x = leaf(2, 3), *kept = leaf(1, 1);
    td_tensor *y = td_sum(td_mul(x, kept));
    td_release(&x);
    ck_ok(td_backward(y));
    check_pair(td_tensor_grad(kept), 2, 3);
}
END_TEST

/* --- passes ----------------------------------------------------------------------------------------- */

START_TEST(a_tape_is_used_up_unless_retained) {
    td_tensor *x = leaf(1, 2), *y = td_sum(td_mul(x, x));
    ck_ok(td_backward(y, .retain_graph = true));
    ck_ok(td_backward(y));
    check_pair(td_tensor_grad(x), 4, 8);
    ck_fails(td_backward(y), TD_ERR_STATE, "a second time");
    ck_assert_int_eq(td_scope_close(scope), TD_ERR_STATE);
}
END_TEST

START_TEST(a_vector_needs_a_gradient_to_begin_with) {
    td_tensor *x = leaf(1, 2);
    ck_ok(
        td_backward(td_mul(x, x), .grad = td_tensor_from((const double[]){1, 10}, TD_DTYPE_F64, TD_INTS(2))));
    check_pair(td_tensor_grad(x), 2, 40);
    ck_fails(td_backward(td_mul(x, x)), TD_ERR_ARG, "f64 (2) has more than one element");
}
END_TEST

START_TEST(what_was_not_recorded_has_no_backward) {
    ck_fails(td_backward(td_sum(td_detach(leaf(1, 2)))), TD_ERR_STATE,
             "not computed from a tensor that requires grad");
}
END_TEST

START_TEST(a_value_overwritten_after_being_saved_is_an_error) {
    td_tensor *x = leaf(1, 2), *y = td_exp(x);
    td_add_(y, y);
    ck_fails(td_backward(td_sum(y)), TD_ERR_STATE,
             "backward of exp: its result, f64 (2), has been modified by an in-place operation: saved at "
             "version 0, now at 1");
}
END_TEST

START_TEST(second_derivatives_follow) {
    td_tensor *x = leaf(2, 3), *first = NULL, *second = NULL;
    td_tensor *y = td_sum(td_mul(td_mul(x, x), x));
    ck_ok(td_grad(y, &x, 1, &first, .create_graph = true));
    check_pair(first, 12, 27);
    ck_ok(td_grad(td_sum(first), &x, 1, &second));
    check_pair(second, 12, 18);
    ck_assert_ptr_null(td_tensor_grad(x));
}
END_TEST

START_TEST(gradients_of_results_can_be_asked_for) {
    td_tensor *x = leaf(2, 3), *other = leaf(0, 0);
    td_tensor *h = td_mul(x, x), *y = td_sum(td_mul(h, h));
    td_tensor *const inputs[] = {h, x, other};
    td_tensor *grads[3] = {NULL, NULL, x};
    ck_ok(td_grad(y, inputs, 3, grads));
    check_pair(grads[0], 8, 18);
    check_pair(grads[1], 32, 108);
    ck_assert_ptr_null(grads[2]);
}
END_TEST

START_TEST(backward_under_create_graph_adds_differentiable_gradients) {
    td_tensor *x = leaf(2, 3);
    ck_ok(td_backward(td_sum(td_mul(td_mul(x, x), x)), .create_graph = true));
    td_tensor *grad = td_tensor_grad(x), *second = NULL;
    ck_ok(td_grad(td_sum(grad), &x, 1, &second));
    check_pair(second, 12, 18);
    td_tensor_zero_grad(x);
}
END_TEST

START_TEST(backward_frees_what_was_saved) {
    td_tensor *x = td_ones(TD_INTS(1000));
    ck_ok(td_tensor_set_requires_grad(x, true));
    td_tensor *y = x;
    for (int i = 0; i < 20; i++) td_move(&y, td_exp(td_mul_scalar(y, td_num(0.5))));
    size_t before = td_memory_used(context).used;
    ck_ok(td_backward(td_sum(y)));
    /* Each exp had saved its result of 4,000 bytes. */
    ck_assert_uint_lt(td_memory_used(context).used + 18 * 4000, before);
}
END_TEST

START_TEST(a_long_tape_needs_no_deep_stack) {
    td_tensor *x = leaf(1, 2), *y = td_add(x, x);
    for (int i = 0; i < 199999; i++) td_move(&y, td_add(y, x));
    ck_ok(td_backward(td_sum(y)));
    check_pair(td_tensor_grad(x), 200001, 200001);
}
END_TEST

START_TEST(sums_have_the_same_bits_every_time) {
    double bits[2][2];
    for (int round = 0; round < 2; round++) {
        td_tensor *x = leaf(0.1, 0.7), *total = td_sum(x);
        for (int i = 1; i < 30; i++)
            td_move(&total, td_add(total, td_sum(td_exp(td_mul_scalar(x, td_num(0.37 * i))))));
        ck_ok(td_backward(total));
        ck_ok(td_tensor_copy_to(td_tensor_grad(x), bits[round], sizeof bits[round]));
    }
    ck_assert_mem_eq(bits[0], bits[1], sizeof bits[0]);
}
END_TEST

START_TEST(gradients_have_the_leafs_dtype) {
    td_tensor *x = td_ones(TD_INTS(2)), *w = leaf(1, 2);
    ck_ok(td_tensor_set_requires_grad(x, true));
    ck_ok(td_backward(td_sum(td_mul(x, w))));
    ck_assert_int_eq(td_tensor_dtype(td_tensor_grad(x)), TD_DTYPE_F32);
    ck_assert_int_eq(td_tensor_dtype(td_tensor_grad(w)), TD_DTYPE_F64);
}
END_TEST

/* --- hooks and homes -------------------------------------------------------------------------------- */

static int calls;

static td_status count_call(td_tensor *x, void *cookie) {
    check_pair(td_tensor_grad(x), 3, 5);
    calls += *(int *)cookie;
    return TD_OK;
}

static td_status refuse(td_tensor *x, void *cookie) {
    (void)x, (void)cookie;
    return td_fail(TD_ERR_PEER, 0, "test", "rank 1 is gone");
}

START_TEST(a_hook_is_called_once_after_the_last_contribution) {
    int ten = 10;
    td_tensor *x = leaf(1, 2);
    calls = 0;
    ck_ok(td_tensor_add_grad_hook(x, count_call, &ten));
    ck_ok(td_backward(td_add(td_sum(td_mul(x, x)), td_sum(x))));
    ck_assert_int_eq(calls, 10);
    td_tensor_remove_grad_hook(x, count_call, &ten);
    ck_ok(td_backward(td_sum(x)));
    ck_assert_int_eq(calls, 10);
    ck_fails(td_tensor_add_grad_hook(td_exp(x), count_call, &ten), TD_ERR_STATE, "no leaf");
}
END_TEST

START_TEST(a_hook_that_fails_ends_the_backward) {
    td_tensor *x = leaf(1, 2);
    ck_ok(td_tensor_add_grad_hook(x, refuse, NULL));
    ck_fails(td_backward(td_sum(x)), TD_ERR_PEER, "rank 1 is gone");
    ck_assert_int_eq(td_scope_close(scope), TD_ERR_PEER);
}
END_TEST

static td_status begin_another(td_tensor *x, void *cookie) {
    (void)cookie;
    return td_backward(td_sum(td_mul(x, x)));
}

START_TEST(a_hook_cannot_begin_a_pass_inside_another) {
    td_tensor *x = leaf(1, 2);
    ck_ok(td_tensor_add_grad_hook(x, begin_another, NULL));
    ck_fails(td_backward(td_sum(x)), TD_ERR_UNSUPPORTED, "a hook cannot begin a pass inside another");
    td_tensor_remove_grad_hook(x, begin_another, NULL);
    ck_assert_int_eq(td_scope_close(scope), TD_ERR_UNSUPPORTED);
    scope = td_scope_open(context);
    td_tensor *y = leaf(1, 2);
    ck_ok(td_backward(td_sum(y)));
}
END_TEST

START_TEST(a_gradient_with_a_home_lands_there) {
    td_tensor *x = leaf(1, 2), *bucket = td_zeros(TD_INTS(10), .dtype = TD_DTYPE_F64);
    td_tensor *home = td_narrow(bucket, 0, 4, 2);
    ck_ok(td_leaf_set_home(x, home));
    ck_assert_ptr_null(td_tensor_grad(x));
    ck_assert_int_eq(td_leaf_state(x), TD_GRAD_EMPTY);
    for (int round = 0; round < 2; round++) {
        ck_ok(td_backward(td_sum(td_mul(x, x))));
        check_pair(home, 2, 4);
        ck_assert_int_eq(td_leaf_state(x), TD_GRAD_LOCAL);
        ck_ok(td_backward(td_sum(x)));
        check_pair(home, 3, 5);
        ck_assert_ptr_eq(td_tensor_data(td_tensor_grad(x)), td_tensor_data(home));
        td_tensor_zero_grad(x);
        ck_assert_ptr_null(td_tensor_grad(x));
    }
    td_leaf_set_state(x, TD_GRAD_REDUCED);
    check_pair(td_tensor_grad(x), 3, 5);
    ck_assert_int_eq(td_leaf_state(x), TD_GRAD_REDUCED);
}
END_TEST

START_TEST(a_gradient_is_born_in_its_home) {
    td_tensor *w = td_ones(TD_INTS(500, 500)), *home = td_zeros(TD_INTS(500, 500)),
              *x = td_ones(TD_INTS(1, 500));
    ck_ok(td_tensor_set_requires_grad(w, true));
    ck_ok(td_leaf_set_home(w, home));
    td_tensor *y = td_sum(td_mm(x, w)), *captured = NULL;
    size_t peak = td_memory_used(context).peak;
    ck_ok(td_backward(y, .retain_graph = true));
    /* A gradient of its own would be a million bytes. */
    ck_assert_uint_lt(td_memory_used(context).peak, peak + 500000);
    double value = 0;
    ck_ok(td_tensor_item(td_sum(home), &value));
    ck_assert_double_eq(value, 250000);
    /* What td_grad gives is the caller's, not the home's. */
    td_tensor_zero_grad(w);
    ck_ok(td_grad(y, &w, 1, &captured));
    ck_assert_ptr_ne(td_tensor_data(captured), td_tensor_data(home));
}
END_TEST

START_TEST(a_gradient_there_is_moves_into_its_home_and_out) {
    td_tensor *x = leaf(1, 2);
    ck_ok(td_backward(td_sum(td_mul(x, x))));
    td_tensor *home = td_zeros(TD_INTS(2), .dtype = TD_DTYPE_F64);
    ck_ok(td_leaf_set_home(x, home));
    check_pair(home, 2, 4);
    ck_ok(td_leaf_set_home(x, NULL));
    td_zero_(home);
    check_pair(td_tensor_grad(x), 2, 4);
    ck_fails(td_leaf_set_home(x, td_zeros(TD_INTS(2))), TD_ERR_ARG, "f32 (2) for a leaf of f64 (2)");
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("autograd");
    TCase *tcase = tcase_create("autograd");
    const TTest *const tests[] = {
        gradients_accumulate_until_they_are_zeroed,
        nothing_is_recorded_without_need,
        only_floating_leaves_can_be_marked,
        a_gradient_can_be_put_in,
        a_kept_gradient_outlives_zero_grad,
        the_tape_lives_on_without_the_tensors_names,
        a_leaf_that_is_gone_gets_nothing,
        a_tape_is_used_up_unless_retained,
        a_vector_needs_a_gradient_to_begin_with,
        what_was_not_recorded_has_no_backward,
        a_value_overwritten_after_being_saved_is_an_error,
        second_derivatives_follow,
        gradients_of_results_can_be_asked_for,
        backward_under_create_graph_adds_differentiable_gradients,
        backward_frees_what_was_saved,
        a_long_tape_needs_no_deep_stack,
        sums_have_the_same_bits_every_time,
        gradients_have_the_leafs_dtype,
        a_hook_is_called_once_after_the_last_contribution,
        a_hook_that_fails_ends_the_backward,
        a_hook_cannot_begin_a_pass_inside_another,
        a_gradient_with_a_home_lands_there,
        a_gradient_is_born_in_its_home,
        a_gradient_there_is_moves_into_its_home_and_out,
    };
    tcase_add_checked_fixture(tcase, open, close);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
