/*
 * The same bits for any number of ranks, with ranks as threads: the tree, gradients byte by byte over world
 * sizes, and that they are those of one pass over all samples.
 */
#include "base/context.h"
#include "base/generator.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dist/ranks.h"
#include "model/autograd/autograd.h"
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/parallel/group_tree.h"
#include "model/parallel/sample_groups.h"
#include "model/parallel/sync_batch_norm.h"
#include "model/tensor/scope.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>

enum { IN = 6, SAMPLES = 50, MOST_GRADS = 4096, STATISTICS = 75 };

/* --- the tree --------------------------------------------------------------------------------------- */

START_TEST(ranks_share_out_all_groups_in_order) {
    for (int count = 1; count <= 64; count *= 2)
        for (int world = 1; world <= count; world++) {
            ck_assert_int_eq(td_sample_groups_first(count, world, 0), 0);
            ck_assert_int_eq(td_sample_groups_end_of(count, world, world - 1), count);
            for (int r = 0; r + 1 < world; r++) {
                ck_assert_int_eq(td_sample_groups_end_of(count, world, r),
                                 td_sample_groups_first(count, world, r + 1));
                ck_assert_int_lt(td_sample_groups_first(count, world, r),
                                 td_sample_groups_end_of(count, world, r));
            }
        }
}
END_TEST

/* Leaf g as a text of sums: floats that only one order of adding gives. */
static float leaf_value(int g) { return 1.0f + (float)(g * 7919 % 101) * 0x1p-20f * (float)(1 << (g % 20)); }

static float sum_of(int first, int count) {
    if (count == 1) return leaf_value(first);
    return sum_of(first, count / 2) + sum_of(first + count / 2, count / 2);
}

START_TEST(whoever_has_which_leaves_the_sum_has_the_same_bits) {
    for (int count = 1; count <= TD_SAMPLE_GROUPS_MAX; count *= 4) {
        float whole = sum_of(0, count);
        for (int world = 1; world <= count && world <= 9; world++) {
            td_group_tree joined = {.elements = 1};
            for (int rank = 0; rank < world; rank++) {
                int first = td_sample_groups_first(count, world, rank),
                    end = td_sample_groups_end_of(count, world, rank);
                td_group_tree own = {.elements = 1};
                for (int g = first; g < end; g++)
                    ck_ok(td_group_tree_push(&own, td_group_leaf(g), &(float){leaf_value(g)}));
                td_group_node nodes[GROUP_TREE_DEPTH];
                ck_assert_int_eq(td_group_tree_cover(first, end, nodes), own.open);
                for (int n = 0; n < own.open; n++) {
                    ck_assert_int_eq(nodes[n].level, own.nodes[n].level);
                    ck_assert_int_eq(nodes[n].index, own.nodes[n].index);
                    ck_ok(td_group_tree_push(&joined, nodes[n], own.values[n]));
                }
                td_group_tree_free(&own);
            }
            ck_assert_int_eq(joined.open, 1);
            ck_assert_mem_eq(joined.values[0], &whole, sizeof whole);
            td_group_tree_free(&joined);
        }
    }
}
END_TEST

/* --- gradients -------------------------------------------------------------------------------------- */

/* Batch normalisation and dropout between two layers, one layer that only group 3 uses, and one that none does. */
static td_status build_net(td_module *net, const void *options) {
    double momentum = options ? -1 : 0.1;
    TD_TRY(td_add_linear(net, "first", IN, 37));
    TD_TRY(td_add_batch_norm1d(net, "norm", 37, .momentum = momentum));
    TD_TRY(td_add_linear(net, "second", 37, 3));
    TD_TRY(td_add_linear(net, "sometimes", 3, 3));
    return td_add_linear(net, "never", 2, 2);
}

static td_tensor *forward_net(td_module *net, td_tensor *x) {
    x = td_module_forward(td_module_child(net, "first"), x);
    x = td_relu(td_module_forward(td_module_child(net, "norm"), x));
    return td_module_forward(td_module_child(net, "second"), td_dropout(x, 0.25, td_module_is_training(net)));
}

static const td_module_class net_class = {.name = "Net", .build = build_net, .forward = forward_net};

/* How many samples each group has; group 5 none. */
static const int sizes_of[8] = {7, 6, 8, 2, 8, 0, 10, 9};

