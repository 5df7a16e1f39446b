/*
 * Data-parallel training with ranks as threads: what is refused, what is sent at opening, and above all that the
 * gradients are those of one rank with all the samples, however they are shared out.
 */
#include "base/context.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dist/ranks.h"
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/optim/optimizer.h"
#include "model/parallel/internal.h"
#include "model/tensor/scope.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>

enum { SAMPLES = 64, IN = 6, MAX_GRADS = 4096 };

/* --- the modules ------------------------------------------------------------------------------------ */

/* Two layers, and two more that a pass may leave out. */
static td_status build_net(td_module *net, const void *options) {
    (void)options;
    TD_TRY(td_add_linear(net, "first", IN, 37));
    TD_TRY(td_add_linear(net, "second", 37, 3));
    TD_TRY(td_add_linear(net, "sometimes", 3, 3));
    TD_TRY(td_add_linear(net, "never", 2, 2));
    td_scope *scope = td_scope_open(td_context_current());
    td_status status = td_module_add_buffer(net, "seen", td_rand(TD_INTS(4)));
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

static td_tensor *forward_net(td_module *net, td_tensor *x) {
    x = td_relu(td_module_forward(td_module_child(net, "first"), x));
    return td_module_forward(td_module_child(net, "second"), x);
}

static const td_module_class net_class = {.name = "Net", .build = build_net, .forward = forward_net};

/* Parameters of two dtypes, alternating. */
static td_status build_mixed(td_module *net, const void *options) {
    (void)options;
    td_scope *scope = td_scope_open(td_context_current());
    td_status status = td_module_add_parameter(net, "a", td_ones(TD_INTS(IN)));
    if (status == TD_OK)
        status = td_module_add_parameter(net, "b", td_ones(TD_INTS(IN), .dtype = TD_DTYPE_F64));
    if (status == TD_OK) status = td_module_add_parameter(net, "c", td_ones(TD_INTS(IN)));
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

static td_tensor *forward_mixed(td_module *net, td_tensor *x) {
    td_tensor *b = td_mul(x, td_module_parameter(net, "b"));
    return td_add(td_mul(x, td_module_parameter(net, "a")), td_mul(b, td_module_parameter(net, "c")));
}

static const td_module_class mixed_class = {.name = "Mixed", .build = build_mixed, .forward = forward_mixed};

/* --- one rank's setting ----------------------------------------------------------------------------- */

typedef struct td_rank {
    td_context *context;
    td_group *group;
    td_module *net;
    td_ddp *ddp;
    td_scope *scope;
} td_rank;

static td_rank open_rank(td_job *job, const td_module_class *class_, size_t bucket_bytes) {
    td_rank r = {0};
    ck_ok(td_context_open(&r.context));
    ck_ok(td_parallel_set_threads(1));
    ck_ok(td_group_open(job, NULL, &r.group));
    ck_ok(td_manual_seed((uint64_t)td_job_rank(job))); /* each rank begins with other weights */
    ck_ok(td_module_open(class_, NULL, &r.net));
    ck_ok(td_ddp_open(
        r.net, r.group,
        &(td_ddp_options){.bucket_cap_mb = (double)bucket_bytes * 0x1p-20, .find_unused_parameters = true},
        &r.ddp));
    r.scope = td_scope_open(r.context);
    return r;
}

static void close_rank(td_rank *r) {
    ck_ok(td_scope_close(r->scope));
    td_ddp_close(&r->ddp);
    td_group_close(&r->group);
    td_module_close(&r->net);
    td_context_close(&r->context);
}

/* The samples from `begin` to `end` of one fixed set. */
static td_tensor *samples(int begin, int end) {
    float x[SAMPLES * IN];
    for (int i = 0; i < SAMPLES * IN; i++) x[i] = sinf((float)(i * i % 97));
    return td_tensor_from(x + begin * IN, TD_DTYPE_F32, TD_INTS(end - begin, IN));
}

/* The mean over those samples of a loss. */
static td_tensor *loss_of(td_module *net, int begin, int end) {
    td_tensor *y = td_module_forward(net, samples(begin, end));
    return td_mean(td_sum(td_mul(y, y), TD_INTS(1)));
}

static void pass(td_module *net, int begin, int end) { ck_ok(td_backward(loss_of(net, begin, end))); }

/* All gradients one after another; an empty one is a NaN. */
static size_t gradients(const td_module *net, double out[MAX_GRADS]) {
    td_state_dict parameters = {0};
    ck_ok(td_module_parameters(net, &parameters));
    size_t count = 0;
    for (size_t i = 0; i < parameters.count; i++) {
        const td_tensor *grad = td_tensor_grad(parameters.at[i].tensor);
        if (!grad) {
            out[count++] = NAN;
            continue;
        }
        for (int64_t e = 0; e < td_tensor_count(grad); e++)
            out[count++] = td_tensor_dtype(grad) == TD_DTYPE_F32 ? ((const float *)td_tensor_data(grad))[e]
                                                                 : ((const double *)td_tensor_data(grad))[e];
    }
    td_state_dict_clear(&parameters);
    return count;
}

/* What a scenario leaves behind: rank r's gradients. */
typedef struct td_outcome {
    double grads[RANKS_MAX][MAX_GRADS];
    size_t count[RANKS_MAX];
} td_outcome;

static void same_bits_everywhere(const td_outcome *outcome, int world) {
    for (int rank = 1; rank < world; rank++) {
        ck_assert_uint_eq(outcome->count[rank], outcome->count[0]);
        ck_assert_mem_eq(outcome->grads[rank], outcome->grads[0], outcome->count[0] * sizeof(double));
    }
}

static void agree(const td_outcome *got, const td_outcome *wanted, const char *what) {
    ck_assert_uint_eq(got->count[0], wanted->count[0]);
    ck_assert_uint_gt(got->count[0], 0);
    for (size_t i = 0; i < got->count[0]; i++) {
        double is = got->grads[0][i], should = wanted->grads[0][i];
        if (isnan(is) != isnan(should) || fabs(is - should) > 2e-6 * fmax(1, fabs(should)))
            ck_abort_msg("%s: gradient %zu is %.9g, not %.9g", what, i, is, should);
    }
}

/* --- gradients -------------------------------------------------------------------------------------- */

/* How the samples are shared out: passes, each with its part of every rank's, and whether it is weighted. */
typedef struct td_shares {
    const char *what;
    int world, passes;
    int begin[4][4], end[4][4]; /* [pass][rank] */
    bool weighted;
    size_t bucket_bytes;
    const td_module_class *class_;
} td_shares;

typedef struct td_scenario {
    const td_shares *shares;
    td_outcome *outcome;
} td_scenario;

static void run_shares(td_job *job, void *cookie) {
    const td_scenario *scenario = cookie;
    const td_shares *s = scenario->shares;
    int rank = td_job_rank(job);
    td_rank r = open_rank(job, s->class_ ? s->class_ : &net_class, s->bucket_bytes);
    for (int p = 0; p < s->passes; p++) {
        int begin = s->begin[p][rank], end = s->end[p][rank];
        bool more = p + 1 < s->passes;
        if (more) ck_ok(td_ddp_no_sync_begin(r.ddp));
        if (s->weighted) ck_ok(td_ddp_begin(r.ddp, end - begin));
        if (end > begin) pass(r.net, begin, end);
        if (more) ck_ok(td_ddp_no_sync_end(r.ddp));
    }
    scenario->outcome->count[rank] = gradients(r.net, scenario->outcome->grads[rank]);
    close_rank(&r);
}

static void play(const td_shares *shares, td_outcome *outcome) {
    memset(outcome, 0, sizeof *outcome);
    run_threads(shares->world, run_shares, &(td_scenario){shares, outcome});
    same_bits_everywhere(outcome, shares->world);
}

static const td_shares whole = {"one rank", 1, 1, {{0}}, {{SAMPLES}}, .weighted = true};

static const td_shares shared_out[] = {
    {"two halves", 2, 1, {{0, 32}}, {{32, 64}}, .weighted = true},
    {"two halves, as PyTorch", 2, 1, {{0, 32}}, {{32, 64}}, .weighted = false},
    {"a bucket for each parameter", 2, 1, {{0, 32}}, {{32, 64}}, .weighted = true, .bucket_bytes = 1},
    {"three ranks, uneven", 3, 1, {{0, 10, 41}}, {{10, 41, 64}}, .weighted = true},
    {"one rank has nothing", 3, 1, {{0, 20, 20}}, {{20, 20, 64}}, .weighted = true},
    {"rank 0 has nothing", 2, 1, {{0, 0}}, {{0, 64}}, .weighted = true, .bucket_bytes = 1},
    {"added up, equal", 2, 2, {{0, 16}, {32, 48}}, {{16, 32}, {48, 64}}, .weighted = true},
    {"added up, uneven", 2, 3, {{0, 5}, {20, 30}, {40, 41}}, {{5, 20}, {30, 40}, {41, 64}}, .weighted = true},
    {"added up, some without samples",
     2,
     3,
     {{0, 5}, {30, 30}, {64, 30}},
     {{5, 30}, {30, 30}, {64, 64}},
     .weighted = true},
    {"alone, added up, uneven", 1, 3, {{0}, {7}, {30}}, {{7}, {30}, {64}}, .weighted = true},
    {"four ranks", 4, 1, {{0, 16, 32, 48}}, {{16, 32, 48, 64}}, .weighted = true},
};

START_TEST(gradients_are_those_of_one_rank_with_all_samples) {
    static td_outcome one, many;
    play(&whole, &one);
    play(&shared_out[_i], &many);
    agree(&many, &one, shared_out[_i].what);
}
END_TEST

START_TEST(each_dtype_has_its_buckets) {
    static td_outcome one, many;
    td_shares alone = whole, two = shared_out[3];
    alone.class_ = two.class_ = &mixed_class;
    play(&alone, &one);
    play(&two, &many);
    agree(&many, &one, "mixed");
}
END_TEST

/* Without weights passes are added up and ranks averaged, whatever they had: PyTorch's mean of means. */
START_TEST(unweighted_passes_are_summed_and_ranks_averaged) {
    static td_outcome got, part, wanted;
    const td_shares uneven = {"uneven", 2, 2, {{0, 10}, {20, 30}}, {{10, 20}, {30, 64}}, .weighted = false};
    play(&uneven, &got);
    for (int p = 0; p < 2; p++)
        for (int rank = 0; rank < 2; rank++) {
            td_shares single = {"single", 1, 1, {{uneven.begin[p][rank]}}, {{uneven.end[p][rank]}}};
            play(&single, &part);
            wanted.count[0] = part.count[0];
            for (size_t i = 0; i < part.count[0]; i++) wanted.grads[0][i] += part.grads[0][i] / 2;
        }
    agree(&got, &wanted, "mean of means");
}
END_TEST

START_TEST(two_runs_have_the_same_bits) {
    static td_outcome first, second;
    play(&shared_out[3], &first);
    play(&shared_out[3], &second);
    ck_assert_mem_eq(&first, &second, sizeof first);
}
END_TEST

/* --- empty gradients -------------------------------------------------------------------------------- */

static void run_unused(td_job *job, void *cookie) {
    (void)cookie;
    int rank = td_job_rank(job);
    td_rank r = open_rank(job, &net_class, 1);
    td_module *sometimes = td_module_child(r.net, "sometimes"), *never = td_module_child(r.net, "never");
    td_tensor *weight = td_module_parameter(sometimes, "weight");
    for (int step = 0; step < 2; step++) {
        td_module_zero_grad(r.net);
        td_tensor *y = td_module_forward(r.net, samples(0, 8));
        if (rank == 1) y = td_module_forward(sometimes, y);
        ck_ok(td_backward(td_sum(y)));
        td_tensor *grad = td_tensor_grad(weight);
        ck_assert_ptr_nonnull(grad);
        ck_assert_float_ne(*(float *)td_tensor_data(grad), 0);
        ck_assert_ptr_null(td_tensor_grad(td_module_parameter(never, "weight")));
    }
    /* Used by nobody in this step, though its slot still has the last one's bytes. */
    td_module_zero_grad(r.net);
    ck_ok(td_backward(td_sum(td_module_forward(r.net, samples(0, 8)))));
    ck_assert_ptr_null(td_tensor_grad(weight));
    close_rank(&r);
}

START_TEST(an_unused_gradient_is_zero_here_and_empty_if_nobody_has_it) { run_threads(2, run_unused, NULL); }
END_TEST

/* A loss over no samples is NaN; a rank that has none must not spoil the others. */
static void run_nan(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r = open_rank(job, &net_class, 0);
    ck_ok(td_ddp_begin(r.ddp, 8));
    ck_ok(td_backward(
        td_mul(td_sum(td_module_forward(r.net, samples(0, 8))), td_full((td_ints){0}, td_num(NAN)))));
    td_module_zero_grad(r.net); /* the buckets still hold NaN */
    ck_ok(td_ddp_begin(r.ddp, td_job_rank(job) ? 8 : 0));
    if (td_job_rank(job)) pass(r.net, 0, 8);
    static double grads[2][MAX_GRADS];
    size_t count = gradients(r.net, grads[td_job_rank(job)]);
    ck_assert(!isnan(grads[td_job_rank(job)][0]));
    ck_assert_uint_gt(count, IN * 37);
    close_rank(&r);
}

START_TEST(a_rank_without_samples_adds_nothing_not_even_nan) { run_threads(2, run_nan, NULL); }
END_TEST

static void run_nobody(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r = open_rank(job, &net_class, 0);
    ck_fails(td_ddp_begin(r.ddp, 0), TD_ERR_STATE, "no rank has a sample");
    close_rank(&r);
}

START_TEST(a_step_without_any_samples_is_an_error) { run_threads(2, run_nobody, NULL); }
END_TEST

/* --- opening ---------------------------------------------------------------------------------------- */

static void run_equal(td_job *job, void *cookie) {
    float(*first)[4 + IN] = cookie; /* what rank r has: the buffer, and some weights */
    int rank = td_job_rank(job);
    td_rank r = open_rank(job, &net_class, 0);
    memcpy(first[rank], td_tensor_data(td_module_buffer(r.net, "seen")), 4 * sizeof(float));
    memcpy(first[rank] + 4, td_tensor_data(td_module_parameter(td_module_child(r.net, "first"), "weight")),
           IN * sizeof(float));
    ck_assert_uint_eq(td_ddp_bucket_count(r.ddp), 1);
    ck_assert_uint_gt(td_ddp_bucket_bytes(r.ddp, 0), 37 * IN * sizeof(float));
    ck_assert_uint_eq(td_ddp_bucket_bytes(r.ddp, 1), 0);
    close_rank(&r);
}

START_TEST(all_begin_with_the_weights_and_buffers_of_rank_0) {
    float first[3][4 + IN];
    run_threads(3, run_equal, first);
    for (int rank = 1; rank < 3; rank++) ck_assert_mem_eq(first[rank], first[0], sizeof first[0]);
}
END_TEST

/* Rank 1's module differs in one thing; every rank gets the same message. */
static const struct {
    int width;
    const char *name;
    bool bias, frozen;
    const char *says;
} differences[] = {
    {4, "a", true, false,
     "rank 1's module has parameter 'a.weight' f32 (4, 2) where rank 0's has parameter 'a.weight' f32 (3, "
     "2)"},
    {3, "b", true, false,
     "rank 1's module has parameter 'b.weight' f32 (3, 2) where rank 0's has parameter 'a.weight'"},
    {3, "a", false, false, "rank 1's module has nothing where rank 0's has parameter 'a.bias' f32 (3)"},
    {3, "a", true, true, "rank 1's module has parameter 'a.weight' f32 (3, 2) (frozen) where"},
};

static void run_different(td_job *job, void *cookie) {
    int i = *(int *)cookie;
    bool other = td_job_rank(job) == 1;
    td_context *context;
    td_group *group;
    td_module *net;
    td_ddp *ddp = NULL;
    ck_ok(td_context_open(&context));
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_module_open(&td_nn_sequential, NULL, &net));
    ck_ok(td_add_linear(net, other ? differences[i].name : "a", 2, other ? differences[i].width : 3,
                        .bias = other ? differences[i].bias : true));
    if (other && differences[i].frozen)
        ck_ok(td_tensor_set_requires_grad(td_module_parameter(td_module_child_at(net, 0), "weight"), false));
    ck_fails(td_ddp_open(net, group, NULL, &ddp), TD_ERR_MISMATCH, differences[i].says);
    ck_assert_ptr_null(ddp);
    td_module_close(&net);
    td_group_close(&group);
    td_context_close(&context);
}

START_TEST(modules_that_differ_are_refused_with_the_first_difference) { run_threads(3, run_different, &_i); }
END_TEST

static void run_frozen(td_job *job, void *cookie) {
    (void)cookie;
    td_context *context;
    td_group *group;
    td_module *net;
    td_ddp *ddp = NULL;
    ck_ok(td_context_open(&context));
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_module_open(&td_nn_relu, NULL, &net));
    ck_fails(td_ddp_open(net, group, NULL, &ddp), TD_ERR_ARG, "no parameter of the module requires grad");
    td_module_close(&net);
    td_group_close(&group);
    td_context_close(&context);
}

