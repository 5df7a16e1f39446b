/* Batch normalisation layers: against PyTorch's, and what is theirs alone. */
#include "base/context.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "support/check.h"
#include "support/golden_tensor.h"

#include <stdio.h>

static td_context *context;

static void open_context(void) { ck_ok(td_context_open(&context)); }
static void close_context(void) { close_context_empty(&context); }

static const td_module_class *class_called(const char *name) {
    const td_module_class *const all[] = {&td_nn_batch_norm1d, &td_nn_batch_norm2d, &td_nn_batch_norm3d};
    for (size_t i = 0; i < 3; i++)
        if (!strcmp(all[i]->name, name)) return all[i];
    ck_abort_msg("no module %s", name);
}

static bool flag_or(const json_t *options, const char *key, bool otherwise) {
    const json_t *value = json_object_get(options, key);
    return value ? json_is_true(value) : otherwise;
}

static td_module *open_module(const json_t *record) {
    const json_t *options = json_object_get(record, "options"),
                 *momentum = json_object_get(options, "momentum");
    td_nn_batch_norm_options o = {.num_features = golden_int(record, "features"), TD_NN_BATCH_NORM_DEFAULTS};
    o.eps = golden_real_or(options, "eps", o.eps);
    if (momentum) o.momentum = json_is_null(momentum) ? TD_NN_CUMULATIVE : json_number_value(momentum);
    o.affine = flag_or(options, "affine", true);
    o.track_running_stats = flag_or(options, "track_running_stats", true);
    td_module *module;
    ck_ok(td_module_open(class_called(golden_text(record, "module")), &o, &module));
    float *weight = o.affine ? td_tensor_data(td_module_parameter(module, "weight")) : NULL,
          *bias = o.affine ? td_tensor_data(td_module_parameter(module, "bias")) : NULL;
    for (int64_t c = 0; weight && c < o.num_features; c++) {
        ck_assert_float_eq(weight[c], 1);
        ck_assert_float_eq(bias[c], 0);
        weight[c] = 1 + 0.1f * (float)c;
        bias[c] = 0.1f * (float)c;
    }
    return module;
}

static void state_agrees(td_module *module, const json_t *wanted, const char *title) {
    td_state_dict state = {0};
    ck_ok(td_module_state(module, &state));
    ck_assert_uint_eq(state.count, json_object_size(wanted));
    size_t i = 0;
    const char *name;
    json_t *record;
    json_object_foreach((json_t *)wanted, name, record) { /* jansson keeps the file's order */
        ck_assert_str_eq(state.at[i].name, name);
        golden_tensor_agrees(state.at[i++].tensor, record, 1e-6, 1e-6, title);
    }
    td_state_dict_clear(&state);
}

START_TEST(layers_do_what_pytorchs_do) {
    json_t *root = golden_load("norm.json"), *record;
    size_t i, b;
    open_context();
    json_array_foreach(golden_list(root, "modules"), i, record) {
        char title[300];
        json_t *input;
        snprintf(title, sizeof title, "%s %zu", golden_text(record, "module"), i);
        td_scope *scope = td_scope_open(context);
        td_module *module = open_module(record);
        json_array_foreach(json_object_get(record, "inputs"), b, input) {
            td_tensor *y = td_module_forward(module, golden_tensor(input));
            golden_tensor_agrees(y, json_array_get(json_object_get(record, "outputs"), b), 2e-6, 2e-6, title);
        }
        td_module_eval(module);
        td_tensor *y =
            td_module_forward(module, golden_tensor(json_array_get(json_object_get(record, "inputs"), 0)));
        golden_tensor_agrees(y, json_object_get(record, "eval_output"), 2e-6, 2e-6, title);
        state_agrees(module, json_object_get(record, "state"), title);
        ck_ok(td_scope_close(scope));
        td_module_close(&module);
    }
    close_context();
    json_decref(root);
}
END_TEST

START_TEST(images_come_out_channels_last_whatever_they_were) {
    open_context();
    td_module *module;
    ck_ok(td_module_open(&td_nn_batch_norm2d, &(td_nn_batch_norm_options){4, TD_NN_BATCH_NORM_DEFAULTS},
                         &module));
    td_scope *scope = td_scope_open(context);
    ck_assert(td_tensor_is_channels_last(td_module_forward(module, td_rand(TD_INTS(2, 4, 3, 5)))));
    ck_ok(td_scope_close(scope));
    td_module_close(&module);
    close_context();
}
END_TEST

/* Two passes in training before the first one's backward: the running statistics have moved meanwhile. */
START_TEST(backward_does_not_mind_that_running_statistics_moved) {
    open_context();
    td_module *module;
    ck_ok(td_module_open(&td_nn_batch_norm1d, &(td_nn_batch_norm_options){4, TD_NN_BATCH_NORM_DEFAULTS},
                         &module));
    td_scope *scope = td_scope_open(context);
    td_module_eval(module);
    td_tensor *evaluated = td_module_forward(module, td_rand(TD_INTS(5, 4)));
    td_module_train(module);
    td_tensor *first = td_module_forward(module, td_rand(TD_INTS(5, 4)));
    td_module_forward(module, td_rand(TD_INTS(5, 4)));
    ck_ok(td_backward(td_sum(td_add(first, evaluated))));
    ck_assert_ptr_nonnull(td_tensor_grad(td_module_parameter(module, "weight")));
    ck_ok(td_scope_close(scope));
    td_module_close(&module);
    close_context();
}
END_TEST

START_TEST(what_does_not_fit_is_refused) {
    open_context();
    td_module *net;
    ck_ok(td_module_open(&td_nn_sequential, NULL, &net));
    ck_fails(td_add_batch_norm2d(net, "n", -1), TD_ERR_ARG, "BatchNorm2d: -1 features");
    ck_fails(td_add_batch_norm1d(net, "n", 3, .momentum = 1.5), TD_ERR_ARG, "momentum 1.5");
    ck_ok(td_add_batch_norm2d(net, "n", 3));
    td_scope *scope = td_scope_open(context);
    ck_assert_ptr_null(td_module_forward(net, td_ones(TD_INTS(2, 3))));
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "BatchNorm2d: the input is f32 (2, 3)"));
    ck_assert_int_eq(td_scope_close(scope), TD_ERR_ARG);
    td_module_close(&net);
    close_context();
}
END_TEST

SUITE("norm", layers_do_what_pytorchs_do, images_come_out_channels_last_whatever_they_were,
      backward_does_not_mind_that_running_statistics_moved, what_does_not_fit_is_refused)
