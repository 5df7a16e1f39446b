/* Modules as a tree: names, order, modes, ownership, state; and the layers' initial values against PyTorch's.
 */
#include "base/context.h"
#include "base/generator.h"
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/optim/optimizer.h"
#include "model/tensor/scope.h"
#include "model/tensor/storage.h"
#include "support/check.h"
#include "support/golden.h"

#include <stdio.h>

static td_context *context;

static void open_context(void) { ck_ok(td_context_open(&context)); }

static void close_context(void) {
    ck_assert_uint_eq(td_memory_used(context).used, 0);
    td_context_close(&context);
}

/* A block with a parameter, a buffer and a child, to look at names and order. */
static td_status build_block(td_module *module, const void *options) {
    (void)options;
    td_scope *scope = td_scope_open(td_context_current());
    td_status status = td_module_add_parameter(module, "gain", td_ones(TD_INTS(3)));
    if (status == TD_OK)
        status = td_module_add_buffer(module, "count", td_zeros(TD_INTS(1), .dtype = TD_DTYPE_I64));
    if (status == TD_OK) status = td_module_add_buffer(module, "mean", td_full(TD_INTS(3), td_num(0.5)));
    td_status closed = td_scope_close(scope);
    if (status == TD_OK) status = td_add_linear(module, "in", 3, 3);
    return status < 0 ? status : closed;
}

static td_tensor *forward_block(td_module *module, td_tensor *x) {
    x = td_mul(td_module_forward(td_module_child(module, "in"), x), td_module_parameter(module, "gain"));
    return td_add(x, td_module_buffer(module, "mean"));
}

static const td_module_class block_class = {.name = "Block", .build = build_block, .forward = forward_block};

static td_status build_pair(td_module *module, const void *options) {
    (void)options;
    TD_TRY(td_module_add(module, "first", &block_class, NULL));
    TD_TRY(td_add_dropout(module, "drop", 0.25));
    return td_module_add(module, "second", &block_class, NULL);
}

static td_tensor *forward_pair(td_module *module, td_tensor *x) {
    for (size_t i = 0; i < td_module_child_count(module); i++)
        td_move(&x, td_module_forward(td_module_child_at(module, i), x));
    return x;
}

static const td_module_class pair_class = {.name = "Pair", .build = build_pair, .forward = forward_pair};

static void names_are(const td_state_dict *dict, const char *wanted) {
    char names[512] = "";
    for (size_t i = 0; i < dict->count; i++) {
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%s", i ? " " : "", dict->at[i].name);
    }
    ck_assert_str_eq(names, wanted);
}

START_TEST(names_and_order_are_pytorchs) {
    open_context();
    td_module *pair;
    ck_ok(td_module_open(&pair_class, NULL, &pair));
    td_state_dict dict = {0};
    ck_ok(td_module_parameters(pair, &dict));
    names_are(&dict, "first.gain first.in.weight first.in.bias second.gain second.in.weight second.in.bias");
    td_state_dict_clear(&dict);
    ck_ok(td_module_buffers(pair, &dict));
    names_are(&dict, "first.count first.mean second.count second.mean");
    td_state_dict_clear(&dict);
    ck_ok(td_module_state(pair, &dict));
    names_are(&dict, "first.gain first.count first.mean first.in.weight first.in.bias "
                     "second.gain second.count second.mean second.in.weight second.in.bias");
    ck_assert_ptr_eq(td_state_dict_find(&dict, "second.mean"),
                     td_module_buffer(td_module_child(pair, "second"), "mean"));
    ck_assert_ptr_null(td_state_dict_find(&dict, "third"));
    td_state_dict_clear(&dict);
    int64_t count;
    ck_ok(td_module_parameter_count(pair, &count));
    ck_assert_int_eq(count, 2 * (3 + 9 + 3));
    ck_assert_str_eq(td_module_class_name(pair), "Pair");
    td_module_close(&pair);
    ck_assert_ptr_null(pair);
    td_module_close(&pair);
    close_context();
}
END_TEST

START_TEST(a_tensor_under_two_names_is_one_parameter_and_two_entries_of_the_state) {
    open_context();
    td_module *tied;
    ck_ok(td_module_open(&td_nn_sequential, NULL, &tied));
    ck_ok(td_add_linear(tied, "0", 2, 2, .bias = false));
    ck_ok(td_module_add_parameter(tied, "shared", td_module_parameter(td_module_child(tied, "0"), "weight")));
    td_state_dict dict = {0};
    ck_ok(td_module_parameters(tied, &dict));
    names_are(&dict, "shared");
    td_state_dict_clear(&dict);
    ck_ok(td_module_state(tied, &dict));
    names_are(&dict, "shared 0.weight");
    td_state_dict_clear(&dict);
    td_module_close(&tied);
    close_context();
}
END_TEST

