/*
 * Gradients through views and in-place writes, against PyTorch: every case of tests/golden/views.json has a
 * function of its name in view_cases.c or view_errors.c, which computes the loss; here are its inputs set and
 * loss, gradients and the values of all names compared.
 */
#include "base/context.h"
#include "model/tensor/scope.h"
#include "model/view_case.h"
#include "support/check.h"
#include "support/golden_tensor.h"

#include <math.h>
#include <stdio.h>

td_tensor *a, *b, *c, *d, *e, *p, *q, *r, *s, *u, *v, *w, *x, *y, *z;

static td_tensor **const names[128] = {
    ['a'] = &a, ['b'] = &b, ['c'] = &c, ['d'] = &d, ['e'] = &e, ['p'] = &p, ['q'] = &q, ['r'] = &r,
    ['s'] = &s, ['u'] = &u, ['v'] = &v, ['w'] = &w, ['x'] = &x, ['y'] = &y, ['z'] = &z};

/* How each kind of error is told: the status, and a word that helps whoever reads the message. */
static const struct {
    const char *kind;
    td_status status;
    const char *part;
} refusals[] = {
    {"leaf", TD_ERR_STATE, "leaf"},        {"version", TD_ERR_STATE, "modified by an in-place operation"},
    {"overlap", TD_ERR_STATE, "clone"},    {"no_grad_view", TD_ERR_STATE, "no_grad"},
    {"no_graph", TD_ERR_STATE, "grad"},    {"twice", TD_ERR_STATE, "retain_graph"},
    {"scalar", TD_ERR_ARG, "one element"},
};

static json_t *cases, *errors; /* read once, when the suite is made */
static td_context *context;
static td_scope *scope;

static void open_scope(void) {
    ck_ok(td_context_open(&context));
    scope = td_scope_open(context);
}

static void close_context(void) { close_context_empty(&context); }

void so_far_so_good(void) {
    ck_expect(td_scope_status(scope) == TD_OK, "failed too early: %s", td_error_last()->text);
}

static td_tensor **named(const char *name) {
    ck_expect(strlen(name) == 1 && names[(int)*name], "no variable is called '%s'", name);
    return names[(int)*name];
}

static const view_case *mirror_of(const view_case *table, const json_t *record) {
    const char *name = golden_text(record, "name");
    while (table->name && strcmp(table->name, name) != 0) table++;
    ck_expect(table->name != NULL, "%s has no function of its name: %s", name,
              golden_text(record, "formula"));
    return table;
}

/* Set the inputs, compute the loss. */
static td_tensor *loss_of(const view_case *mirror, const json_t *record) {
    const char *key;
    json_t *input;
    json_object_foreach(json_object_get(record, "inputs"), key, input) {
        *named(key) = golden_tensor(input);
        ck_ok(td_tensor_set_requires_grad(*named(key), golden_flag(input, "requires_grad")));
    }
    return mirror->loss();
}

static void check_gradients(const char *name, const json_t *grads) {
    const char *key;
    json_t *record;
    json_object_foreach((json_t *)grads, key, record) {
        char what[160];
        snprintf(what, sizeof what, "%s: gradient of %s", name, key);
        const td_tensor *grad = td_tensor_grad(*named(key));
        if (json_is_null(record))
            ck_expect(grad == NULL, "%s: there is one", what);
        else
            golden_tensor_agrees(grad, record, 1e-13, 1e-14, what);
    }
}

static void check_values(const char *name, const json_t *values) {
    const char *key;
    json_t *record;
    json_object_foreach((json_t *)values, key, record) {
        char what[160];
        snprintf(what, sizeof what, "%s: %s", name, key);
        golden_tensor_agrees(*named(key), record, 1e-14, 0, what);
    }
}

START_TEST(loss_gradients_and_values_are_pytorchs) {
    const json_t *record = json_array_get(cases, (size_t)_i);
    const view_case *mirror = mirror_of(view_cases, record);
    td_tensor *loss = loss_of(mirror, record);
    ck_expect(loss != NULL, "%s failed: %s", mirror->name, td_error_last()->text);
    td_status status = td_backward(loss);
    ck_expect(status == TD_OK, "%s: backward failed: %s", mirror->name, td_error_last()->text);
    double got, want = json_number_value(json_object_get(record, "loss"));
    ck_ok(td_tensor_item(loss, &got));
    numbers_agree(&got, &want, 1, 1e-13, 0, mirror->name);
    check_gradients(mirror->name, json_object_get(record, "grads"));
    check_values(mirror->name, json_object_get(record, "values"));
    ck_ok(td_scope_close(scope));
}
END_TEST

