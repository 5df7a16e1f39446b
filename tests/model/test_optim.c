/* Optimizers: PyTorch's bits, groups, skipped gradients, state that resumes, refusals, failing allocations.
 */
#include "base/context.h"
#include "base/generator.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/cpu/optimizer_kernels.h"
#include "model/ops/ops.h"
#include "model/optim/optimizer.h"
#include "model/tensor/scope.h"
#include "model/tensor/storage.h"
#include "support/check.h"
#include "support/golden.h"

#include <math.h>

static td_context *context;
static td_scope *scope; /* a test's outermost */

static void begin(void) {
    ck_ok(td_context_open(&context));
    scope = td_scope_open(context);
    ck_assert_ptr_nonnull(scope);
}

static void end(void) {
    ck_ok(td_scope_close(scope));
    ck_assert_uint_eq(td_memory_used(context).used, 0);
    td_context_close(&context);
}

/* rand(count) - 0.5, as scripts/golden/optim.py draws. */
static td_tensor *draw(int64_t count, td_dtype dtype) {
    td_generator *generator = td_context_generator(context);
    td_tensor *x = td_empty(TD_INTS(count), .dtype = dtype);
    if (dtype == TD_DTYPE_F32) {
        float *at = td_tensor_data(x);
        td_generator_uniform_f32(generator, at, (size_t)count, 0, 1);
        for (int64_t i = 0; i < count; i++) at[i] -= 0.5f;
    } else {
        double *at = td_tensor_data(x);
        td_generator_uniform_f64(generator, at, (size_t)count, 0, 1);
        for (int64_t i = 0; i < count; i++) at[i] -= 0.5;
    }
    return x;
}

static int64_t checksum(const td_tensor *x) {
    return golden_crc(td_tensor_data(x), (size_t)td_tensor_count(x) * td_dtype_size(td_tensor_dtype(x)));
}

static void add_parameter(td_state_dict *dict, const char *name, td_tensor *x) {
    ck_ok(td_tensor_set_requires_grad(x, true));
    ck_ok(td_state_dict_add(dict, name, x));
}

/* --- PyTorch's bits --------------------------------------------------------------------------------- */

static td_optimizer *open_recorded(const json_t *record, const td_state_dict *parameters) {
    const json_t *options = json_object_get(record, "options"), *betas = json_object_get(options, "betas");
    const char *rule = golden_text(record, "optimizer");
    td_optimizer *optimizer = NULL;
    if (!strcmp(rule, "SGD")) {
        td_sgd_options o = {TD_SGD_DEFAULTS};
        o.lr = golden_real_or(options, "lr", o.lr);
        o.momentum = golden_real_or(options, "momentum", o.momentum);
        o.dampening = golden_real_or(options, "dampening", o.dampening);
        o.weight_decay = golden_real_or(options, "weight_decay", o.weight_decay);
        o.nesterov = golden_flag(options, "nesterov");
        o.maximize = golden_flag(options, "maximize");
        ck_ok(td_sgd_open(parameters, &o, &optimizer));
        return optimizer;
    }
    bool decoupled = !strcmp(rule, "AdamW");
    td_adam_options plain = {TD_ADAM_DEFAULTS}, with_decay = {TD_ADAMW_DEFAULTS};
    td_adam_options o = decoupled ? with_decay : plain;
    o.lr = golden_real_or(options, "lr", o.lr);
    o.eps = golden_real_or(options, "eps", o.eps);
    for (size_t i = 0; i < json_array_size(betas); i++)
        o.betas[i] = json_number_value(json_array_get(betas, i));
    o.weight_decay = golden_real_or(options, "weight_decay", o.weight_decay);
    o.amsgrad = golden_flag(options, "amsgrad");
    o.maximize = golden_flag(options, "maximize");
    ck_ok(decoupled ? td_adamw_open(parameters, &o, &optimizer) : td_adam_open(parameters, &o, &optimizer));
    return optimizer;
}

static void check_slots(const json_t *record, const td_optimizer *optimizer) {
    td_state_dict state = {0};
    ck_ok(td_optimizer_state(optimizer, &state));
    const json_t *slots = json_object_get(record, "slots");
    for (size_t i = 0; i < json_array_size(slots); i++) {
        const json_t *slot = json_array_get(slots, i);
        const td_tensor *x = td_state_dict_find(&state, golden_text(slot, "name"));
        ck_assert_msg(x != NULL, "%s: no %s", golden_describe(record), golden_text(slot, "name"));
        ck_assert_msg(checksum(x) == golden_int(slot, "crc32"), "%s: %s", golden_describe(record),
                      golden_text(slot, "name"));
    }
    td_state_dict_clear(&state);
}

