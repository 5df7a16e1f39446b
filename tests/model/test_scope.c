/* Scopes: who owns what an operation makes, and how failure travels. */
#include "base/context.h"
#include "model/autograd/autograd.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "model/tensor/storage.h"
#include "support/check.h"

#include <pthread.h>

static td_context *context;
static td_scope *outer;

static void open(void) {
    ck_ok(td_context_open(&context));
    outer = td_scope_open(context);
    ck_assert_ptr_nonnull(outer);
}

static void close(void) { td_context_close(&context); }

static td_tensor *two(void) {
    const float data[] = {1, 2};
    return td_tensor_from(data, TD_DTYPE_F32, TD_INTS(2));
}

static double first(const td_tensor *x) {
    float values[2];
    ck_ok(td_tensor_copy_to(x, values, sizeof values));
    return values[0];
}

static size_t used(void) { return td_memory_used(context).used; }

START_TEST(closing_a_scope_drops_its_values) {
    td_tensor *x = two();
    size_t before = used();
    td_scope *s = td_scope_open(context);
    for (int i = 0; i < 10; i++) td_add(x, td_mul(x, x));
    ck_assert_uint_gt(used(), before);
    ck_ok(td_scope_close(s));
    ck_assert_uint_eq(used(), before);
}
END_TEST

START_TEST(a_value_handed_up_belongs_to_the_parent) {
    td_scope *s = td_scope_open(context);
    td_tensor *y = td_scope_return(s, td_add(two(), two()));
    ck_ok(td_scope_close(s));
    ck_assert_double_eq(first(y), 2);
    size_t before = used();
    td_release(&y);
    ck_assert_ptr_null(y);
    ck_assert_uint_lt(used(), before);
}
END_TEST

START_TEST(a_value_of_another_owner_is_handed_up_as_it_is) {
    td_tensor *x = two();
    td_scope *s = td_scope_open(context);
    ck_assert_ptr_eq(td_scope_return(s, x), x);
    ck_ok(td_scope_close(s));
    ck_assert_double_eq(first(x), 1);
}
END_TEST

START_TEST(the_outermost_scope_has_no_parent_to_hand_to) {
    ck_assert_ptr_null(td_scope_return(outer, two()));
    ck_fails(td_scope_close(outer), TD_ERR_STATE, "");
}
END_TEST

START_TEST(a_kept_value_outlives_scope_and_context) {
    td_tensor *x = td_keep(td_add(two(), two()));
    ck_ok(td_scope_close(outer));
    td_context_close(&context);
    ck_assert_double_eq(first(x), 2);
    td_release(&x);
    td_release(&x);
}
END_TEST

START_TEST(keeping_a_kept_value_adds_an_owner) {
    td_tensor *x = td_keep(two()), *y = td_keep(x);
    ck_assert_ptr_eq(x, y);
    td_release(&x);
    ck_assert_double_eq(first(y), 1);
    td_release(&y);
}
END_TEST

START_TEST(moving_drops_the_old_value_at_once) {
    td_tensor *x = two();
    td_move(&x, td_add(x, x));
    size_t steady = used();
    for (int i = 0; i < 100; i++) td_move(&x, td_mul_scalar(x, td_num(1.0)));
    ck_assert_uint_eq(used(), steady);
    ck_assert_double_eq(first(x), 2);
}
END_TEST

START_TEST(moving_leaves_values_of_others_alone) {
    td_tensor *given = two(), *kept = td_keep(two());
    td_scope *s = td_scope_open(context);
    td_tensor *x = given;
    td_move(&x, td_add(x, x));
    x = kept;
    td_move(&x, td_add(x, x));
    td_move(&x, x);
    ck_assert_double_eq(first(x), 2);
    ck_ok(td_scope_close(s));
    ck_assert_double_eq(first(given), 1);
    ck_assert_double_eq(first(kept), 1);
    td_release(&kept);
}
END_TEST

START_TEST(after_a_failure_everything_in_the_scope_is_nothing) {
    td_tensor *x = two(), *wrong = td_zeros(TD_INTS(3));
    td_scope *s = td_scope_open(context);
    ck_assert_ptr_null(td_add(x, wrong));
    ck_assert_int_eq(td_scope_status(s), TD_ERR_ARG);
    ck_assert_str_eq(td_error_last()->text, "add: sizes (2) and (3) do not broadcast");
    ck_assert_ptr_null(td_add(x, x));
    ck_assert_ptr_null(td_relu(td_mul(x, NULL)));
    ck_assert_str_eq(td_error_last()->text, "add: sizes (2) and (3) do not broadcast");
    ck_assert_int_eq(td_backward(td_sum(x)), TD_ERR_ARG);
    ck_assert_ptr_null(td_keep(td_exp(x)));
    ck_assert_ptr_null(td_scope_return(s, td_exp(x)));
    double value = 7;
    ck_assert_int_eq(td_tensor_item(td_sum(x), &value), TD_ERR_ARG);
    ck_assert_double_eq(value, 7);
    ck_assert_int_eq(td_scope_close(s), TD_ERR_ARG);
    ck_assert_int_eq(td_scope_status(outer), TD_ERR_ARG);
    ck_assert_ptr_null(td_exp(x));
    ck_assert_int_eq(td_scope_close(outer), TD_ERR_ARG);
}
END_TEST

START_TEST(a_scope_opened_inside_a_failed_one_has_failed_too) {
    td_tensor *x = two();
    td_mm(x, x);
    td_scope *s = td_scope_open(context);
    ck_assert_ptr_null(td_exp(x));
    ck_assert_int_eq(td_scope_close(s), TD_ERR_ARG);
}
END_TEST