START_TEST(a_module_without_trained_parameters_is_refused) { run_threads(2, run_frozen, NULL); }
END_TEST

static void run_failing(td_job *job, void *cookie) {
    (void)cookie;
    td_context *context;
    td_group *group;
    td_module *net;
    ck_ok(td_context_open(&context));
    ck_ok(td_group_open(job, NULL, &group));
    ck_ok(td_module_open(&net_class, NULL, &net));
    bool failed = true;
    for (long k = 0; failed; k++) {
        ck_assert_int_lt(k, 500);
        td_ddp *ddp = NULL;
        td_alloc_fail_after(k);
        td_status status = td_ddp_open(net, group, NULL, &ddp);
        td_alloc_fail_after(-1);
        failed = status != TD_OK;
        if (failed) ck_assert_int_eq(status, TD_ERR_MEMORY);
        td_ddp_close(&ddp);
        /* Nothing of it is left: the module trains alone. */
        td_scope *scope = td_scope_open(context);
        pass(net, 0, 4);
        ck_ok(td_scope_close(scope));
        td_module_zero_grad(net);
    }
    td_module_close(&net);
    td_group_close(&group);
    td_context_close(&context);
}

START_TEST(every_failing_allocation_at_opening_leaves_the_module_as_it_was) {
    run_threads(1, run_failing, NULL);
}
END_TEST