static void replay(const json_t *record) {
    td_dtype dtype;
    ck_ok(td_dtype_parse(golden_text(record, "dtype"), &dtype));
    ck_ok(td_manual_seed(golden_seed(record)));
    td_tensor *a = draw(1003, dtype), *b = draw(17, dtype);
    td_state_dict parameters = {0};
    add_parameter(&parameters, "a", a);
    add_parameter(&parameters, "b", b);
    td_optimizer *optimizer = open_recorded(record, &parameters);
    for (int64_t step = 0; step < golden_int(record, "steps"); step++) {
        td_optimizer_zero_grad(optimizer);
        ck_ok(td_tensor_set_grad(a, draw(1003, dtype)));
        if (step == 1 || step >= 3) ck_ok(td_tensor_set_grad(b, draw(17, dtype)));
        ck_ok(td_optimizer_step(optimizer));
        int64_t wanted = json_integer_value(json_array_get(json_object_get(record, "a_crc32"), (size_t)step));
        ck_assert_msg(checksum(a) == wanted, "%s: step %d", golden_describe(record), (int)step);
    }
    ck_assert_msg(checksum(b) == golden_int(record, "b_crc32"), "%s: b", golden_describe(record));
    check_slots(record, optimizer);
    td_optimizer_close(&optimizer);
    td_state_dict_clear(&parameters);
}

START_TEST(updates_have_pytorchs_bits) {
    begin();
    json_t *root = golden_load("optim.json"), *record;
    size_t i;
    json_array_foreach(golden_list(root, "updates"), i, record) replay(record);
    json_decref(root);
    end();
}
END_TEST

/* Fast loops and plain ones, on sizes around vectors' widths. */
START_TEST(fast_updates_have_the_bits_of_the_plain_ones) {
    begin();
    for (int64_t count = 1; count < 70; count++)
        for (int variant = 0; variant < 8; variant++) {
            td_tensor *x[8]; /* param, grad and two slots; and copies of them */
            for (int i = 0; i < 4; i++)
                x[i] = td_abs(draw(count, TD_DTYPE_F32)); /* exp_avg_sq is not negative */
            for (int i = 0; i < 4; i++) x[4 + i] = td_clone(x[i]);
            float *f[8];
            for (int i = 0; i < 8; i++) f[i] = td_tensor_data(x[i]);
            cpu_sgd_rule sgd = {.lr = 0.1,
                                .momentum = 0.9,
                                .dampening = 0.25,
                                .weight_decay = variant & 1 ? 0.01 : 0,
                                .nesterov = variant & 2,
                                .first = variant & 4};
            cpu_sgd_update(&sgd, TD_DTYPE_F32, f[0], f[1], f[2], count);
            cpu_sgd_numbers n = {.minus_lr = -0.1,
                                 .momentum = 0.9,
                                 .one_minus_dampening = 0.75,
                                 .weight_decay = sgd.weight_decay,
                                 .nesterov = sgd.nesterov,
                                 .first = sgd.first};
            cpu_reference_sgd(&n, TD_DTYPE_F32, f[4], f[5], f[6], (size_t)count);
            cpu_adam_rule adam = {.lr = 0.1,
                                  .beta1 = variant & 2 ? 0.9 : 0.3,
                                  .beta2 = 0.99,
                                  .eps = 1e-8,
                                  .weight_decay = variant & 1 ? 0.01 : 0,
                                  .decoupled = variant & 4,
                                  .step = 1};
            cpu_adam_update(&adam, TD_DTYPE_F32, f[0], f[1], f[2], f[3], NULL, count);
            cpu_adam_numbers m = {.shrink = adam.decoupled ? 1 - 0.1 * adam.weight_decay : 1,
                                  .weight_decay = adam.decoupled ? 0 : adam.weight_decay,
                                  .one_minus_beta1 = 1 - adam.beta1,
                                  .beta2 = 0.99,
                                  .one_minus_beta2 = 1 - 0.99,
                                  .correction2_sqrt = sqrt(1 - 0.99),
                                  .eps = 1e-8,
                                  .minus_step_size = -(0.1 / (1 - adam.beta1))};
            cpu_reference_adam(&m, TD_DTYPE_F32, f[4], f[5], f[6], f[7], NULL, (size_t)count);
            for (int i = 0; i < 4; i++) ck_assert_mem_eq(f[i], f[4 + i], (size_t)count * sizeof(float));
        }
    end();
}
END_TEST

