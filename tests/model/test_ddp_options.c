/*
 * What DDP's options do, ranks being threads: unused parameters named, static graphs, buckets in the order of
 * arrival, buffers, ranks that run out of data.
 */
#include "base/context.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dist/ranks.h"
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/optim/optimizer.h"
#include "model/parallel/internal.h"
#include "model/parallel/sync_batch_norm.h"
#include "model/tensor/scope.h"
#include "support/check.h"

#include <math.h>
#include <sys/mman.h>

enum { SAMPLES = 64, IN = 6, RANKS = 4 };

/* --- a module that may leave parts out ---------------------------------------------------------------- */

typedef struct net_fields {
    bool extra; /* this pass goes through "extra" */
} net_fields;

/* "first" is used last in forward, so gradients come in another order than the reverse of parameters. */
static td_status build_net(td_module *net, const void *options) {
    (void)options;
    TD_TRY(td_add_linear(net, "first", 8, 3));
    TD_TRY(td_add_linear(net, "second", IN, 8));
    TD_TRY(td_add_batch_norm1d(net, "norm", 8));
    return td_add_linear(net, "extra", 8, 8);
}

static td_tensor *forward_net(td_module *net, td_tensor *x) {
    x = td_module_forward(td_module_child(net, "second"), x);
    x = td_relu(td_module_forward(td_module_child(net, "norm"), x));
    if (((net_fields *)td_module_fields(net))->extra) x = td_module_forward(td_module_child(net, "extra"), x);
    return td_module_forward(td_module_child(net, "first"), x);
}

static const td_module_class net_class = {
    .name = "Net", .fields = sizeof(net_fields), .build = build_net, .forward = forward_net};

typedef struct td_rank {
    int rank;
    td_context *context;
    td_group *group;
    td_module *net;
    td_ddp *ddp;
    td_scope *scope;
} td_rank;

static td_rank open_rank(td_job *job, const td_ddp_options *options) {
    td_rank r = {.rank = td_job_rank(job)};
    ck_ok(td_context_open(&r.context));
    ck_ok(td_parallel_set_threads(1));
    ck_ok(td_group_open(job, NULL, &r.group));
    ck_ok(td_manual_seed((uint64_t)r.rank));
    ck_ok(td_module_open(&net_class, NULL, &r.net));
    ck_ok(td_ddp_open(r.net, r.group, options, &r.ddp));
    r.scope = td_scope_open(r.context);
    return r;
}

static void close_rank(td_rank *r) {
    td_scope_close(r->scope);
    td_ddp_close(&r->ddp);
    td_group_close(&r->group);
    td_module_close(&r->net);
    td_context_close(&r->context);
}

/* A scope that failed marks those around it. */
static void renew_scope(td_rank *r) {
    td_scope_close(r->scope);
    td_error_clear();
    r->scope = td_scope_open(r->context);
}

static td_tensor *samples(int begin, int end) {
    float x[SAMPLES * IN];
    for (int i = 0; i < SAMPLES * IN; i++) x[i] = sinf((float)(i * i % 97));
    return td_tensor_from(x + begin * IN, TD_DTYPE_F32, TD_INTS(end - begin, IN));
}

static td_status pass(td_rank *r, int begin, int end, bool extra) {
    ((net_fields *)td_module_fields(r->net))->extra = extra;
    td_tensor *y = td_ddp_forward(r->ddp, samples(begin, end));
    return td_backward(td_mean(td_sum(td_mul(y, y), TD_INTS(1))));
}

static td_tensor *parameter(const td_rank *r, const char *child, const char *name) {
    return td_module_parameter(td_module_child(r->net, child), name);
}

/* All gradients one after the other; of an empty one nothing. */
static size_t gradients(const td_rank *r, float *out) {
    td_state_dict parameters = {0};
    ck_ok(td_module_parameters(r->net, &parameters));
    size_t count = 0;
    for (size_t i = 0; i < parameters.count; i++) {
        const td_tensor *grad = td_tensor_grad(parameters.at[i].tensor);
        if (!grad) continue;
        size_t more = (size_t)td_tensor_count(grad);
        ck_ok(td_tensor_copy_to(grad, out + count, more * sizeof *out));
        count += more;
    }
    td_state_dict_clear(&parameters);
    return count;
}

enum { MOST = 512 };