START_TEST(a_bad_name_is_refused_and_the_child_is_gone) {
    open_context();
    td_module *net, *child;
    ck_ok(td_module_open(&td_nn_sequential, NULL, &net));
    ck_ok(td_add_relu(net, "act"));
    ck_fails(td_add_relu(net, ""), TD_ERR_ARG, "empty");
    ck_fails(td_add_relu(net, "a.b"), TD_ERR_ARG, "'a.b' has a dot");
    ck_fails(td_add_relu(net, "act"), TD_ERR_ARG, "'act' is taken");
    ck_ok(td_module_open(&td_nn_relu, NULL, &child));
    ck_fails(td_module_add_child(net, "act", &child), TD_ERR_ARG, "taken");
    ck_assert_ptr_null(child);
    ck_assert_uint_eq(td_module_child_count(net), 1);
    td_scope *scope = td_scope_open(context);
    td_tensor *x = td_ones(TD_INTS(2));
    ck_ok(td_tensor_set_requires_grad(x, true));
    ck_fails(td_module_add_buffer(net, "b", x), TD_ERR_ARG, "the buffer 'b' requires grad");
    ck_fails(td_module_add_parameter(net, "i", td_zeros(TD_INTS(1), .dtype = TD_DTYPE_I64)), TD_ERR_ARG,
             "i64");
    ck_ok(td_scope_close(scope));
    td_module_close(&net);
    close_context();
}
END_TEST

START_TEST(impossible_layers_are_refused_with_their_numbers) {
    open_context();
    td_module *net;
    ck_ok(td_module_open(&td_nn_sequential, NULL, &net));
    ck_fails(td_add_linear(net, "l", -1, 2), TD_ERR_ARG, "-1 features in, 2 out");
    ck_fails(td_add_conv2d(net, "c", 3, 4, {3, 3}, .groups = 2), TD_ERR_ARG,
             "3 channels in and 4 out, in 2 groups");
    ck_fails(td_add_conv2d(net, "c", 1, 1, {3, 0}), TD_ERR_ARG, "kernel size 0");
    ck_fails(td_add_max_pool2d(net, "p", {0, 2}), TD_ERR_ARG, "kernel size 0");
    ck_fails(td_add_dropout(net, "d", 1.5), TD_ERR_ARG, "1.5");
    td_module_close(&net);
    close_context();
}
END_TEST

START_TEST(train_and_eval_reach_every_module) {
    open_context();
    td_module *pair;
    ck_ok(td_module_open(&pair_class, NULL, &pair));
    td_module *drop = td_module_child(pair, "drop");
    ck_assert(td_module_is_training(drop));
    td_module_eval(pair);
    ck_assert(!td_module_is_training(drop) && !td_module_is_training(pair));
    td_scope *scope = td_scope_open(context);
    td_tensor *x = td_ones(TD_INTS(1, 3));
    /* Nothing is dropped, nothing is copied. */
    ck_assert_ptr_eq(td_tensor_data(td_module_forward(drop, x)), td_tensor_data(x));
    td_module_train(pair);
    ck_assert(td_module_is_training(drop));
    ck_assert_ptr_ne(td_tensor_data(td_module_forward(drop, x)), td_tensor_data(x));
    ck_ok(td_scope_close(scope));
    td_module_close(&pair);
    close_context();
}
END_TEST

/* What lives while a deep net is evaluated: its weights, and about one layer's values. */
START_TEST(evaluation_holds_one_layer) {
    open_context();
    enum { WIDTH = 256, BATCH = 512, LAYERS = 12 };
    td_module *net;
    ck_ok(td_module_open(&td_nn_sequential, NULL, &net));
    for (int i = 0; i < LAYERS; i++) {
        char name[8];
        snprintf(name, sizeof name, "%d", i);
        if (i % 2)
            ck_ok(td_add_relu(net, name));
        else
            ck_ok(td_add_linear(net, name, WIDTH, WIDTH));
    }
    td_scope *scope = td_scope_open(context);
    td_tensor *x = td_rand(TD_INTS(BATCH, WIDTH));
    size_t before = td_memory_used(context).used, layer = BATCH * WIDTH * sizeof(float);
    td_no_grad_begin();
    ck_assert_ptr_nonnull(td_module_forward(net, x));
    td_no_grad_end();
    size_t most = td_memory_used(context).peak - before;
    ck_assert_msg(most < 3 * layer, "%zu bytes at most, a layer has %zu", most, layer);
    ck_ok(td_scope_close(scope));
    td_module_close(&net);
    close_context();
}
END_TEST