/* --- behaviour -------------------------------------------------------------------------------------- */

START_TEST(each_group_has_its_own_rate) {
    begin();
    td_tensor *a = td_ones(TD_INTS(2)), *b = td_ones(TD_INTS(2));
    td_state_dict first = {0}, second = {0};
    add_parameter(&first, "a", a);
    add_parameter(&second, "b", b);
    td_optimizer *optimizer;
    td_sgd_options fast = {TD_SGD_DEFAULTS}, slow = {TD_SGD_DEFAULTS};
    fast.lr = 0.5;
    slow.lr = 0.25;
    ck_ok(td_sgd_open(&first, &fast, &optimizer));
    ck_ok(td_sgd_add_group(optimizer, &second, &slow));
    ck_fails(td_sgd_add_group(optimizer, &first, NULL), TD_ERR_ARG, "'a' appears twice");
    ck_fails(td_adam_add_group(optimizer, &second, NULL), TD_ERR_ARG, "is sgd");
    ck_assert_uint_eq(td_optimizer_group_count(optimizer), 2);
    for (int step = 0; step < 2; step++) {
        ck_ok(td_tensor_set_grad(a, td_ones(TD_INTS(2))));
        ck_ok(td_tensor_set_grad(b, td_ones(TD_INTS(2))));
        ck_ok(td_optimizer_step(optimizer));
        ck_assert_float_eq(*(float *)td_tensor_data(a), step ? 0.25f : 0.5f);
        ck_assert_float_eq(*(float *)td_tensor_data(b), step ? 0.5f : 0.75f);
        ck_ok(td_optimizer_set_lr(optimizer, 0, 0.25));
    }
    ck_assert_double_eq(td_optimizer_lr(optimizer, 0), 0.25);
    ck_assert_double_eq(td_optimizer_lr(optimizer, 1), 0.25);
    ck_fails(td_optimizer_set_lr(optimizer, 2, 1), TD_ERR_ARG, "group 2 of 2");
    ck_fails(td_optimizer_set_lr(optimizer, 0, -1), TD_ERR_ARG, "-1");
    ck_assert_str_eq(td_optimizer_name(optimizer), "sgd");
    td_optimizer_close(&optimizer);
    td_state_dict_clear(&first);
    td_state_dict_clear(&second);
    end();
}
END_TEST

START_TEST(a_step_is_seen_by_autograd) {
    begin();
    td_tensor *w = td_ones(TD_INTS(2)), *x = td_ones(TD_INTS(2));
    td_state_dict parameters = {0};
    add_parameter(&parameters, "w", w);
    ck_ok(td_tensor_set_requires_grad(x, true));
    td_optimizer *optimizer;
    ck_ok(td_sgd_open(&parameters, NULL, &optimizer));
    td_tensor *y = td_sum(td_mul(w, x)); /* saves w for x's gradient */
    ck_ok(td_tensor_set_grad(w, td_ones(TD_INTS(2))));
    ck_ok(td_optimizer_step(optimizer));
    ck_fails(td_backward(y), TD_ERR_STATE, "modified");
    ck_assert_int_eq(td_scope_close(scope), TD_ERR_STATE);
    scope = td_scope_open(context);
    td_optimizer_close(&optimizer);
    td_state_dict_clear(&parameters);
    end();
}
END_TEST

/* A parameter in columns, whose gradient was put in as rows. */
START_TEST(layouts_of_parameter_and_gradient_may_differ) {
    begin();
    td_tensor *w = td_keep(td_detach(td_t(td_reshape(td_arange(td_num(6.0)), TD_INTS(2, 3)))));
    td_tensor *plain = td_contiguous(w), *grad = td_reshape(td_arange(td_num(6.0)), TD_INTS(3, 2));
    td_state_dict parameters = {0};
    add_parameter(&parameters, "w", w);
    td_optimizer *optimizer;
    td_sgd_options options = {TD_SGD_DEFAULTS};
    options.lr = 1;
    ck_ok(td_sgd_open(&parameters, &options, &optimizer));
    ck_ok(td_tensor_set_grad(w, grad));
    ck_ok(td_optimizer_step(optimizer));
    float got[6], was[6];
    ck_ok(td_tensor_copy_to(w, got, sizeof got));
    ck_ok(td_tensor_copy_to(plain, was, sizeof was));
    for (int i = 0; i < 6; i++) ck_assert_float_eq(got[i], was[i] - (float)i);
    td_optimizer_close(&optimizer);
    td_state_dict_clear(&parameters);
    td_release(&w);
    end();
}
END_TEST