static void near(const float *got, const float *wanted, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(got[i] - wanted[i]) <= 3e-6f * fmaxf(1, fabsf(wanted[i]))))
            ck_abort_msg("gradient %zu is %.9g, not %.9g", i, (double)got[i], (double)wanted[i]);
}

/* --- unused parameters ---------------------------------------------------------------------------------- */

static void run_unused(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r = open_rank(job, NULL);
    ck_fails(pass(&r, 0, 8, false), TD_ERR_STATE, "did not reach 'extra.weight', 'extra.bias'; if");
    /* The others' gradients are the job's mean all the same, and training goes on. */
    ck_assert_int_eq(td_leaf_state(parameter(&r, "first", "weight")), TD_GRAD_REDUCED);
    renew_scope(&r);
    td_module_zero_grad(r.net);
    ck_ok(pass(&r, 0, 8, true));
    /* On one rank only: all are told. */
    td_module_zero_grad(r.net);
    if (td_job_world_size(job) > 1) ck_fails(pass(&r, 0, 8, r.rank != 0), TD_ERR_STATE, "on 1 of");
    close_rank(&r);
}

START_TEST(unused_parameters_are_named_on_every_rank) { run_threads(_i, run_unused, NULL); }
END_TEST

static void run_found(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r =
        open_rank(job, &(td_ddp_options){.find_unused_parameters = true, .bucket_cap_mb = 1 * 0x1p-20});
    for (int step = 0; step < 3; step++) {
        td_module_zero_grad(r.net);
        ck_ok(pass(&r, 0, 8, step == 1 && r.rank == 1));
        ck_assert((td_tensor_grad(parameter(&r, "extra", "bias")) != NULL) == (step == 1));
    }
    close_rank(&r);
}

START_TEST(unused_parameters_are_found_where_they_are_meant) { run_threads(2, run_found, NULL); }
END_TEST

/* What the next pass waits for before it posts a bucket: the slots that the first one used. */
static void check_waiting(const td_ddp *ddp) {
    for (size_t b = 0; b < ddp->bucket_count; b++) {
        size_t used = 0;
        for (size_t i = ddp->buckets[b].first; i < ddp->buckets[b].end; i++) used += !ddp->slots[i].skipped;
        ck_assert_uint_eq(ddp->buckets[b].waiting, used);
    }
}

static void run_static(td_job *job, void *cookie) {
    const td_ddp_options *options = cookie;
    td_rank r = open_rank(job, options);
    size_t before = 0, after = 0, slots = r.ddp->slot_count;
    for (size_t b = 0; b < td_ddp_bucket_count(r.ddp); b++) before += td_ddp_bucket_bytes(r.ddp, b);
    for (int step = 0; step < 3; step++) {
        td_module_zero_grad(r.net);
        ck_ok(pass(&r, 8 * r.rank, 8 * r.rank + 8, false));
        ck_assert_ptr_null(td_tensor_grad(parameter(&r, "extra", "weight")));
        check_waiting(r.ddp);
    }
    for (size_t b = 0; b < td_ddp_bucket_count(r.ddp); b++) after += td_ddp_bucket_bytes(r.ddp, b);
    ck_assert(options->skip_all_reduce_unused_params == (r.ddp->slots[slots - 1].home == NULL));
    if (options->skip_all_reduce_unused_params && options->bucket_cap_mb) ck_assert_uint_lt(after, before);
    ck_assert_uint_eq(r.ddp->slot_count, slots);
    ck_fails(pass(&r, 0, 8, true), TD_ERR_STATE, "'extra.");
    ck_assert_ptr_nonnull(strstr(td_error_last()->text, "static_graph promises otherwise"));
    close_rank(&r);
}

START_TEST(a_static_graph_waits_for_nothing_unused_and_holds_to_its_promise) {
    static const td_ddp_options options[] = {
        {.static_graph = true},
        {.static_graph = true, .bucket_cap_mb = 1 * 0x1p-20},
        {.static_graph = true, .bucket_cap_mb = 1 * 0x1p-20, .skip_all_reduce_unused_params = true},
        {.static_graph = true, .skip_all_reduce_unused_params = true},
    };
    td_ddp_options o = options[_i];
    run_threads(2, run_static, &o);
}
END_TEST