START_TEST(a_failing_layer_marks_the_scope_and_names_the_operation) {
    open_context();
    td_module *net;
    ck_ok(td_module_open(&td_nn_sequential, NULL, &net));
    ck_ok(td_add_linear(net, "0", 3, 2));
    ck_ok(td_add_relu(net, "1"));
    td_scope *scope = td_scope_open(context);
    ck_assert_ptr_null(td_module_forward(net, td_ones(TD_INTS(1, 4))));
    ck_assert_int_eq(td_scope_status(scope), TD_ERR_ARG);
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "linear"));
    ck_assert_int_eq(td_scope_close(scope), TD_ERR_ARG);
    scope = td_scope_open(context);
    ck_assert_ptr_null(td_module_forward(td_module_child(net, "7"), NULL));
    ck_assert_int_eq(td_scope_close(scope), TD_ERR_ARG);
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "no such module"));
    td_module_close(&net);
    close_context();
}
END_TEST

START_TEST(state_is_copied_strictly_and_refusals_change_nothing) {
    open_context();
    td_module *a, *b;
    ck_ok(td_module_open(&pair_class, NULL, &a));
    ck_ok(td_module_open(&pair_class, NULL, &b));
    td_state_dict from = {0}, into = {0};
    ck_ok(td_module_state(a, &from));
    ck_ok(td_module_load_state(b, &from));
    ck_ok(td_module_state(b, &into));
    for (size_t i = 0; i < into.count; i++) {
        ck_assert_ptr_ne(into.at[i].tensor, from.at[i].tensor);
        ck_assert_mem_eq(td_tensor_data(into.at[i].tensor), td_tensor_data(from.at[i].tensor),
                         (size_t)td_tensor_count(into.at[i].tensor) *
                             td_dtype_size(td_tensor_dtype(into.at[i].tensor)));
    }
    float before = *(float *)td_tensor_data(into.at[0].tensor);
    *(float *)td_tensor_data(from.at[0].tensor) = before + 1;
    from.count--; /* without second.in.bias */
    ck_fails(td_module_load_state(b, &from), TD_ERR_ARG, "Pair: 'second.in.bias' is missing");
    from.count++;
    td_scope *scope = td_scope_open(context);
    ck_ok(td_state_dict_add(&from, "third", td_ones(TD_INTS(1))));
    ck_ok(td_scope_close(scope));
    ck_fails(td_module_load_state(b, &from), TD_ERR_ARG, "'third' is not in the model");
    td_state_entry *last = &from.at[--from.count];
    td_free(last->name);
    td_release(&last->tensor);
    td_tensor *kept = from.at[4].tensor; /* first.in.bias */
    from.at[4].tensor = from.at[3].tensor;
    ck_fails(td_module_load_state(b, &from), TD_ERR_ARG,
             "'first.in.bias' is f32 (3, 3), but the model's is f32 (3)");
    from.at[4].tensor = kept;
    ck_assert_float_eq(*(float *)td_tensor_data(into.at[0].tensor), before);
    td_state_dict_clear(&from);
    td_state_dict_clear(&into);
    td_module_close(&a);
    td_module_close(&b);
    close_context();
}
END_TEST

START_TEST(an_optimizer_moves_parameters_and_never_buffers) {
    open_context();
    td_module *block;
    ck_ok(td_module_open(&block_class, NULL, &block));
    td_state_dict parameters = {0};
    ck_ok(td_module_parameters(block, &parameters));
    td_optimizer *optimizer;
    ck_ok(td_sgd_open(&parameters, NULL, &optimizer));
    td_scope *scope = td_scope_open(context);
    float gain[3], mean[3];
    ck_ok(td_tensor_copy_to(td_module_parameter(block, "gain"), gain, sizeof gain));
    ck_ok(td_backward(td_sum(td_module_forward(block, td_ones(TD_INTS(2, 3))))));
    ck_assert_ptr_nonnull(td_tensor_grad(td_module_parameter(block, "gain")));
    ck_assert_ptr_null(td_tensor_grad(td_module_buffer(block, "mean")));
    ck_ok(td_optimizer_step(optimizer));
    ck_assert_float_ne(*(float *)td_tensor_data(td_module_parameter(block, "gain")), gain[0]);
    ck_ok(td_tensor_copy_to(td_module_buffer(block, "mean"), mean, sizeof mean));
    for (int i = 0; i < 3; i++) ck_assert_float_eq(mean[i], 0.5f);
    td_module_zero_grad(block);
    ck_assert_ptr_null(td_tensor_grad(td_module_parameter(block, "gain")));
    ck_ok(td_scope_close(scope));
    td_optimizer_close(&optimizer);
    td_state_dict_clear(&parameters);
    td_module_close(&block);
    close_context();
}
END_TEST

