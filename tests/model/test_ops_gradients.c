/*
 * The gradients of every row of ops.def against finite differences in f64, and the gradients of those
 * gradients likewise. The test loops over the table: a differentiable row without a call in
 * support/op_cases.c fails by name, so none can be forgotten.
 *
 * With weights w for the first result y, the loss is L(x) = sum(w * y(x)); its gradients g are compared with
 * (L(x + h) - L(x - h)) / 2h, element by element. Then S(x, w) = sum(u * g(x, w)), with fixed numbers u, is
 * differentiated the same way, which needs every backward row to have gradients of its own.
 */
#include "base/context.h"
#include "model/autograd/autograd.h"
#include "model/tensor/scope.h"
#include "support/check.h"
#include "support/op_inputs.h"
#include "support/tensors.h"

#include <math.h>
#include <stdio.h>

#define STEP      1e-5
#define TOLERANCE 2e-6
#define SEED      42 /* before every call, so that rows that draw draw the same */

/* Rows whose result depends on nothing (unset memory). */
static const char *const without_values[] = {"empty", "empty_like", NULL};

static td_context *context;

static void open_context(void) { ck_ok(td_context_open(&context)); }
static void close_context(void) { close_context_empty(&context); }

static bool listed(const char *const *list, const char *name) {
    while (*list && strcmp(*list, name) != 0) list++;
    return *list != NULL;
}

/* --- one call, as a function of its variables ----------------------------------------------------------- */

/* What is differentiated: a case in one layout, called in its functional or its in-place form. */
typedef struct subject {
    op_inputs inputs;
    bool in_place;
    char title[500];
    td_tensor *weights;           /* of the first result's sizes; a leaf */
    td_tensor *u[TD_OP_MAX_ARGS]; /* of the gradients' sizes */
} subject;

/* The written argument must not be a leaf: a copy of it is written. */
static td_tensor *call(subject *s) {
    td_value in[TD_OP_MAX_ARGS], out[TD_OP_MAX_RESULTS] = {{0}};
    memcpy(in, s->inputs.in, sizeof in);
    td_op op = s->inputs.op;
    if (s->in_place) op = (td_op)(op | TD_OP_INPLACE);
    if (s->in_place || s->inputs.info->effects & TD_EFFECT_WRITE) in[0].as.tensor = td_clone(in[0].as.tensor);
    ck_ok(td_manual_seed(SEED));
    ck_expect(td_op_call(op, in, out) == TD_OK, "%s: %s", s->title, td_error_last()->text);
    return out[0].as.tensor;
}

/* sum(a * b) of two lists of the same length, exactly enough. */
static double dot(const td_tensor *x, const td_tensor *y) {
    double sum = 0, *a = tensor_numbers(x), *b = tensor_numbers(y);
    for (int64_t i = 0; i < td_tensor_count(x); i++) sum += a[i] * b[i];
    free(a);
    free(b);
    return sum;
}

/* The gradients of the result `y` for the variables; all NULL when it carries none. */
static void gradients(const subject *s, td_tensor *y, bool create_graph, td_tensor **grads) {
    for (int i = 0; i < s->inputs.variable_count; i++) grads[i] = NULL;
    if (!td_tensor_requires_grad(y)) return;
    td_status status = td_grad(y, s->inputs.variables, (size_t)s->inputs.variable_count, grads,
                               .grad = s->weights, .create_graph = create_graph);
    ck_expect(status == TD_OK, "%s: %s", s->title, td_error_last()->text);
}

/* L(x). */
static double loss(subject *s) {
    td_scope *scope = td_scope_open(context);
    td_no_grad_begin();
    double value = dot(call(s), s->weights);
    td_no_grad_end();
    ck_ok(td_scope_close(scope));
    return value;
}

/* S(x, w). */
static double loss_of_gradients(subject *s) {
    td_scope *scope = td_scope_open(context);
    td_tensor *grads[TD_OP_MAX_ARGS];
    double value = 0;
    gradients(s, call(s), false, grads);
    for (int i = 0; i < s->inputs.variable_count; i++)
        if (grads[i]) value += dot(grads[i], s->u[i]);
    ck_ok(td_scope_close(scope));
    return value;
}