START_TEST(what_pytorch_refuses_is_refused) {
    const json_t *record = json_array_get(errors, (size_t)_i);
    const view_case *mirror = mirror_of(view_errors, record);
    const char *kind = golden_text(record, "kind");
    size_t i = 0;
    while (strcmp(refusals[i].kind, kind) != 0) ck_assert_uint_lt(++i, sizeof refusals / sizeof *refusals);

    td_tensor *result = loss_of(mirror, record);
    if (strcmp(golden_text(record, "fails_in"), "backward") == 0) {
        so_far_so_good();
        td_backward(result);
    } else {
        ck_expect(result == NULL, "%s gave a result", mirror->name);
    }
    const td_error *error = td_error_last();
    ck_expect(td_scope_status(scope) < 0, "%s succeeded", mirror->name);
    ck_expect(error->status == refusals[i].status, "%s failed with %s: %s", mirror->name,
              td_status_name(error->status), error->text);
    ck_expect(strstr(error->text, refusals[i].part), "%s says '%s', without '%s'", mirror->name, error->text,
              refusals[i].part);
    ck_assert_int_eq(td_scope_close(scope), refusals[i].status);
}
END_TEST

/* a = x * 1; a[1:3].mul_(y); loss = (a * a * a).sum(), whose derivatives are known: with a1 = x1 * y0 they
 * are 3 a1^2 y0 by x1, and of that 6 a1 y0^2 by x1 and 9 a1^2 by y0. */
START_TEST(second_derivatives_pass_through_a_written_view) {
    const double x_numbers[] = {0.5, 1.5, -2, 3}, y_numbers[] = {2, -0.25};
    x = tensor_of(x_numbers, TD_DTYPE_F64, TD_INTS(4));
    y = tensor_of(y_numbers, TD_DTYPE_F64, TD_INTS(2));
    ck_ok(td_tensor_set_requires_grad(x, true));
    ck_ok(td_tensor_set_requires_grad(y, true));
    a = scaled(x, 1);
    td_mul_(part(a, 1, 3), y);
    td_tensor *first, *second[2];
    ck_ok(td_grad(td_sum(td_mul(td_mul(a, a), a)), &x, 1, &first, .create_graph = true));
    ck_ok(td_grad(td_sum(first), (td_tensor *[]){x, y}, 2, second));
    ck_assert(second[0] && second[1]);
    double by_x[4], by_y[2], *got_x = tensor_numbers(second[0]), *got_y = tensor_numbers(second[1]);
    for (int i = 0; i < 4; i++) by_x[i] = 6 * x_numbers[i];
    for (int i = 1; i < 3; i++) {
        by_x[i] *= pow(y_numbers[i - 1], 3);
        by_y[i - 1] = 9 * pow(x_numbers[i] * y_numbers[i - 1], 2);
    }
    numbers_agree(got_x, by_x, 4, 1e-13, 0, "by x");
    numbers_agree(got_y, by_y, 2, 1e-13, 0, "by y");
    free(got_x);
    free(got_y);
    ck_ok(td_scope_close(scope));
}
END_TEST

static int length(const view_case *table) {
    int count = 0;
    while (table[count].name) count++;
    return count;
}

START_TEST(the_golden_file_has_every_function_here) {
    ck_assert_int_eq(length(view_cases), (int)json_array_size(cases));
    ck_assert_int_eq(length(view_errors), (int)json_array_size(errors));
}
END_TEST

Suite *make_suite(void) {
    json_t *golden = golden_load("views.json");
    cases = json_incref(golden_list(golden, "cases"));
    errors = json_incref(golden_list(golden, "errors"));
    json_decref(golden);
    Suite *suite = suite_create("views");
    TCase *tcase = tcase_create("cases");
    tcase_add_checked_fixture(tcase, open_scope, close_context);
    tcase_add_loop_test(tcase, loss_gradients_and_values_are_pytorchs, 0, (int)json_array_size(cases));
    tcase_add_loop_test(tcase, what_pytorch_refuses_is_refused, 0, (int)json_array_size(errors));
    tcase_add_test(tcase, second_derivatives_pass_through_a_written_view);
    tcase_add_test(tcase, the_golden_file_has_every_function_here);
    suite_add_tcase(suite, tcase);
    return suite;
}
