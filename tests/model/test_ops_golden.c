/*
 * Every operation against PyTorch: tests/golden/ops.json holds small calls by ATen's argument names, with
 * their results and gradients. Each is one call of the boxed entry here, driven by the row's descriptors, so
 * a new row needs no code in this file: only cases in scripts/golden/ops.py.
 */
#include "base/context.h"
#include "model/autograd/autograd.h"
#include "model/ops/value.h"
#include "model/tensor/scope.h"
#include "support/check.h"
#include "support/golden_tensor.h"

#include <stdio.h>

/* Overloads: ATen tells `max` with a dim from `max` without by the arguments; in C they are two names. A
 * number for `other` takes the row's _scalar form, which needs no line here. */
static const struct {
    const char *op, *when_given, *row;
} overloads[] = {
    {"max", "dim", "max_dim"},
    {"arange", "start", "arange_start"},
};

#define MAX_TENSORS 4 /* in a list */

/* One case, made ready to be called. */
typedef struct call {
    const json_t *record;
    char title[600]; /* begins every failure's message */
    td_op op;
    const td_op_info *info;
    td_value in[TD_OP_MAX_ARGS];
    td_tensor *list[MAX_TENSORS]; /* behind an argument Tensor[] */
} call;

static json_t *cases; /* read once, when the suite is made */

static const char *row_name(const json_t *record) {
    static char name[64];
    const json_t *args = json_object_get(record, "args");
    const char *op = golden_text(record, "op");
    for (size_t i = 0; i < sizeof overloads / sizeof *overloads; i++)
        if (strcmp(op, overloads[i].op) == 0 && json_object_get(args, overloads[i].when_given))
            return overloads[i].row;
    snprintf(name, sizeof name, "%s%s", op, json_is_number(json_object_get(args, "other")) ? "_scalar" : "");
    return name;
}

static td_scalar scalar_of(const json_t *value) {
    if (json_is_boolean(value)) return td_scalar_bool(json_is_true(value));
    return json_is_integer(value) ? td_scalar_int(json_integer_value(value))
                                  : td_scalar_real(json_real_value(value));
}

static td_tensors tensors_of(call *c, const json_t *value) {
    ck_assert_uint_le(json_array_size(value), MAX_TENSORS);
    for (size_t i = 0; i < json_array_size(value); i++) c->list[i] = golden_tensor(json_array_get(value, i));
    return (td_tensors){c->list, json_array_size(value)};
}

static td_dtype dtype_called(const char *name) {
    td_dtype dtype = TD_DTYPE_NONE;
    ck_ok(td_dtype_parse(name, &dtype));
    return dtype;
}

/* The JSON value as an argument of the kind that the row asks for; the kind decides, not the JSON's own. */
static td_value value_of(call *c, const td_op_arg *arg, const json_t *value) {
    td_value v = {TD_VALUE_ABSENT, {0}};
    if (value == NULL || json_is_null(value)) return v;
    v.kind = arg->kind;
    switch (arg->kind) {
    case TD_VALUE_ABSENT: break;
    case TD_VALUE_TENSOR: v.as.tensor = golden_tensor(value); break;
    case TD_VALUE_TENSORS: v.as.tensors = tensors_of(c, value); break;
    case TD_VALUE_SCALAR: v.as.scalar = scalar_of(value); break;
    case TD_VALUE_INT: v.as.integer = json_integer_value(value); break;
    case TD_VALUE_INTS: v.as.ints = golden_ints(value); break;
    case TD_VALUE_PAIR:
        for (size_t i = 0; i < 2; i++) v.as.pair[i] = json_integer_value(json_array_get(value, i));
        break;
    case TD_VALUE_FLOAT: v.as.real = json_number_value(value); break;
    case TD_VALUE_BOOL: v.as.boolean = json_is_true(value); break;
    case TD_VALUE_DTYPE: v.as.dtype = dtype_called(json_string_value(value)); break;
    case TD_VALUE_MEMORY_FORMAT: ck_abort_msg("%s: no golden case gives a memory format", c->title);
    case TD_VALUE_REDUCTION: v.as.reduction = (td_reduction)json_integer_value(value); break;
    }
    return v;
}

static void prepare(call *c, int number) {
    *c = (call){.record = json_array_get(cases, (size_t)number)};
    const char *name = row_name(c->record);
    const json_t *args = json_object_get(c->record, "args");
    snprintf(c->title, sizeof c->title, "case %d, %s of %s", number, name, golden_describe(args));
    ck_expect(td_op_find(name, &c->op) == TD_OK, "%s: %s", c->title, td_error_last()->text);
    c->info = td_op_describe(c->op);
    size_t known = 0;
    for (int i = 0; i < c->info->arg_count; i++) {
        const json_t *value = json_object_get(args, c->info->args[i].name);
        known += value != NULL;
        c->in[i] = value_of(c, &c->info->args[i], value);
    }
    ck_expect(known == json_object_size(args), "%s: Tandem's row has not all of these arguments, but %s",
              c->title, c->info->signature);
}

/* The input that a gradient's key names: "self", "tensors[1]". */
static td_tensor *input_called(const call *c, const char *key) {
    size_t length = strcspn(key, "[");
    for (int i = 0; i < c->info->arg_count; i++) {
        const char *name = c->info->args[i].name;
        if (strlen(name) != length || strncmp(name, key, length) != 0) continue;
        return key[length] ? c->list[atoi(key + length + 1)] : c->in[i].as.tensor;
    }
    ck_abort_msg("%s: a gradient for '%s'", c->title, key);
}