/* --- the course of a pass --------------------------------------------------------------------------- */

static td_status count_posted(td_tensor *leaf, void *cookie) {
    (void)leaf;
    td_ddp *ddp = *(td_ddp **)cookie;
    ck_assert_uint_gt(ddp->posted, 0);
    *(td_ddp **)cookie = NULL;
    return TD_OK;
}

static void run_overlap(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r = open_rank(job, &mixed_class, 1);
    td_ddp *seen = r.ddp;
    ck_assert_uint_eq(td_ddp_bucket_count(r.ddp), 3);
    ck_ok(td_tensor_add_grad_hook(td_module_parameter(r.net, "a"), count_posted, &seen));
    /* Of c, b and a, a's gradient comes last: its way on the tape is the longest. */
    td_tensor *x = samples(0, 8);
    td_tensor *way = td_mul(td_mul(td_module_parameter(r.net, "a"), x), x);
    td_tensor *y = td_mul(td_mul(way, td_module_parameter(r.net, "b")), td_module_parameter(r.net, "c"));
    ck_ok(td_backward(td_sum(y)));
    ck_assert_ptr_null(seen);
    ck_assert_uint_eq(r.ddp->posted, 0);
    close_rank(&r);
}

START_TEST(a_full_bucket_is_posted_while_backward_goes_on) { run_threads(2, run_overlap, NULL); }
END_TEST