static void run_static_less(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r = open_rank(job, &(td_ddp_options){.static_graph = true});
    ck_ok(pass(&r, 0, 8, true));
    td_module_zero_grad(r.net);
    ck_fails(pass(&r, 0, 8, false), TD_ERR_STATE,
             "did not use 'extra.weight', 'extra.bias', which the first");
    close_rank(&r);
}

START_TEST(a_static_graph_that_uses_less_is_named_too) { run_threads(2, run_static_less, NULL); }
END_TEST

/* --- buckets -------------------------------------------------------------------------------------------- */

static void run_rebuild(td_job *job, void *cookie) {
    float(*first)[MOST] = cookie;
    td_rank r = open_rank(job, &(td_ddp_options){.bucket_cap_mb = 1 * 0x1p-20});
    ck_assert_str_eq(r.ddp->slots[0].name, "extra.bias");
    const td_tensor *home = r.ddp->slots[7].home;
    ck_ok(pass(&r, 8 * r.rank, 8 * r.rank + 8, true));
    size_t count = gradients(&r, first[r.rank]);
    /* "first" comes first now: its gradient does; and nothing has moved for who looks. */
    ck_assert_ptr_eq(strstr(r.ddp->slots[7].name, "second."), r.ddp->slots[7].name);
    ck_assert_ptr_eq(strstr(r.ddp->slots[0].name, "first."), r.ddp->slots[0].name);
    ck_assert_uint_eq(td_ddp_bucket_count(r.ddp), 8);
    bool kept = false;
    for (size_t i = 0; i < r.ddp->slot_count; i++) {
        const td_ddp_slot *slot = &r.ddp->slots[i];
        kept |= slot->home == home;
        ck_assert_ptr_eq(td_tensor_grad(slot->param), slot->home);
        ck_assert(td_arena_contains(td_group_arena(r.group), td_tensor_data(slot->home), 4));
        ck_assert_ptr_eq(td_tensor_data(slot->home), r.ddp->buckets[slot->bucket].data);
    }
    ck_assert(kept);
    td_module_zero_grad(r.net);
    ck_ok(pass(&r, 8 * r.rank, 8 * r.rank + 8, true));
    float again[MOST];
    ck_assert_uint_eq(gradients(&r, again), count);
    ck_assert_mem_eq(again, first[r.rank], count * sizeof *again);
    close_rank(&r);
}

START_TEST(buckets_are_cut_again_in_the_order_of_arrival) {
    static float first[RANKS][MOST];
    run_threads(3, run_rebuild, first);
    for (int rank = 1; rank < 3; rank++) ck_assert_mem_eq(first[rank], first[0], sizeof first[0]);
}
END_TEST

static void run_caps(td_job *job, void *cookie) {
    (void)cookie;
    const double small = 4.0 / (1 << 20), large = 1;
    td_rank r = open_rank(job, &(td_ddp_options){.bucket_cap_mb_list = (double[]){small, small, large},
                                                 .bucket_cap_mb_count = 3});
    ck_assert_uint_eq(td_ddp_bucket_count(r.ddp), 3); /* two of one slot, and the rest */
    ck_assert_uint_eq(r.ddp->buckets[2].end - r.ddp->buckets[2].first, 6);
    td_ddp *refused = NULL;
    ck_fails(td_ddp_open(r.net, r.group,
                         &(td_ddp_options){.bucket_cap_mb_list = (double[]){0}, .bucket_cap_mb_count = 1},
                         &refused),
             TD_ERR_ARG, "bucket_cap_mb_list has 0");
    ck_fails(td_ddp_open(r.net, r.group, &(td_ddp_options){.skip_all_reduce_unused_params = true}, &refused),
             TD_ERR_ARG, "needs static_graph");
    close_rank(&r);
}

START_TEST(each_bucket_may_have_its_size) { run_threads(2, run_caps, NULL); }
END_TEST

/* --- values at the beginning, and buffers --------------------------------------------------------------- */

static float first_of(const td_tensor *x) { return *(const float *)td_tensor_data(x); }

static void run_init(td_job *job, void *cookie) {
    float(*seen)[RANKS] = cookie;
    td_rank r = open_rank(job, &(td_ddp_options){.init_sync = TD_CHOICE_NO});
    seen[0][r.rank] = first_of(parameter(&r, "first", "weight"));
    close_rank(&r);
    r = open_rank(job, NULL);
    seen[1][r.rank] = first_of(parameter(&r, "first", "weight"));
    close_rank(&r);
}