/* --- comparing ------------------------------------------------------------------------------------------ */

/* Compare `grad` (NULL is zero) with the finite differences of f by x. */
static void check_against_differences(subject *s, double (*f)(subject *), td_tensor *x, const char *name,
                                      const td_tensor *grad) {
    double *numbers = grad ? tensor_numbers(grad) : NULL;
    for (int64_t i = 0; i < td_tensor_count(x); i++) {
        double there = tensor_get(x, i);
        tensor_set(x, i, there + STEP);
        double above = f(s);
        tensor_set(x, i, there - STEP);
        double below = f(s);
        tensor_set(x, i, there);
        double wanted = (above - below) / (2 * STEP), got = numbers ? numbers[i] : 0;
        ck_expect(fabs(got - wanted) <= TOLERANCE * (1 + fabs(wanted)),
                  "%s: %s of %s, element %lld: %.12g, but finite differences give %.12g", s->title,
                  f == loss ? "gradient" : "second gradient", name, (long long)i, got, wanted);
    }
    free(numbers);
}

static td_tensor *numbers_like(const td_tensor *x, uint32_t key) {
    int64_t count = td_tensor_count(x);
    double *numbers = malloc((size_t)(count + 1) * sizeof *numbers);
    ck_quietly(numbers);
    op_numbers(numbers, count, key);
    td_tensor *y = tensor_of(numbers, td_tensor_dtype(x), td_tensor_sizes(x));
    free(numbers);
    return y;
}

static void check_first(subject *s, td_tensor *y) {
    td_tensor *grads[TD_OP_MAX_ARGS];
    gradients(s, y, false, grads);
    for (int i = 0; i < s->inputs.variable_count; i++)
        check_against_differences(s, loss, s->inputs.variables[i], s->inputs.names[i], grads[i]);
}

/* S and its gradients by tape: the gradients g are built with create_graph. */
static void check_second(subject *s) {
    int count = s->inputs.variable_count;
    td_tensor *grads[TD_OP_MAX_ARGS], *second[TD_OP_MAX_ARGS + 1] = {NULL}, *sum = NULL;
    td_tensor *inputs[TD_OP_MAX_ARGS + 1];
    ck_ok(td_tensor_set_requires_grad(s->weights, true));
    gradients(s, call(s), true, grads);
    for (int i = 0; i < count; i++) {
        inputs[i] = s->inputs.variables[i];
        if (!grads[i]) continue;
        td_tensor *part = td_sum(td_mul(grads[i], s->u[i]));
        sum = sum ? td_add(sum, part) : part;
    }
    inputs[count] = s->weights;
    if (sum && td_tensor_requires_grad(sum)) {
        td_status status = td_grad(sum, inputs, (size_t)count + 1, second);
        ck_expect(status == TD_OK, "%s: second gradients: %s", s->title, td_error_last()->text);
    }
    for (int i = 0; i < count; i++)
        check_against_differences(s, loss_of_gradients, inputs[i], s->inputs.names[i], second[i]);
    check_against_differences(s, loss_of_gradients, s->weights, "the result's gradient", second[count]);
}

static void check_case(const op_case *source, op_layout layout, bool in_place) {
    subject s = {.in_place = in_place};
    td_scope *scope = td_scope_open(context);
    op_inputs_make(&s.inputs, source, TD_DTYPE_F64, layout, 1000);
    snprintf(s.title, sizeof s.title, "%s%s", op_case_describe(source, TD_DTYPE_F64, layout),
             in_place ? ", in place" : "");
    for (int i = 0; i < s.inputs.variable_count; i++) {
        ck_ok(td_tensor_set_requires_grad(s.inputs.variables[i], true));
        s.u[i] = numbers_like(s.inputs.variables[i], 50 + (uint32_t)i);
    }
    td_tensor *y = call(&s);
    s.weights = numbers_like(y, 40);
    check_first(&s, y);
    if (td_tensor_requires_grad(y)) check_second(&s);
    ck_ok(td_scope_close(scope));
}