typedef struct outcome {
    bool training;
    bool average; /* running statistics are plain averages */
    size_t bytes;
    float statistics[STATISTICS];
    float grads[MOST_GRADS]; /* of rank 0; the others must agree */
} outcome;

static td_tensor *loss_of(td_module *net, int begin, int end, bool extra) {
    float x[SAMPLES * IN];
    for (int i = 0; i < SAMPLES * IN; i++) x[i] = sinf((float)(i * i % 97));
    td_tensor *y =
        td_module_forward(net, td_tensor_from(x + begin * IN, TD_DTYPE_F32, TD_INTS(end - begin, IN)));
    if (extra) y = td_module_forward(td_module_child(net, "sometimes"), y);
    return td_mean(td_sum(td_mul(y, y), TD_INTS(1)));
}

static size_t read_gradients(const td_module *net, float out[MOST_GRADS]) {
    td_state_dict parameters = {0};
    ck_ok(td_module_parameters(net, &parameters));
    size_t count = 0;
    for (size_t i = 0; i < parameters.count; i++) {
        const td_tensor *grad = td_tensor_grad(parameters.at[i].tensor);
        int64_t elements = grad ? td_tensor_count(grad) : 1;
        for (int64_t e = 0; e < elements; e++)
            out[count++] = grad ? ((const float *)td_tensor_data(grad))[e] : -1;
    }
    td_state_dict_clear(&parameters);
    return count * sizeof *out;
}

/* Running means and variances, and the number of batches. */
static void read_statistics(const td_module *net, float out[STATISTICS]) {
    const td_module *norm = td_module_child(net, "norm");
    memcpy(out, td_tensor_data(td_module_buffer(norm, "running_mean")), 37 * sizeof *out);
    memcpy(out + 37, td_tensor_data(td_module_buffer(norm, "running_var")), 37 * sizeof *out);
    out[74] = (float)*(const int64_t *)td_tensor_data(td_module_buffer(norm, "num_batches_tracked"));
}

/* One rank's setting; each begins with other weights. */
typedef struct td_rank {
    td_context *context;
    td_group *group;
    td_module *net;
} td_rank;

static td_rank open_rank(td_job *job, const td_module_class *class_, const void *options) {
    td_rank r = {0};
    ck_ok(td_context_open(&r.context));
    ck_ok(td_parallel_set_threads(1));
    ck_ok(td_group_open(job, NULL, &r.group));
    ck_ok(td_manual_seed((uint64_t)td_job_rank(job)));
    ck_ok(td_module_open(class_, options, &r.net));
    return r;
}

static void close_rank(td_rank *r) {
    td_group_close(&r->group);
    td_module_close(&r->net);
    td_context_close(&r->context);
}

static void run_steps(td_job *job, void *cookie) {
    outcome *out = cookie;
    int rank = td_job_rank(job), world = td_job_world_size(job);
    td_sample_groups *groups = NULL;
    td_rank r = open_rank(job, &net_class, out->average ? "average" : NULL);
    if (!out->training) td_module_eval(r.net);
    ck_ok(td_sample_groups_open(r.net, r.group, 8, 42, &groups));
    for (int step = 0; step < 2; step++) {
        for (int g = 0, begin = 0; g < 8; begin += sizes_of[g++]) {
            if (g < td_sample_groups_first(8, world, rank) || g >= td_sample_groups_end_of(8, world, rank))
                continue;
            td_scope *scope = td_scope_open(r.context);
            ck_ok(td_sample_groups_begin(groups, sizes_of[g]));
            if (sizes_of[g]) ck_ok(td_backward(loss_of(r.net, begin, begin + sizes_of[g], g == 3)));
            ck_ok(td_sample_groups_end(groups));
            ck_ok(td_scope_close(scope));
        }
        ck_ok(td_sample_groups_reduce(groups));
    }
    float grads[MOST_GRADS];
    size_t bytes = read_gradients(r.net, grads);
    float statistics[STATISTICS];
    read_statistics(r.net, statistics);
    if (rank == 0) {
        memcpy(out->statistics, statistics, sizeof statistics);
        out->bytes = bytes;
        memcpy(out->grads, grads, bytes);
    }
    ck_ok(td_group_barrier(r.group, NULL));
    ck_assert_mem_eq(out->grads, grads, bytes);
    ck_assert_mem_eq(out->statistics, statistics, sizeof statistics);
    td_sample_groups_close(&groups);
    close_rank(&r);
}