static void run_in_place(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r = open_rank(job, &net_class, 0);
    pass(r.net, 0, 8);
    td_tensor *grad = td_tensor_grad(td_module_parameter(td_module_child(r.net, "first"), "weight"));
    bool alone = td_job_world_size(job) == 1;
    ck_assert(td_arena_contains(td_group_arena(r.group), td_tensor_data(grad), 64) == !alone);
    ck_assert_uint_eq(td_ddp_bucket_count(r.ddp), alone ? 0 : 1);
    close_rank(&r);
}

START_TEST(gradients_are_born_in_shared_memory_and_alone_nothing_moves) {
    run_threads(2, run_in_place, NULL);
    run_threads(1, run_in_place, NULL);
}
END_TEST

static void run_misuse(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r = open_rank(job, &net_class, 0);
    ck_fails(td_ddp_begin(r.ddp, -1), TD_ERR_ARG, "-1 samples");
    ck_fails(td_ddp_no_sync_end(r.ddp), TD_ERR_STATE, "not begun");
    ck_ok(td_ddp_no_sync_begin(r.ddp));
    ck_fails(td_ddp_no_sync_begin(r.ddp), TD_ERR_STATE, "begun already");
    pass(r.net, 0, 4);
    ck_fails(td_ddp_begin(r.ddp, 4), TD_ERR_STATE, "after a backward pass without it");
    td_module_zero_grad(r.net); /* forgets */
    ck_ok(td_ddp_begin(r.ddp, 4));
    pass(r.net, 0, 4);
    td_error_clear();
    td_scope *scope = td_scope_open(r.context);
    ck_assert_int_eq(td_backward(loss_of(r.net, 0, 4)), TD_ERR_STATE);
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "without td_ddp_begin"));
    ck_assert_int_eq(td_scope_close(scope), TD_ERR_STATE);
    td_scope_close(r.scope); /* a failed scope marks the one around it */
    r.scope = td_scope_open(r.context);
    td_module_zero_grad(r.net);
    ck_ok(td_ddp_no_sync_end(r.ddp));
    ck_ok(td_ddp_begin(r.ddp, 4));
    ck_ok(td_ddp_begin(r.ddp, 4)); /* announced again: the first never ran */
    pass(r.net, 0, 4);
    ck_ok(td_ddp_no_sync_begin(r.ddp));
    ck_fails(td_ddp_begin(r.ddp, 4), TD_ERR_STATE, "still hold the last step's mean");
    ck_ok(td_ddp_no_sync_end(r.ddp));
    close_rank(&r);
}

