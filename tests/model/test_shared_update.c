/*
 * Shared update and ZeRO-1 against the replicated way: the same bits, for every number of ranks, optimizer and
 * way to share samples out. The ranks are threads, so the thread sanitizer sees every access to what they share.
 */
#include "base/context.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dist/ranks.h"
#include "model/autograd/autograd.h"
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/optim/optimizer.h"
#include "model/parallel/ddp.h"
#include "model/tensor/scope.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>

enum { SAMPLES = 96, IN = 6, MAX_NUMBERS = 65536, MAX_RANKS = 8 };

/* --- the module -------------------------------------------------------------------------------------- */

/* Layers of uneven sizes, one twice the border of a slice, a frozen one, one that some passes leave out, one
 * that all do, and one that is there twice. */
static td_status build_net(td_module *net, const void *options) {
    (void)options;
    TD_TRY(td_add_linear(net, "first", IN, 97));
    TD_TRY(td_add_linear(net, "frozen", 97, 5));
    TD_TRY(td_add_linear(net, "square", 97, 97));
    TD_TRY(td_add_linear(net, "last", 97, 3));
    TD_TRY(td_add_linear(net, "sometimes", 3, 3));
    TD_TRY(td_add_linear(net, "never", 2, 2));
    TD_TRY(
        td_module_add_parameter(net, "tied", td_module_parameter(td_module_child(net, "square"), "weight")));
    td_module *frozen = td_module_child(net, "frozen");
    TD_TRY(td_tensor_set_requires_grad(td_module_parameter(frozen, "weight"), false));
    return td_tensor_set_requires_grad(td_module_parameter(frozen, "bias"), false);
}

static td_tensor *forward_net(td_module *net, td_tensor *x) {
    x = td_relu(td_module_forward(td_module_child(net, "first"), x));
    x = td_relu(td_module_forward(td_module_child(net, "square"), x));
    x = td_relu(td_linear(x, td_module_parameter(net, "tied"), NULL));
    return td_module_forward(td_module_child(net, "last"), x);
}

static const td_module_class net_class = {.name = "Net", .build = build_net, .forward = forward_net};