/* What is the arguments' own elements, or counted in integers, is exact; the rest may differ from PyTorch's
 * by a few units in the last place, as sums in another order do. */
static void tolerance(bool exact, const td_tensor *x, double *relative, double *absolute) {
    td_dtype dtype = td_tensor_dtype(x);
    exact |= !td_dtype_is_floating(dtype);
    *relative = exact ? 0 : dtype == TD_DTYPE_F64 ? 1e-12 : 2e-6;
    *absolute = exact ? 0 : dtype == TD_DTYPE_F64 ? 1e-13 : 1e-6;
}

static void check_tensor(const call *c, const char *name, const td_tensor *got, const json_t *record,
                         bool exact) {
    char what[700];
    snprintf(what, sizeof what, "%s: %s", c->title, name);
    ck_expect(got != NULL, "%s: there is none", what);
    double relative, absolute;
    tolerance(exact, got, &relative, &absolute);
    golden_tensor_agrees(got, record, relative, absolute, what);
}

static void check_results(const call *c, const td_value *out) {
    const json_t *wanted = json_object_get(c->record, "out");
    ck_assert_int_eq((int)json_array_size(wanted), c->info->result_count);
    for (int i = 0; i < c->info->result_count; i++)
        check_tensor(c, c->info->results[i], out[i].as.tensor, json_array_get(wanted, (size_t)i),
                     c->info->view);
}

/* The weights of ops.json's loss = sum(out * weights): 0.1, 0.2, ... */
static td_tensor *weights_for(const td_tensor *out) {
    int64_t count = td_tensor_count(out);
    double *weights = malloc((size_t)(count + 1) * sizeof *weights);
    ck_quietly(weights);
    for (int64_t i = 0; i < count; i++) weights[i] = 0.1 * (double)(1 + i);
    td_tensor *x = tensor_of(weights, td_tensor_dtype(out), td_tensor_sizes(out));
    free(weights);
    return x;
}

static void check_gradients(const call *c, td_tensor *out, const json_t *grads) {
    const char *key;
    json_t *record;
    ck_expect(td_tensor_requires_grad(out), "%s: the result carries no gradient", c->title);
    td_status status = td_backward(out, .grad = weights_for(out));
    ck_expect(status == TD_OK, "%s: backward: %s", c->title, td_error_last()->text);
    json_object_foreach((json_t *)grads, key, record) {
        char name[80];
        snprintf(name, sizeof name, "gradient of %s", key);
        td_tensor *grad = td_tensor_grad(input_called(c, key));
        if (json_is_null(record))
            ck_expect(grad == NULL, "%s: there is a %s", c->title, name);
        else
            check_tensor(c, name, grad, record, false);
    }
}

START_TEST(operation_gives_what_pytorch_gives) {
    td_context *context;
    ck_ok(td_context_open(&context));
    td_scope *scope = td_scope_open(context);
    call c;
    prepare(&c, _i);
    const char *key;
    json_t *record, *grads = json_object_get(c.record, "grads");
    json_object_foreach(grads, key, record) ck_ok(td_tensor_set_requires_grad(input_called(&c, key), true));
    td_value out[TD_OP_MAX_RESULTS];
    ck_expect(td_op_call(c.op, c.in, out) == TD_OK, "%s failed: %s", c.title, td_error_last()->text);
    check_results(&c, out);
    if (grads) check_gradients(&c, out[0].as.tensor, grads);
    ck_ok(td_scope_close(scope));
    td_context_close(&context);
}
END_TEST

/* Rows without a call of ATen's to compare with: each is reached, or its draws are compared, elsewhere. */
static bool has_no_golden_case(const td_op_info *info) {
    static const char *const without[] = {
        "cast",                  /* `to`, without the case in which nothing is done */
        "max_pool2d_chosen",     /* second derivative of max_pool2d: test_ops_gradients.c */
        "batch_norm_statistics", /* with batch_norm */
        "empty",
        "empty_like", /* unset elements */
    };
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (strcmp(info->name, without[i]) == 0) return true;
    /* The parts of composites, with ATen's meaning but not its arguments. */
    return info->effects & TD_EFFECT_RANDOM || strstr(info->name, "_backward") ||
           strstr(info->name, "_forward");
}

START_TEST(every_row_has_a_golden_case) {
    bool seen[TD_OP_COUNT] = {false};
    td_op op;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        ck_ok(td_op_find(row_name(json_array_get(cases, i)), &op));
        seen[op] = true;
    }
    for (int i = 0; i < TD_OP_COUNT; i++)
        ck_expect(seen[i] || has_no_golden_case(td_op_describe((td_op)i)),
                  "the row %s has no case in tests/golden/ops.json", td_op_describe((td_op)i)->name);
}
END_TEST

Suite *make_suite(void) {
    json_t *golden = golden_load("ops.json");
    cases = json_incref(golden_list(golden, "cases"));
    json_decref(golden);
    Suite *suite = suite_create("ops_golden");
    TCase *tcase = tcase_create("cases");
    tcase_add_loop_test(tcase, operation_gives_what_pytorch_gives, 0, (int)json_array_size(cases));
    tcase_add_test(tcase, every_row_has_a_golden_case);
    suite_add_tcase(suite, tcase);
    return suite;
}