START_TEST(the_next_outermost_scope_starts_afresh) {
    td_mm(two(), two());
    ck_assert_int_eq(td_scope_close(outer), TD_ERR_ARG);
    outer = td_scope_open(context);
    ck_assert_str_eq(td_error_last()->text, "");
    ck_assert_ptr_nonnull(td_exp(two()));
    ck_ok(td_scope_close(outer));
}
END_TEST

START_TEST(a_required_argument_that_is_missing_is_named) {
    ck_assert_ptr_null(td_add(two(), NULL));
    ck_assert_str_eq(td_error_last()->text, "add: its argument other is missing");
    ck_assert_int_eq(td_scope_close(outer), TD_ERR_ARG);
    outer = td_scope_open(context);
    td_softmax(two());
    ck_assert_str_eq(td_error_last()->text, "softmax: its argument dim is missing");
}
END_TEST

START_TEST(a_module_can_fail_its_scope_itself) {
    ck_assert_ptr_null(td_scope_fail(td_fail(TD_ERR_UNSUPPORTED, 0, "model", "no such layer")));
    ck_assert_ptr_null(td_exp(two()));
    ck_assert_int_eq(td_scope_close(outer), TD_ERR_UNSUPPORTED);
}
END_TEST

START_TEST(outside_any_scope_operations_fail) {
    td_tensor *x = td_keep(two());
    ck_ok(td_scope_close(outer));
    ck_assert_ptr_null(td_exp(x));
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "no scope is open"));
    td_release(&x);
}
END_TEST

START_TEST(scopes_close_in_reverse_order) {
    td_scope *inner = td_scope_open(context);
    ck_fails(td_scope_close(outer), TD_ERR_STATE, "still open");
    ck_ok(td_scope_close(inner));
    ck_ok(td_scope_close(outer));
}
END_TEST

START_TEST(a_scope_needs_the_threads_own_context) {
    td_context_adopt(NULL);
    td_scope *s = td_scope_open(context);
    ck_assert_ptr_null(s);
    ck_fails(td_scope_close(s), TD_ERR_STATE, "");
    td_context_adopt(context);
}
END_TEST

static void *release_there(void *x) {
    td_tensor *kept = x;
    td_release(&kept);
    return NULL;
}

START_TEST(a_kept_value_may_be_released_by_any_thread) {
    for (int round = 0; round < 20; round++) {
        td_tensor *x = td_keep(td_zeros(TD_INTS(100, 100)));
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, release_there, x), 0);
        pthread_join(thread, NULL);
    }
    /* What came back is used again: twenty rounds need little more than one. */
    td_scope *s = td_scope_open(context);
    td_zeros(TD_INTS(100, 100));
    ck_ok(td_scope_close(s));
    ck_assert_uint_lt(td_memory_used(context).peak, 3 * 48 * 1024);
}
END_TEST

START_TEST(a_closed_contexts_value_may_be_released_by_another_thread) {
    td_tensor *x = td_keep(td_zeros(TD_INTS(5)));
    td_context_close(&context);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, release_there, x), 0);
    pthread_join(thread, NULL);
}
END_TEST

static size_t held(void) { return td_memory_used(context).used + td_memory_used(context).cached; }

static void fill_and_drop(int64_t count) {
    td_scope *s = td_scope_open(context);
    td_full(TD_INTS(count), td_num(1.0));
    ck_ok(td_scope_close(s));
}

START_TEST(a_smaller_tensor_lives_in_the_memory_of_a_larger_one) {
    fill_and_drop(1 << 20);
    size_t before = held();
    fill_and_drop(1 << 19);
    fill_and_drop((1 << 18) + 1);
    ck_assert_uint_eq(held(), before);
    fill_and_drop(1 << 16); /* it would waste most of it */
    ck_assert_uint_gt(held(), before);
}
END_TEST

START_TEST(freed_memory_is_used_again) {
    td_scope *s = td_scope_open(context);
    for (int i = 0; i < 3; i++) td_zeros(TD_INTS(1000, i + 1));
    ck_ok(td_scope_close(s));
    size_t most = td_memory_used(context).peak;
    for (int round = 0; round < 10; round++) {
        s = td_scope_open(context);
        for (int i = 0; i < 3; i++) td_zeros(TD_INTS(1000, i + 1));
        ck_ok(td_scope_close(s));
    }
    ck_assert_uint_eq(td_memory_used(context).peak, most);
    td_memory_trim(context);
    ck_assert_uint_eq(td_memory_used(context).cached, 0);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("scope");
    TCase *tcase = tcase_create("scope");
    const TTest *const tests[] = {
        closing_a_scope_drops_its_values,
        a_value_handed_up_belongs_to_the_parent,
        a_value_of_another_owner_is_handed_up_as_it_is,
        the_outermost_scope_has_no_parent_to_hand_to,
        a_kept_value_outlives_scope_and_context,
        keeping_a_kept_value_adds_an_owner,
        moving_drops_the_old_value_at_once,
        moving_leaves_values_of_others_alone,
        after_a_failure_everything_in_the_scope_is_nothing,
        a_scope_opened_inside_a_failed_one_has_failed_too,
        the_next_outermost_scope_starts_afresh,
        a_required_argument_that_is_missing_is_named,
        a_module_can_fail_its_scope_itself,
        outside_any_scope_operations_fail,
        scopes_close_in_reverse_order,
        a_scope_needs_the_threads_own_context,
        a_kept_value_may_be_released_by_any_thread,
        a_closed_contexts_value_may_be_released_by_another_thread,
        freed_memory_is_used_again,
        a_smaller_tensor_lives_in_the_memory_of_a_larger_one,
    };
    tcase_add_checked_fixture(tcase, open, close);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