/* Two dtypes, alternating. */
static td_status build_mixed(td_module *net, const void *options) {
    (void)options;
    td_scope *scope = td_scope_open(td_context_current());
    td_status status = td_module_add_parameter(net, "a", td_randn(TD_INTS(300, IN)));
    if (status == TD_OK)
        status = td_module_add_parameter(net, "b", td_randn(TD_INTS(300, IN), .dtype = TD_DTYPE_F64));
    if (status == TD_OK) status = td_module_add_parameter(net, "c", td_randn(TD_INTS(IN)));
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

static td_tensor *forward_mixed(td_module *net, td_tensor *x) {
    td_tensor *sum = td_add(td_module_parameter(net, "a"),
                            td_mul(td_module_parameter(net, "b"), td_module_parameter(net, "c")));
    return td_mul(td_sum(x, TD_INTS(0)), sum);
}

static const td_module_class mixed_class = {.name = "Mixed", .build = build_mixed, .forward = forward_mixed};

/* --- what is trained --------------------------------------------------------------------------------- */

typedef enum rule { SGD, ADAM, ADAMW } rule;

typedef struct plan {
    const char *what;
    rule rule;
    td_sgd_options sgd;
    td_adam_options adam;
    int passes; /* per step; 0: one */
    bool unweighted, mixed, sometimes, empty, evaluates;
    double max_norm;
    size_t bucket_bytes;
    int threads; /* per rank; 0: one */
    bool every_world;
} plan;

static const plan plans[] = {
    {"sgd", SGD, .sgd = {.lr = 0.05}},
    {"momentum", SGD, .sgd = {.lr = 0.05, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.01}},
    {"nesterov", SGD, .sgd = {.lr = 0.05, .momentum = 0.9, .nesterov = true, .maximize = true}},
    {"adam", ADAM, .adam = {TD_ADAM_DEFAULTS}},
    {"amsgrad", ADAM, .adam = {TD_ADAM_DEFAULTS, .amsgrad = true, .weight_decay = 0.1}},
    {"adamw", ADAMW, .adam = {TD_ADAMW_DEFAULTS}},
    {"a bucket for each parameter", ADAMW, .adam = {TD_ADAMW_DEFAULTS}, .bucket_bytes = 1},
    {"a few buckets", ADAMW, .adam = {TD_ADAMW_DEFAULTS}, .bucket_bytes = 3000, .every_world = true},
    {"unweighted", ADAM, .adam = {TD_ADAM_DEFAULTS}, .unweighted = true},
    {"accumulated", SGD, .sgd = {.lr = 0.05, .momentum = 0.9}, .passes = 3},
    {"some unused", ADAM, .adam = {TD_ADAM_DEFAULTS}, .sometimes = true},
    {"some without samples", ADAM, .adam = {TD_ADAM_DEFAULTS}, .empty = true},
    {"accumulated, some without samples", SGD, .sgd = {.lr = 0.05}, .empty = true, .passes = 2},
    {"clipped", SGD, .sgd = {.lr = 0.05, .momentum = 0.9}, .max_norm = 0.1, .every_world = true},
    {"clipped, a few buckets", ADAMW, .adam = {TD_ADAMW_DEFAULTS}, .max_norm = 0.1, .bucket_bytes = 3000},
    {"not clipped, though it might", SGD, .sgd = {.lr = 0.05}, .max_norm = 1e9},
    {"two dtypes", ADAM, .adam = {TD_ADAM_DEFAULTS, .weight_decay = 0.1}, .mixed = true},
    {"two dtypes, clipped", SGD, .sgd = {.lr = 0.05, .momentum = 0.5}, .mixed = true, .max_norm = 0.5},
    {"evaluated", ADAM, .adam = {TD_ADAM_DEFAULTS}, .evaluates = true},
    {"two threads", ADAM, .adam = {TD_ADAM_DEFAULTS}, .threads = 2},
};
enum { PLANS = sizeof plans / sizeof *plans };

typedef struct rank {
    td_context *context;
    td_group *group;
    td_module *net;
    td_ddp *ddp;
    td_optimizer *optimizer;
    td_scope *scope;
} rank;

static void open_optimizer(rank *r, const plan *plan) {
    td_state_dict parameters = {0};
    ck_ok(td_module_parameters(r->net, &parameters));
    if (plan->rule == SGD) ck_ok(td_sgd_open(&parameters, &plan->sgd, &r->optimizer));
    if (plan->rule == ADAM) ck_ok(td_adam_open(&parameters, &plan->adam, &r->optimizer));
    if (plan->rule == ADAMW) ck_ok(td_adamw_open(&parameters, &plan->adam, &r->optimizer));
    ck_ok(td_optimizer_set_max_norm(r->optimizer, plan->max_norm));
    td_state_dict_clear(&parameters);
}

static rank open_rank(td_job *job, const plan *plan, td_sync sync) {
    rank r = {0};
    ck_ok(td_context_open(&r.context));
    ck_ok(td_parallel_set_threads(plan->threads ? plan->threads : 1));
    ck_ok(td_group_open(job, NULL, &r.group));
    ck_ok(td_manual_seed((uint64_t)td_job_rank(job))); /* each rank begins with other weights */
    ck_ok(td_module_open(plan->mixed ? &mixed_class : &net_class, NULL, &r.net));
    td_ddp_options options = {
        .bucket_cap_mb = (double)plan->bucket_bytes * 0x1p-20, .sync = sync, .find_unused_parameters = true};
    ck_ok(td_ddp_open(r.net, r.group, &options, &r.ddp));
    ck_assert_int_eq(td_ddp_sync(r.ddp), sync);
    open_optimizer(&r, plan);
    ck_ok(td_ddp_attach(r.ddp, r.optimizer));
    r.scope = td_scope_open(r.context);
    return r;
}

static void close_rank(rank *r) {
    ck_ok(td_scope_close(r->scope));
    td_optimizer_close(&r->optimizer);
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

static td_tensor *loss_of(const rank *r, int begin, int end, bool sometimes) {
    td_tensor *y = td_module_forward(r->net, samples(begin, end));
    if (sometimes) y = td_module_forward(td_module_child(r->net, "sometimes"), y);
    return td_mean(td_mul(y, y));
}

/* What rank `rank` has in a pass: a different number of samples for each, none for some. */
static void share_of(const plan *plan, int rank, int world, int step, int pass, int *begin, int *end) {
    int passes = plan->passes ? plan->passes : 1, part = SAMPLES / passes;
    int first = part * rank / world, last = part * (rank + 1) / world;
    if (last - first > 2) last -= (rank + step + pass) % 3; /* uneven */
    if (plan->empty && (rank + step) % 2 && world > 1) last = first;
    *begin = part * pass + first;
    *end = part * pass + last;
}

static void run_step(rank *r, const plan *plan, int number, int world, int step) {
    int passes = plan->passes ? plan->passes : 1;
    td_optimizer_zero_grad(r->optimizer);
    for (int pass = 0; pass < passes; pass++) {
        int begin, end;
        share_of(plan, number, world, step, pass, &begin, &end);
        if (pass + 1 < passes) ck_ok(td_ddp_no_sync_begin(r->ddp));
        if (!plan->unweighted) ck_ok(td_ddp_begin(r->ddp, end - begin));
        bool sometimes = plan->sometimes && step != 1 && number == world - 1;
        if (end > begin) ck_ok(td_backward(loss_of(r, begin, end, sometimes)));
        if (pass + 1 < passes) ck_ok(td_ddp_no_sync_end(r->ddp));
    }
    ck_ok(td_optimizer_step(r->optimizer));
    if (plan->evaluates) {
        td_no_grad_begin();
        ck_assert_ptr_nonnull(loss_of(r, number, number + 8, false));
        td_no_grad_end();
    }
}

/* --- what comes out ---------------------------------------------------------------------------------- */

typedef struct outcome {
    double numbers[MAX_RANKS][MAX_NUMBERS]; /* parameters, then (of rank 0) state and norm */
    size_t count[MAX_RANKS];
    char names[8192];
} outcome;

static void note(outcome *o, int rank, const td_state_dict *dict) {
    for (size_t i = 0; i < dict->count; i++) {
        const td_tensor *x = dict->at[i].tensor;
        ck_assert_uint_lt(o->count[rank] + (size_t)td_tensor_count(x), MAX_NUMBERS);
        for (int64_t e = 0; e < td_tensor_count(x); e++)
            o->numbers[rank][o->count[rank]++] = td_tensor_dtype(x) == TD_DTYPE_F32
                                                     ? ((const float *)td_tensor_data(x))[e]
                                                     : ((const double *)td_tensor_data(x))[e];
        if (rank == 0) strcat(strcat(o->names, dict->at[i].name), " ");
    }
}

static void note_parameters(outcome *o, int rank, const td_module *net) {
    td_state_dict parameters = {0};
    ck_ok(td_module_parameters(net, &parameters));
    note(o, rank, &parameters);
    td_state_dict_clear(&parameters);
}

typedef struct scenario {
    const plan *plan;
    td_sync sync;
    int world, steps;
    outcome *outcome;
} scenario;

static void train(td_job *job, void *cookie) {
    const scenario *s = cookie;
    int number = td_job_rank(job);
    rank r = open_rank(job, s->plan, s->sync);
    for (int step = 0; step < s->steps; step++) run_step(&r, s->plan, number, s->world, step);
    note_parameters(s->outcome, number, r.net);
    td_state_dict state = {0};
    ck_ok(td_ddp_optimizer_state(r.ddp, r.optimizer, &state));
    ck_assert((state.count > 0) == (number == 0));
    if (number == 0) {
        note(s->outcome, number, &state);
        s->outcome->numbers[0][s->outcome->count[0]++] = td_optimizer_norm(r.optimizer);
    }
    td_state_dict_clear(&state);
    /* What was trained is still there when the ddp is not. */
    outcome *after = td_calloc(1, sizeof *after);
    td_optimizer_close(&r.optimizer);
    td_ddp_close(&r.ddp);
    td_group_close(&r.group);
    note_parameters(after, number, r.net);
    ck_assert_mem_eq(after->numbers[number], s->outcome->numbers[number],
                     after->count[number] * sizeof(double));
    td_free(after);
    close_rank(&r);
}

static outcome *play(const plan *plan, td_sync sync, int world) {
    outcome *o = td_calloc(1, sizeof *o);
    run_threads(world, train, &(scenario){plan, sync, world, 4, o});
    for (int rank = 1; rank < world; rank++) {
        ck_assert_uint_gt(o->count[rank], 0);
        ck_assert_mem_eq(o->numbers[rank], o->numbers[0], o->count[rank] * sizeof(double));
    }
    return o;
}

static void expect_same(const outcome *got, const outcome *wanted, const plan *plan, td_sync sync,
                        int world) {
    ck_assert_str_eq(got->names, wanted->names);
    ck_assert_uint_eq(got->count[0], wanted->count[0]);
    for (size_t i = 0; i < wanted->count[0]; i++)
        if (memcmp(&got->numbers[0][i], &wanted->numbers[0][i], sizeof(double)))
            ck_abort_msg("%s, %s, %d ranks: number %zu of %zu is %.9g, not %.9g", plan->what,
                         td_sync_name(sync), world, i, wanted->count[0], got->numbers[0][i],
                         wanted->numbers[0][i]);
}

START_TEST(weights_and_state_have_the_bits_of_the_replicated_way) {
    const plan *plan = &plans[_i];
    static const int worlds[] = {2, 3, 1,
                                 4, 5, 8}; /* many ranks on few cores take their time: not every plan */
    for (int w = 0; w < (plan->every_world ? 6 : 1); w++) {
        outcome *replicated = play(plan, TD_SYNC_REPLICATED, worlds[w]);
        for (td_sync sync = TD_SYNC_SHARED; sync <= TD_SYNC_ZERO1; sync++) {
            outcome *o = play(plan, sync, worlds[w]);
            expect_same(o, replicated, plan, sync, worlds[w]);
            td_free(o);
        }
        td_free(replicated);
    }
}
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("shared_update");
    TCase *tcase = tcase_create("shared_update");
    tcase_add_loop_test(tcase, weights_and_state_have_the_bits_of_the_replicated_way, 0, PLANS);
    suite_add_tcase(suite, tcase);
    return suite;
}