/* The in-place form takes cases whose result has the first argument's sizes; broadcasting may enlarge it. */
static bool fits_in_place(const op_case *source) {
    op_inputs inputs;
    td_scope *scope = td_scope_open(context);
    op_inputs_make(&inputs, source, TD_DTYPE_F64, OP_CONTIGUOUS, 0);
    td_value out[TD_OP_MAX_RESULTS];
    ck_ok(td_op_call(inputs.op, inputs.in, out));
    td_ints self = td_tensor_sizes(inputs.in[0].as.tensor), result = td_tensor_sizes(out[0].as.tensor);
    ck_ok(td_scope_close(scope));
    return self.count == result.count && memcmp(&self, &result, sizeof self) == 0;
}

/* --- the tests ------------------------------------------------------------------------------------------ */

START_TEST(every_row_has_a_call_to_try) {
    for (int op = 0; op < TD_OP_COUNT; op++) {
        const char *name = td_op_describe((td_op)op)->name;
        ck_expect(op_case_next(op_cases, name) != NULL, "the row %s has no call in support/op_cases.c", name);
    }
}
END_TEST

START_TEST(gradients_are_those_of_finite_differences) {
    static const op_layout layouts[] = {OP_CONTIGUOUS, OP_TRANSPOSED, OP_SLICED, OP_CHANNELS_LAST};
    const td_op_info *info = td_op_describe((td_op)_i);
    if (!info->differentiable || listed(without_values, info->name)) return;
    ck_expect(op_case_next(op_cases, info->name) != NULL,
              "the differentiable row %s has no call in support/op_cases.c", info->name);
    for (const op_case *c = op_case_next(op_cases, info->name); c; c = op_case_next(c + 1, info->name)) {
        if (c->flags & OP_LARGE) continue;
        size_t count = c->flags & OP_CONTIGUOUS_ONLY ? 1 : sizeof layouts / sizeof *layouts;
        for (size_t k = 0; k < count; k++) check_case(c, layouts[k], false);
        if (info->in_place && fits_in_place(c)) check_case(c, OP_TRANSPOSED, true);
    }
}
END_TEST

START_TEST(results_of_a_no_grad_row_do_not_require_grad) {
    const td_op_info *info = td_op_describe((td_op)_i);
    if (info->differentiable) return;
    for (const op_case *c = op_case_next(op_cases, info->name); c; c = op_case_next(c + 1, info->name)) {
        op_inputs inputs;
        td_value out[TD_OP_MAX_RESULTS] = {{0}};
        td_scope *scope = td_scope_open(context);
        op_inputs_make(&inputs, c, TD_DTYPE_F64, OP_CONTIGUOUS, 0);
        for (int i = 0; i < inputs.variable_count; i++)
            ck_ok(td_tensor_set_requires_grad(inputs.variables[i], true));
        ck_ok(td_op_call(inputs.op, inputs.in, out));
        for (int i = 0; i < info->result_count; i++)
            ck_expect(!td_tensor_requires_grad(out[i].as.tensor), "%s: %s requires grad",
                      op_case_describe(c, TD_DTYPE_F64, OP_CONTIGUOUS), info->results[i]);
        ck_ok(td_scope_close(scope));
    }
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("ops_gradients");
    TCase *tcase = tcase_create("rows");
    tcase_add_checked_fixture(tcase, open_context, close_context);
    tcase_add_test(tcase, every_row_has_a_call_to_try);
    tcase_add_loop_test(tcase, gradients_are_those_of_finite_differences, 0, TD_OP_COUNT);
    tcase_add_loop_test(tcase, results_of_a_no_grad_row_do_not_require_grad, 0, TD_OP_COUNT);
    suite_add_tcase(suite, tcase);
    return suite;
}