START_TEST(misuse_is_refused_in_words) {
    run_threads(1, run_misuse, NULL);
    run_threads(2, run_misuse, NULL);
}
END_TEST

/* Steps of a whole job: weights stay the same on all ranks, buffers stay what they were. */
static void run_training(td_job *job, void *cookie) {
    float(*final)[3] = cookie;
    int rank = td_job_rank(job);
    td_rank r = open_rank(job, &net_class, 256);
    td_state_dict parameters = {0};
    ck_ok(td_module_parameters(r.net, &parameters));
    td_optimizer *optimizer;
    ck_ok(td_adamw_open(&parameters, NULL, &optimizer));
    float before[4], after[4];
    ck_ok(td_tensor_copy_to(td_module_buffer(r.net, "seen"), before, sizeof before));
    for (int step = 0; step < 5; step++) {
        td_optimizer_zero_grad(optimizer);
        ck_ok(td_ddp_begin(r.ddp, 4 + rank));
        pass(r.net, 8 * rank, 8 * rank + 4 + rank);
        ck_ok(td_optimizer_step(optimizer));
    }
    ck_ok(td_tensor_copy_to(td_module_buffer(r.net, "seen"), after, sizeof after));
    ck_assert_mem_eq(after, before, sizeof before);
    ck_ok(td_tensor_copy_to(td_module_parameter(td_module_child(r.net, "second"), "bias"), final[rank],
                            sizeof final[0]));
    td_optimizer_close(&optimizer);
    td_state_dict_clear(&parameters);
    close_rank(&r);
}