START_TEST(gradients_have_the_same_bits_for_any_number_of_ranks) {
    outcome *alone = td_calloc(2, sizeof *alone), *shared = alone + 1;
    alone->training = shared->training = true;
    run_threads(1, run_steps, alone);
    run_threads(_i, run_steps, shared);
    ck_assert_uint_gt(alone->bytes, 0);
    ck_assert_uint_eq(alone->bytes, shared->bytes);
    ck_assert_mem_eq(alone->grads, shared->grads, alone->bytes);
    ck_assert_mem_eq(alone->statistics, shared->statistics, sizeof alone->statistics);
    td_free(alone);
}
END_TEST

/* One backward pass over all samples, without groups. */
static void run_whole(td_job *job, void *cookie) {
    outcome *out = cookie;
    td_rank r = open_rank(job, &net_class, NULL);
    td_module_eval(r.net);
    td_scope *scope = td_scope_open(r.context);
    td_tensor *sum = NULL;
    for (int g = 0, begin = 0; g < 8; begin += sizes_of[g++]) {
        if (!sizes_of[g]) continue;
        td_tensor *part = td_mul(loss_of(r.net, begin, begin + sizes_of[g], g == 3),
                                 td_full(TD_INTS(1), td_num(sizes_of[g])));
        sum = sum ? td_add(sum, part) : part;
    }
    ck_ok(td_backward(td_sum(td_div(sum, td_full(TD_INTS(1), td_num(SAMPLES))))));
    out->bytes = read_gradients(r.net, out->grads);
    ck_ok(td_scope_close(scope));
    close_rank(&r);
}

START_TEST(gradients_are_the_mean_over_all_samples) {
    outcome *whole = td_calloc(2, sizeof *whole), *grouped = whole + 1;
    run_threads(1, run_whole, whole);
    run_threads(3, run_steps, grouped);
    ck_assert_uint_eq(whole->bytes, grouped->bytes);
    for (size_t i = 0; i < whole->bytes / sizeof(float); i++)
        if (fabsf(whole->grads[i] - grouped->grads[i]) > 2e-6f * fmaxf(1, fabsf(whole->grads[i])))
            ck_abort_msg("gradient %zu is %.9g, not %.9g", i, (double)grouped->grads[i],
                         (double)whole->grads[i]);
    td_free(whole);
}
END_TEST

/* The groups one after another through an ordinary module. */
static void run_in_order(td_job *job, void *cookie) {
    outcome *out = cookie;
    td_rank r = open_rank(job, &net_class, out->average ? "average" : NULL);
    td_scope *scope = td_scope_open(r.context);
    for (int step = 0; step < 2; step++)
        for (int g = 0, begin = 0; g < 8; begin += sizes_of[g++])
            if (sizes_of[g]) loss_of(r.net, begin, begin + sizes_of[g], false);
    ck_ok(td_scope_close(scope));
    read_statistics(r.net, out->statistics);
    close_rank(&r);
}

START_TEST(running_statistics_are_moved_in_the_order_of_groups) {
    outcome *ordinary = td_calloc(2, sizeof *ordinary), *grouped = ordinary + 1;
    grouped->training = true;
    ordinary->average = grouped->average = _i;
    run_threads(1, run_in_order, ordinary);
    run_threads(3, run_steps, grouped);
    for (int i = 0; i < STATISTICS; i++)
        if (!(fabsf(ordinary->statistics[i] - grouped->statistics[i]) <=
              1e-6f * fmaxf(1, ordinary->statistics[i])))
            ck_abort_msg("number %d is %.9g, not %.9g", i, (double)grouped->statistics[i],
                         (double)ordinary->statistics[i]);
    ck_assert(grouped->statistics[74] == 14);
    td_free(ordinary);
}
END_TEST

static td_tensor *forward_twice(td_module *net, td_tensor *x) {
    x = td_module_forward(td_module_child(net, "norm"), x);
    return td_module_forward(td_module_child(net, "norm"), x);
}