START_TEST(impossible_options_and_parameters_are_refused) {
    begin();
    td_state_dict parameters = {0}, none = {0}, integers = {0}, results = {0};
    td_tensor *w = td_ones(TD_INTS(2));
    add_parameter(&parameters, "w", w);
    ck_ok(td_state_dict_add(&integers, "i", td_zeros(TD_INTS(2), .dtype = TD_DTYPE_I64)));
    ck_ok(td_state_dict_add(&results, "r", td_mul(w, w)));
    td_optimizer *optimizer = NULL;
    td_sgd_options sgd = {TD_SGD_DEFAULTS};
    ck_fails(td_sgd_open(&none, NULL, &optimizer), TD_ERR_ARG, "no parameters");
    ck_fails(td_sgd_open(&integers, NULL, &optimizer), TD_ERR_ARG, "'i' is of dtype i64");
    ck_fails(td_sgd_open(&results, NULL, &optimizer), TD_ERR_ARG, "'r' is the result of mul");
    sgd.lr = -0.5;
    ck_fails(td_sgd_open(&parameters, &sgd, &optimizer), TD_ERR_ARG, "a learning rate of -0.5");
    sgd.lr = NAN;
    ck_fails(td_sgd_open(&parameters, &sgd, &optimizer), TD_ERR_ARG, "a learning rate of");
    sgd = (td_sgd_options){TD_SGD_DEFAULTS, .nesterov = true};
    ck_fails(td_sgd_open(&parameters, &sgd, &optimizer), TD_ERR_ARG, "nesterov needs a momentum");
    td_adam_options adam = {TD_ADAM_DEFAULTS};
    adam.betas[1] = 1;
    ck_fails(td_adam_open(&parameters, &adam, &optimizer), TD_ERR_ARG, "a beta of 1");
    ck_assert_ptr_null(optimizer);
    td_state_dict_clear(&parameters);
    td_state_dict_clear(&integers);
    td_state_dict_clear(&results);
    end();
}
END_TEST

/* Two steps, saved; then two more, against two more of a second optimizer that was loaded. */
START_TEST(state_resumes_to_the_bit) {
    begin();
    ck_ok(td_manual_seed(7));
    td_tensor *w = draw(40, TD_DTYPE_F32), *v = td_clone(w), *unused = draw(3, TD_DTYPE_F32),
              *other = td_clone(unused);
    td_state_dict mine = {0}, theirs = {0}, state = {0};
    add_parameter(&mine, "w", w);
    add_parameter(&mine, "unused", unused);
    add_parameter(&theirs, "w", v);
    add_parameter(&theirs, "unused", other);
    td_adam_options options = {TD_ADAM_DEFAULTS, .amsgrad = true};
    td_optimizer *a, *b;
    ck_ok(td_adam_open(&mine, &options, &a));
    ck_ok(td_adam_open(&theirs, NULL, &b));
    td_tensor *grads[4];
    for (int i = 0; i < 4; i++) grads[i] = draw(40, TD_DTYPE_F32);
    for (int i = 0; i < 4; i++) {
        if (i == 2) {
            ck_ok(td_optimizer_set_lr(a, 0, 0.5));
            ck_ok(td_optimizer_state(a, &state));
            ck_ok(td_optimizer_load_state(b, &state));
            ck_assert_double_eq(td_optimizer_lr(b, 0), 0.5);
            td_no_grad_begin();
            ck_assert_ptr_nonnull(td_copy_(v, w));
            td_no_grad_end();
        }
        ck_ok(td_tensor_set_grad(w, grads[i]));
        ck_ok(td_optimizer_step(a));
        if (i < 2) continue;
        ck_ok(td_tensor_set_grad(v, grads[i]));
        ck_ok(td_optimizer_step(b));
        ck_assert_mem_eq(td_tensor_data(v), td_tensor_data(w), 40 * sizeof(float));
    }
    ck_assert_ptr_nonnull(td_state_dict_find(&state, "state.w.max_exp_avg_sq"));
    ck_assert_ptr_null(td_state_dict_find(&state, "state.unused.exp_avg"));
    td_state_dict_clear(&state);
    td_optimizer_close(&a);
    td_optimizer_close(&b);
    td_state_dict_clear(&mine);
    td_state_dict_clear(&theirs);
    end();
}
END_TEST