START_TEST(without_init_sync_every_rank_keeps_its_weights) {
    float seen[2][RANKS];
    run_threads(2, run_init, seen);
    ck_assert_float_ne(seen[0][0], seen[0][1]);
    ck_assert_float_eq(seen[1][0], seen[1][1]);
}
END_TEST

typedef struct buffer_scenario {
    td_choice choice;
    bool begin, convert;
    float before[RANKS], after[RANKS],
        synced[RANKS]; /* running means: at the last forward, behind it, at the end */
} buffer_scenario;

static void run_buffers(td_job *job, void *cookie) {
    buffer_scenario *s = cookie;
    td_rank r = open_rank(job, &(td_ddp_options){.forward_sync_buffers = s->choice});
    if (s->convert) td_sync_batch_norm_convert(r.net, r.group);
    td_tensor *mean = td_module_buffer(td_module_child(r.net, "norm"), "running_mean");
    for (int step = 0; step < 3; step++) {
        td_module_zero_grad(r.net);
        if (s->begin) ck_ok(td_ddp_begin(r.ddp, 8));
        s->before[r.rank] = first_of(mean);
        ck_ok(pass(&r, 8 * r.rank + step, 8 * r.rank + step + 8, true));
        s->after[r.rank] = first_of(mean);
    }
    ck_ok(td_ddp_sync_buffers(r.ddp));
    s->synced[r.rank] = first_of(mean);
    int64_t batches;
    ck_ok(td_tensor_item_i64(td_module_buffer(td_module_child(r.net, "norm"), "num_batches_tracked"),
                             &batches));
    ck_assert_int_eq(batches, 3);
    close_rank(&r);
}

START_TEST(buffers_are_rank_0s_before_each_step) {
    buffer_scenario s = {.begin = true};
    run_threads(3, run_buffers, &s);
    ck_assert_float_eq(s.before[1], s.before[0]);
    ck_assert_float_eq(s.before[2], s.before[0]);
    ck_assert_float_ne(s.after[1], s.after[0]);
    ck_assert_float_eq(s.synced[1], s.after[0]);
    s = (buffer_scenario){.begin = false};
    run_threads(2, run_buffers, &s);
    ck_assert_float_ne(s.after[1], s.after[0]);
    ck_assert_float_eq(s.synced[1], s.after[0]);
    s = (buffer_scenario){.begin = true, .choice = TD_CHOICE_NO};
    run_threads(2, run_buffers, &s);
    ck_assert_float_ne(s.before[1], s.before[0]);
    s = (buffer_scenario){.begin = true, .convert = true}; /* equal by themselves */
    run_threads(2, run_buffers, &s);
    ck_assert_float_eq(s.after[1], s.after[0]);
}
END_TEST

/* --- ranks that run out of data -------------------------------------------------------------------------- */

typedef struct join_scenario {
    int world, batches[RANKS]; /* how many each rank has */
    bool weighted;
    td_choice divide;
    float grads[RANKS][8][MOST]; /* of each step */
    size_t count;
    int steps[RANKS];
    float final[RANKS][24];
} join_scenario;

static int first_sample(int rank, int batch) { return 12 * rank + 4 * batch; }

static void run_join(td_job *job, void *cookie) {
    join_scenario *s = cookie;
    td_rank r = open_rank(
        job, &(td_ddp_options){.divide_by_initial_world_size = s->divide, .bucket_cap_mb = 64 * 0x1p-20});
    td_module_eval(td_module_child(r.net, "norm")); /* or the batches of each rank would count */
    td_state_dict parameters = {0};
    ck_ok(td_module_parameters(r.net, &parameters));
    td_optimizer *optimizer;
    ck_ok(td_sgd_open(&parameters, &(td_sgd_options){.lr = 0}, &optimizer));
    bool any = true;
    for (int step = 0; any; step++) {
        td_optimizer_zero_grad(optimizer);
        int at = first_sample(r.rank, step);
        if (step < s->batches[r.rank]) {
            if (s->weighted) ck_ok(td_ddp_begin(r.ddp, 4));
            ck_ok(pass(&r, at, at + 4, true));
        } else if (s->weighted && step == 0) {
            ck_ok(td_ddp_begin(r.ddp, 0));
        } else {
            ck_ok(td_ddp_join(r.ddp, &any));
        }
        if (!any) break;
        s->count = gradients(&r, s->grads[r.rank][step]);
        ck_ok(td_optimizer_step(optimizer));
        s->steps[r.rank] = step + 1;
    }
    ck_ok(td_tensor_copy_to(parameter(&r, "first", "weight"), s->final[r.rank], sizeof s->final[0]));
    td_optimizer_close(&optimizer);
    td_state_dict_clear(&parameters);
    close_rank(&r);
}