static void checksum_is(const td_module *module, const char *name, const json_t *record, const char *key) {
    const td_tensor *x = td_module_parameter(module, name);
    size_t bytes = (size_t)td_tensor_count(x) * sizeof(float);
    ck_assert_msg(golden_crc(td_tensor_data(x), bytes) == golden_int(record, key), "%s: %s",
                  golden_describe(record), name);
}

/* The same seed gives PyTorch's bits, and leaves the generator where PyTorch's is. The file has five layers a
 * seed, built one after the other, and the generator's state after the fifth. */
START_TEST(initial_values_are_pytorchs) {
    open_context();
    json_t *root = golden_load("streams.json"), *record;
    size_t i;
    enum { LAYERS = 5 };
    json_array_foreach(golden_list(root, "modules"), i, record) {
        const json_t *args = json_object_get(record, "args");
        int64_t a = json_integer_value(json_array_get(args, 0)),
                b = json_integer_value(json_array_get(args, 1));
        td_module *net;
        ck_ok(td_module_open(&td_nn_sequential, NULL, &net));
        if (i % LAYERS == 0) ck_ok(td_manual_seed(golden_seed(record)));
        if (!strcmp(golden_text(record, "module"), "Linear")) {
            ck_ok(td_add_linear(net, "layer", a, b));
        } else {
            int64_t k = json_integer_value(json_array_get(args, 2));
            ck_assert_str_eq(golden_text(record, "module"), "Conv2d");
            ck_ok(td_add_conv2d(net, "layer", a, b, {k, k}));
        }
        checksum_is(td_module_child(net, "layer"), "weight", record, "weight_crc32");
        checksum_is(td_module_child(net, "layer"), "bias", record, "bias_crc32");
        td_module_close(&net);
        if (i % LAYERS != LAYERS - 1) continue;
        uint8_t state[TD_GENERATOR_STATE_BYTES];
        td_generator_get_state(td_context_generator(context), state);
        ck_assert_int_eq(golden_crc(state, sizeof state), golden_int(record, "state_crc32"));
    }
    json_decref(root);
    close_context();
}
END_TEST

/* Build, run forward and backward with the k-th allocation failing, until it is one too late to matter. */
START_TEST(every_failing_allocation_is_a_status_and_leaks_nothing) {
    open_context();
    bool failed = true;
    for (long k = 0; failed; k++) {
        ck_assert_int_lt(k, 2000);
        td_context_close(&context);
        ck_ok(td_context_open(&context));
        td_scope *scope = td_scope_open(context);
        td_alloc_fail_after(k);
        td_module *pair = NULL;
        td_status status = td_module_open(&pair_class, NULL, &pair);
        if (status == TD_OK) td_backward(td_sum(td_module_forward(pair, td_ones(TD_INTS(2, 3)))));
        td_alloc_fail_after(-1);
        td_status closed = td_scope_close(scope);
        if (status == TD_OK) status = closed;
        ck_assert_msg(status == TD_OK || status == TD_ERR_MEMORY, "allocation %ld: %s: %s", k,
                      td_status_name(status), td_error_last()->text);
        failed = status != TD_OK;
        td_module_close(&pair);
        ck_assert_uint_eq(td_memory_used(context).used, 0);
    }
    close_context();
}
END_TEST

SUITE("nn", names_and_order_are_pytorchs,
      a_tensor_under_two_names_is_one_parameter_and_two_entries_of_the_state,
      a_bad_name_is_refused_and_the_child_is_gone, impossible_layers_are_refused_with_their_numbers,
      train_and_eval_reach_every_module, evaluation_holds_one_layer,
      a_failing_layer_marks_the_scope_and_names_the_operation,
      state_is_copied_strictly_and_refusals_change_nothing, an_optimizer_moves_parameters_and_never_buffers,
      initial_values_are_pytorchs, every_failing_allocation_is_a_status_and_leaks_nothing)