static void rename_entry(td_state_dict *dict, const char *from, const char *to) {
    for (size_t i = 0; i < dict->count; i++)
        if (!strcmp(dict->at[i].name, from)) {
            td_free(dict->at[i].name);
            dict->at[i].name = td_strdup(to);
            return;
        }
    ck_abort_msg("no %s", from);
}

START_TEST(state_of_something_else_is_refused_and_changes_nothing) {
    begin();
    td_tensor *w = td_ones(TD_INTS(4));
    td_state_dict parameters = {0}, state = {0};
    add_parameter(&parameters, "w", w);
    td_optimizer *optimizer;
    ck_ok(td_adam_open(&parameters, NULL, &optimizer));
    ck_ok(td_tensor_set_grad(w, td_ones(TD_INTS(4))));
    ck_ok(td_optimizer_step(optimizer));
    ck_ok(td_optimizer_state(optimizer, &state));
    td_tensor *average = td_state_dict_find(&state, "state.w.exp_avg");

    rename_entry(&state, "state.w.exp_avg_sq", "state.x.exp_avg_sq");
    ck_fails(td_optimizer_load_state(optimizer, &state), TD_ERR_ARG, "'state.w.exp_avg_sq' is missing");
    rename_entry(&state, "state.x.exp_avg_sq", "state.w.exp_avg_sq");
    rename_entry(&state, "param_groups.0.eps", "param_groups.1.eps");
    ck_fails(td_optimizer_load_state(optimizer, &state), TD_ERR_ARG, "'param_groups.0.eps' is missing");
    rename_entry(&state, "param_groups.1.eps", "param_groups.0.eps");
    ck_ok(td_state_dict_add(&state, "state.z.step", td_zeros(TD_INTS(1))));
    ck_fails(td_optimizer_load_state(optimizer, &state), TD_ERR_ARG, "'state.z.step' belongs to none");
    rename_entry(&state, "state.w.exp_avg", "was");
    rename_entry(&state, "state.z.step", "state.w.exp_avg");
    ck_fails(td_optimizer_load_state(optimizer, &state), TD_ERR_ARG, "is f32 (1), but f32 (4) is wanted");

    td_state_dict_clear(&state);
    ck_ok(td_optimizer_state(optimizer, &state));
    ck_assert_ptr_eq(td_state_dict_find(&state, "state.w.exp_avg"), average);
    td_state_dict_clear(&state);
    td_optimizer_close(&optimizer);
    td_state_dict_clear(&parameters);
    end();
}
END_TEST

START_TEST(a_step_that_finds_no_memory_has_changed_nothing) {
    begin();
    bool failed = true;
    int failures = 0;
    for (long k = 0; failed; k++) {
        ck_assert_int_lt(k, 300);
        td_scope *inner = td_scope_open(context);
        td_tensor *w = td_ones(TD_INTS(70000)), *v = td_ones(TD_INTS(3));
        td_state_dict parameters = {0};
        add_parameter(&parameters, "w", w);
        add_parameter(&parameters, "v", v);
        ck_ok(td_tensor_set_grad(w, w));
        ck_ok(td_tensor_set_grad(v, v));
        td_memory_trim(context);
        td_optimizer *optimizer = NULL;
        td_alloc_fail_after(k);
        td_status status = td_adam_open(&parameters, NULL, &optimizer);
        bool opened = status == TD_OK;
        if (opened) status = td_optimizer_step(optimizer);
        td_alloc_fail_after(-1);
        failed = status != TD_OK;
        if (failed) {
            failures += opened;
            ck_assert_int_eq(status, TD_ERR_MEMORY);
            ck_assert_float_eq(*(float *)td_tensor_data(w), 1);
            ck_assert_float_eq(*(float *)td_tensor_data(v), 1);
        }
        td_optimizer_close(&optimizer);
        td_state_dict_clear(&parameters);
        td_scope_close(inner);
        if (failed) { /* a failed scope marks the one around it */
            td_scope_close(scope);
            scope = td_scope_open(context);
        }
    }
    ck_assert_int_gt(failures, 0);
    end();
}
END_TEST

SUITE("optim", updates_have_pytorchs_bits, fast_updates_have_the_bits_of_the_plain_ones,
      each_group_has_its_own_rate, a_step_is_seen_by_autograd, layouts_of_parameter_and_gradient_may_differ,
      impossible_options_and_parameters_are_refused, state_resumes_to_the_bit,
      state_of_something_else_is_refused_and_changes_nothing, a_step_that_finds_no_memory_has_changed_nothing)