static td_status build_twice(td_module *net, const void *options) {
    (void)options;
    return td_add_batch_norm1d(net, "norm", IN);
}

static const td_module_class twice_class = {.name = "Twice", .build = build_twice, .forward = forward_twice};

static void run_twice(td_job *job, void *cookie) {
    (void)cookie;
    td_sample_groups *groups = NULL;
    td_rank r = open_rank(job, &twice_class, NULL);
    td_sync_batch_norm_convert(r.net, r.group);
    ck_fails(td_sample_groups_open(r.net, r.group, 2, 0, &groups), TD_ERR_UNSUPPORTED,
             "synchronised over ranks");
    td_sync_batch_norm_convert(r.net, NULL);
    ck_ok(td_sample_groups_open(r.net, r.group, 2, 0, &groups));
    ck_ok(td_sample_groups_begin(groups, 4));
    td_scope *scope = td_scope_open(r.context);
    loss_of(r.net, 0, 4, false);
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "runs twice in a pass"));
    ck_assert_int_eq(td_scope_close(scope), TD_ERR_UNSUPPORTED);
    td_sample_groups_close(&groups);
    scope = td_scope_open(r.context);
    loss_of(r.net, 0, 4, false); /* the layers are ordinary again */
    ck_ok(td_scope_close(scope));
    close_rank(&r);
}

START_TEST(layers_that_cannot_be_kept_apart_are_refused) { run_threads(2, run_twice, NULL); }
END_TEST

/* --- what is refused -------------------------------------------------------------------------------- */

