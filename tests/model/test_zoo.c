/* The registry: every model is found, built, run and named as PyTorch would. */
#include "base/context.h"
#include "model/ops/ops.h"
#include "model/tensor/scope.h"
#include "model/zoo/zoo.h"
#include "support/check.h"

#include <math.h>

static td_context *context;

START_TEST(every_model_gives_log_probabilities_for_its_input) {
    ck_ok(td_context_open(&context));
    size_t count;
    const td_zoo_model *models = td_zoo_models(&count);
    ck_assert_uint_ge(count, 2);
    for (size_t i = 0; i < count; i++) {
        td_module *net;
        ck_ok(td_zoo_open(models[i].name, &net));
        td_module_eval(net);
        td_ints sizes = {models[i].input_dims + 1, {2}};
        for (int d = 0; d < models[i].input_dims; d++) sizes.at[d + 1] = models[i].input[d];
        td_scope *scope = td_scope_open(context);
        td_tensor *y = td_module_forward(net, td_rand(sizes));
        ck_assert_ptr_nonnull(y);
        ck_assert_int_eq(td_tensor_ndim(y), 2);
        ck_assert_int_eq(td_tensor_size(y, 0), 2);
        ck_assert_int_eq(td_tensor_size(y, 1), models[i].classes);
        double sum;
        ck_ok(td_tensor_item(td_sum(td_exp(y)), &sum));
        ck_assert_double_eq_tol(sum, 2, 1e-5);
        ck_ok(td_scope_close(scope));
        td_module_close(&net);
    }
    td_context_close(&context);
}
END_TEST

static void parameters_are(const char *model, const char *const *names, size_t count, int64_t elements) {
    td_module *net;
    ck_ok(td_zoo_open(model, &net));
    td_state_dict state = {0};
    ck_ok(td_module_state(net, &state));
    ck_assert_uint_eq(state.count, count);
    for (size_t i = 0; i < count; i++) ck_assert_str_eq(state.at[i].name, names[i]);
    int64_t counted;
    ck_ok(td_module_parameter_count(net, &counted));
    ck_assert_int_eq(counted, elements);
    td_state_dict_clear(&state);
    td_module_close(&net);
}

START_TEST(parameters_have_the_names_of_pytorchs_example) {
    ck_ok(td_context_open(&context));
    const char *const mlp[] = {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"};
    parameters_are("mlp", mlp, 4, 203530);
    const char *const cnn[] = {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias",
                               "fc1.weight",   "fc1.bias",   "fc2.weight",   "fc2.bias"};
    parameters_are("mnist-cnn", cnn, 8, 1199882);
    const char *const large[] = {"fc1.weight", "fc1.bias",   "fc2.weight",
                                 "fc2.bias",   "fc3.weight", "fc3.bias"};
    parameters_are("mlp-large", large, 6, 1863690);
    const char *const bn[] = {"conv1.weight",
                              "conv1.bias",
                              "bn1.weight",
                              "bn1.bias",
                              "bn1.running_mean",
                              "bn1.running_var",
                              "bn1.num_batches_tracked",
                              "conv2.weight",
                              "conv2.bias",
                              "bn2.weight",
                              "bn2.bias",
                              "bn2.running_mean",
                              "bn2.running_var",
                              "bn2.num_batches_tracked",
                              "fc.weight",
                              "fc.bias"};
    parameters_are("mnist-bn", bn, 16, 160 + 32 + 4640 + 64 + 8010);
    td_context_close(&context);
}
END_TEST

START_TEST(an_unknown_model_is_answered_with_the_nearest_name) {
    ck_ok(td_context_open(&context));
    td_module *net = NULL;
    ck_fails(td_zoo_open("mnist-cmn", &net), TD_ERR_ARG, "did you mean mnist-cnn?");
    ck_fails(td_zoo_open("transformer", &net), TD_ERR_ARG, "there are: mlp, mlp-large, mnist-bn, mnist-cnn");
    ck_assert_ptr_null(net);
    td_context_close(&context);
}
END_TEST

START_TEST(without_a_context_there_is_no_model) {
    td_module *net = NULL;
    ck_fails(td_zoo_open("mlp", &net), TD_ERR_STATE, "no context");
    ck_assert_ptr_null(net);
}
END_TEST

SUITE("zoo", every_model_gives_log_probabilities_for_its_input, parameters_have_the_names_of_pytorchs_example,
      an_unknown_model_is_answered_with_the_nearest_name, without_a_context_there_is_no_model)