/* One batch's gradients, by one rank alone. */
typedef struct single {
    int at;
    float grads[MOST];
} single;

static void run_single(td_job *job, void *cookie) {
    single *s = cookie;
    td_rank r = open_rank(job, NULL);
    td_module_eval(td_module_child(r.net, "norm"));
    ck_ok(pass(&r, s->at, s->at + 4, true));
    gradients(&r, s->grads);
    close_rank(&r);
}

static const join_scenario joins[] = {
    {.world = 2, .batches = {3, 1}, .weighted = false},
    {.world = 2, .batches = {1, 3}, .weighted = true},
    {.world = 3, .batches = {2, 0, 3}, .weighted = false, .divide = TD_CHOICE_NO},
    {.world = 3, .batches = {0, 2, 1}, .weighted = true},
    {.world = 4, .batches = {1, 1, 1, 1}, .weighted = false},
    {.world = 1, .batches = {2}, .weighted = false},
};

START_TEST(ranks_without_data_step_with_the_others_and_all_end_together) {
    static join_scenario s;
    static single one;
    s = joins[_i];
    run_threads(s.world, run_join, &s);
    int longest = 0;
    for (int rank = 0; rank < s.world; rank++)
        longest = s.batches[rank] > longest ? s.batches[rank] : longest;
    for (int step = 0; step < longest; step++) {
        float wanted[MOST] = {0};
        int active = 0;
        for (int rank = 0; rank < s.world; rank++) active += step < s.batches[rank];
        int divisor = s.weighted || s.divide == TD_CHOICE_NO ? active : s.world;
        for (int rank = 0; rank < s.world; rank++) {
            if (step >= s.batches[rank]) continue;
            one.at = first_sample(rank, step);
            run_threads(1, run_single, &one);
            for (size_t i = 0; i < s.count; i++) wanted[i] += one.grads[i] / (float)divisor;
        }
        near(s.grads[0][step], wanted, s.count);
        for (int rank = 1; rank < s.world; rank++)
            ck_assert_mem_eq(s.grads[rank][step], s.grads[0][step], s.count * sizeof(float));
    }
    for (int rank = 0; rank < s.world; rank++) {
        ck_assert_int_eq(s.steps[rank], longest);
        ck_assert_mem_eq(s.final[rank], s.final[0], sizeof s.final[0]);
    }
}
END_TEST

static void run_thrown(td_job *job, void *cookie) {
    (void)cookie;
    td_rank r = open_rank(job, &(td_ddp_options){.throw_on_early_termination = true});
    bool any = true;
    ck_ok(pass(&r, 0, 8, true));
    td_module_zero_grad(r.net);
    if (r.rank == 1)
        ck_fails(td_ddp_join(r.ddp, &any), TD_ERR_STATE, "1 of 3 ranks have no more data");
    else
        ck_fails(pass(&r, 0, 8, true), TD_ERR_STATE, "1 of 3 ranks have no more data");
    ck_ok(td_ddp_no_sync_begin(r.ddp));
    ck_fails(td_ddp_join(r.ddp, &any), TD_ERR_STATE, "in the middle");
    close_rank(&r);
}

START_TEST(an_early_end_can_be_an_error_on_all_ranks) { run_threads(3, run_thrown, NULL); }
END_TEST

/* Rank 0 is out of data: its buffers are old, so those of the first rank that still trains are taken. */
static void run_stale(td_job *job, void *cookie) {
    float(*seen)[2] = cookie;
    td_rank r = open_rank(job, NULL);
    td_tensor *mean = td_module_buffer(td_module_child(r.net, "norm"), "running_mean");
    bool any = true;
    for (int step = 0; any; step++) {
        td_module_zero_grad(r.net);
        if (step < 1 + 2 * r.rank)
            ck_ok(pass(&r, 4 * r.rank + step, 4 * r.rank + step + 8, true));
        else
            ck_ok(td_ddp_join(r.ddp, &any));
        if (step < 3) seen[step][r.rank] = first_of(mean);
    }
    close_rank(&r);
}