static td_status build_other(td_module *net, const void *options) {
    bool buffer = options != NULL;
    td_scope *scope = td_scope_open(td_context_current());
    td_status status =
        td_module_add_parameter(net, "w", td_ones(TD_INTS(2), .dtype = buffer ? TD_DTYPE_F32 : TD_DTYPE_F64));
    if (status == TD_OK && buffer) status = td_module_add_buffer(net, "mean", td_ones(TD_INTS(2)));
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

static td_tensor *forward_other(td_module *net, td_tensor *x) {
    return td_mul(x, td_module_parameter(net, "w"));
}

static const td_module_class other_class = {.name = "Other", .build = build_other, .forward = forward_other};

static void refuse_modules(td_job *job, void *cookie) {
    (void)cookie;
    td_module *f64 = NULL, *buffered = NULL;
    td_sample_groups *groups = NULL;
    td_rank r = open_rank(job, &net_class, NULL);
    ck_ok(td_module_open(&other_class, NULL, &f64));
    ck_ok(td_module_open(&other_class, "buffer", &buffered));
    ck_fails(td_sample_groups_open(f64, r.group, 8, 0, &groups), TD_ERR_UNSUPPORTED, "'w' is of dtype f64");
    ck_fails(td_sample_groups_open(buffered, r.group, 8, 0, &groups), TD_ERR_UNSUPPORTED, "buffer 'mean'");
    ck_fails(td_sample_groups_open(r.net, r.group, 6, 0, &groups), TD_ERR_ARG,
             "6 groups, expected a power of two");
    ck_fails(td_sample_groups_open(r.net, r.group, 2, 0, &groups), TD_ERR_ARG, "2 groups for 3 ranks");
    ck_assert_ptr_null(groups);
    td_module_close(&buffered);
    td_module_close(&f64);
    close_rank(&r);
}

START_TEST(what_would_depend_on_the_ranks_is_refused) { run_threads(3, refuse_modules, NULL); }
END_TEST

static void misuse(td_job *job, void *cookie) {
    (void)cookie;
    td_sample_groups *groups = NULL;
    td_rank r = open_rank(job, &net_class, NULL);
    ck_ok(td_sample_groups_open(r.net, r.group, 2, 0, &groups));
    ck_fails(td_sample_groups_end(groups), TD_ERR_STATE, "has not begun");
    ck_fails(td_sample_groups_reduce(groups), TD_ERR_STATE, "not all groups");
    ck_fails(td_sample_groups_begin(groups, -1), TD_ERR_ARG, "-1 samples");
    ck_ok(td_sample_groups_begin(groups, 0));
    ck_fails(td_sample_groups_begin(groups, 1), TD_ERR_STATE, "before the last one has ended");
    ck_ok(td_sample_groups_end(groups));
    ck_ok(td_sample_groups_begin(groups, 0));
    ck_ok(td_sample_groups_end(groups));
    ck_fails(td_sample_groups_begin(groups, 1), TD_ERR_STATE, "all its groups");
    ck_fails(td_sample_groups_reduce(groups), TD_ERR_STATE, "no group has a sample");
    td_sample_groups_close(&groups);
    td_sample_groups_close(&groups);
    close_rank(&r);
}

START_TEST(groups_out_of_order_are_refused) { run_threads(1, misuse, NULL); }
END_TEST

static void draw_numbers(td_job *job, void *cookie) {
    float *draws = cookie;
    td_rank r = open_rank(job, &net_class, NULL);
    for (uint64_t from = 0; from < 2; from++) { /* the second time from step 1 */
        td_sample_groups *groups = NULL;
        ck_ok(td_sample_groups_open(r.net, r.group, 2, 7, &groups));
        td_sample_groups_set_step(groups, from);
        for (uint64_t step = from; step < 2; step++) {
            for (int g = 0; g < 2; g++) {
                td_scope *scope = td_scope_open(r.context);
                ck_ok(td_sample_groups_begin(groups, 1));
                td_generator_uniform_f32(td_context_generator(r.context),
                                         &draws[4 * from + 2 * step + (uint64_t)g], 1, 0, 1);
                ck_ok(td_backward(loss_of(r.net, 0, 2, false)));
                ck_ok(td_sample_groups_end(groups));
                ck_ok(td_scope_close(scope));
            }
            ck_ok(td_sample_groups_reduce(groups));
        }
        td_sample_groups_close(&groups);
    }
    close_rank(&r);
}

START_TEST(every_group_of_every_step_draws_its_own_numbers) {
    float draws[8] = {0};
    run_threads(1, draw_numbers, draws);
    for (int i = 0; i < 4; i++)
        for (int j = i + 1; j < 4; j++) ck_assert(draws[i] != draws[j]);
    ck_assert_mem_eq(draws + 6, draws + 2, 2 * sizeof *draws); /* step 1, when begun there */
}
END_TEST

static void starve(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r = open_rank(job, &net_class, NULL);
    int failures = 0;
    for (long k = 0;; k++) {
        td_sample_groups *groups = NULL;
        td_scope *scope = td_scope_open(r.context);
        td_alloc_fail_after(k);
        td_status status = td_sample_groups_open(r.net, r.group, 2, 0, &groups);
        for (int g = 0; g < 2 && status >= 0; g++) {
            status = td_sample_groups_begin(groups, 1);
            if (status >= 0) status = td_backward(loss_of(r.net, 0, 2, false));
            if (status >= 0) status = td_sample_groups_end(groups);
        }
        if (status >= 0) status = td_sample_groups_reduce(groups);
        td_alloc_fail_after(-1);
        td_scope_close(scope);
        td_sample_groups_close(&groups);
        if (status >= 0) break;
        ck_assert_int_eq(status, TD_ERR_MEMORY);
        failures++;
    }
    ck_assert_int_gt(failures, 10);
    close_rank(&r);
}

START_TEST(every_failed_allocation_is_a_status) { run_threads(1, starve, NULL); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("sample groups");
    TCase *tcase = tcase_create("sample groups");
    tcase_add_test(tcase, ranks_share_out_all_groups_in_order);
    tcase_add_test(tcase, whoever_has_which_leaves_the_sum_has_the_same_bits);
    tcase_add_loop_test(tcase, gradients_have_the_same_bits_for_any_number_of_ranks, 2, 9);
    tcase_add_test(tcase, gradients_are_the_mean_over_all_samples);
    tcase_add_loop_test(tcase, running_statistics_are_moved_in_the_order_of_groups, 0, 2);
    tcase_add_test(tcase, layers_that_cannot_be_kept_apart_are_refused);
    tcase_add_test(tcase, what_would_depend_on_the_ranks_is_refused);
    tcase_add_test(tcase, groups_out_of_order_are_refused);
    tcase_add_test(tcase, every_group_of_every_step_draws_its_own_numbers);
    tcase_add_test(tcase, every_failed_allocation_is_a_status);
    suite_add_tcase(suite, tcase);
    return suite;
}