START_TEST(weights_stay_equal_and_buffers_untouched_over_steps) {
    float final[3][3];
    run_threads(3, run_training, final);
    for (int rank = 1; rank < 3; rank++) ck_assert_mem_eq(final[rank], final[0], sizeof final[0]);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("ddp");
    TCase *tcase = tcase_create("ddp");
    tcase_add_loop_test(tcase, gradients_are_those_of_one_rank_with_all_samples, 0,
                        (int)(sizeof shared_out / sizeof *shared_out));
    tcase_add_test(tcase, each_dtype_has_its_buckets);
    tcase_add_test(tcase, unweighted_passes_are_summed_and_ranks_averaged);
    tcase_add_test(tcase, two_runs_have_the_same_bits);
    tcase_add_test(tcase, an_unused_gradient_is_zero_here_and_empty_if_nobody_has_it);
    tcase_add_test(tcase, a_rank_without_samples_adds_nothing_not_even_nan);
    tcase_add_test(tcase, a_step_without_any_samples_is_an_error);
    tcase_add_test(tcase, all_begin_with_the_weights_and_buffers_of_rank_0);
    tcase_add_loop_test(tcase, modules_that_differ_are_refused_with_the_first_difference, 0,
                        (int)(sizeof differences / sizeof *differences));
    tcase_add_test(tcase, a_module_without_trained_parameters_is_refused);
    tcase_add_test(tcase, every_failing_allocation_at_opening_leaves_the_module_as_it_was);
    tcase_add_test(tcase, a_full_bucket_is_posted_while_backward_goes_on);
    tcase_add_test(tcase, gradients_are_born_in_shared_memory_and_alone_nothing_moves);
    tcase_add_test(tcase, misuse_is_refused_in_words);
    tcase_add_test(tcase, weights_stay_equal_and_buffers_untouched_over_steps);
    suite_add_tcase(suite, tcase);
    return suite;
}