START_TEST(buffers_come_from_a_rank_that_still_trains) {
    float seen[3][2];
    run_threads(2, run_stale, seen);
    /* In step 2 rank 0, which has joined, holds what rank 1 had after step 1. */
    ck_assert_float_ne(seen[1][0], seen[1][1]);
    ck_assert_float_eq(seen[2][0], seen[1][1]);
}
END_TEST

/* --- shortage of memory ----------------------------------------------------------------------------------- */

static void run_failing(td_job *job, void *cookie) {
    (void)cookie;
    const td_ddp_options options = {.bucket_cap_mb = 1 * 0x1p-20};
    bool failed = true;
    for (long k = 0; failed; k++) {
        ck_assert_int_lt(k, 3000);
        td_rank r = open_rank(job, &options);
        td_sync_batch_norm_convert(r.net, r.group);
        td_alloc_fail_after(k);
        td_status status = td_ddp_begin(r.ddp, 8);
        if (status == TD_OK) status = pass(&r, 0, 8, true);
        td_alloc_fail_after(-1);
        failed = status != TD_OK;
        if (failed) ck_assert_int_eq(status, TD_ERR_MEMORY);
        close_rank(&r);
    }
}

START_TEST(every_failing_allocation_in_a_step_is_a_status) { run_threads(1, run_failing, NULL); }
END_TEST

/* The same on one rank of two, which are processes: the other is told, and neither waits for ever. */
typedef struct failing_rank {
    long k;
    bool failed;
} failing_rank;

static void run_failing_rank(td_job *job, void *cookie) {
    failing_rank *f = cookie;
    td_rank r = open_rank(job, &(td_ddp_options){.bucket_cap_mb = 1 * 0x1p-20});
    td_sync_batch_norm_convert(r.net, r.group);
    if (r.rank == 1) td_alloc_fail_after(f->k);
    td_status status = td_ddp_begin(r.ddp, 8);
    if (status == TD_OK) status = pass(&r, 0, 8, true);
    td_alloc_fail_after(-1);
    if (r.rank == 1) {
        ck_assert(status == TD_OK || status == TD_ERR_MEMORY);
        f->failed = status != TD_OK;
    }
    close_rank(&r);
}

START_TEST(a_failing_allocation_on_one_rank_ends_the_step_on_all) {
    failing_rank *f = mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(f, MAP_FAILED);
    f->failed = true;
    for (f->k = 0; f->failed; f->k += 7) { /* a sample of them: each costs two processes */
        ck_assert_int_lt(f->k, 3000);
        run_processes(2, run_failing_rank, f);
    }
    munmap(f, sizeof *f);
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("ddp_options");
    TCase *tcase = tcase_create("ddp_options");
    tcase_add_loop_test(tcase, unused_parameters_are_named_on_every_rank, 1, 4);
    tcase_add_test(tcase, unused_parameters_are_found_where_they_are_meant);
    tcase_add_loop_test(tcase, a_static_graph_waits_for_nothing_unused_and_holds_to_its_promise, 0, 4);
    tcase_add_test(tcase, a_static_graph_that_uses_less_is_named_too);
    tcase_add_test(tcase, buckets_are_cut_again_in_the_order_of_arrival);
    tcase_add_test(tcase, each_bucket_may_have_its_size);
    tcase_add_test(tcase, without_init_sync_every_rank_keeps_its_weights);
    tcase_add_test(tcase, buffers_are_rank_0s_before_each_step);
    tcase_add_loop_test(tcase, ranks_without_data_step_with_the_others_and_all_end_together, 0,
                        (int)(sizeof joins / sizeof *joins));
    tcase_add_test(tcase, an_early_end_can_be_an_error_on_all_ranks);
    tcase_add_test(tcase, buffers_come_from_a_rank_that_still_trains);
    tcase_add_test(tcase, every_failing_allocation_in_a_step_is_a_status);
    tcase_add_test(tcase, a_failing_allocation_on_one_rank_ends_the_step_on_all);
    suite_add_tcase(suite, tcase);
    return suite;
}
