/*
 * Steps that the ranks make together when something is wrong: a rank that dies or stops in one, memory that runs
 * out, parameters left out, ranks that have drifted apart. And what a shared update saves.
 */
#include "base/context.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "dist/ranks.h"
#include "model/autograd/autograd.h"
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/optim/internal.h"
#include "model/parallel/ddp.h"
#include "model/tensor/scope.h"
#include "model/tensor/storage.h"
#include "support/check.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static td_status build_net(td_module *net, const void *options) {
    int64_t width = *(const int64_t *)options;
    TD_TRY(td_add_linear(net, "first", 8, width));
    TD_TRY(td_add_linear(net, "middle", width, width));
    TD_TRY(td_add_linear(net, "last", width, 3));
    td_scope *scope = td_scope_open(td_context_current());
    td_status status = td_module_add_buffer(net, "seen", td_zeros(TD_INTS(4)));
    td_status closed = td_scope_close(scope);
    return status < 0 ? status : closed;
}

static td_tensor *forward_net(td_module *net, td_tensor *x) {
    x = td_relu(td_module_forward(td_module_child(net, "first"), x));
    x = td_relu(td_module_forward(td_module_child(net, "middle"), x));
    return td_module_forward(td_module_child(net, "last"), x);
}

static const td_module_class net_class = {.name = "Net", .build = build_net, .forward = forward_net};

typedef struct rank {
    int number;
    td_context *context;
    td_group *group;
    td_module *net;
    td_ddp *ddp;
    td_optimizer *optimizer;
} rank;

static rank open_rank(td_job *job, td_sync sync, int64_t width, double stall_timeout) {
    rank r = {.number = td_job_rank(job)};
    ck_ok(td_context_open(&r.context));
    ck_ok(td_parallel_set_threads(1));
    ck_ok(td_group_open(job, &(td_group_options){.stall_timeout = stall_timeout}, &r.group));
    ck_ok(td_manual_seed(1));
    ck_ok(td_module_open(&net_class, &width, &r.net));
    ck_ok(td_ddp_open(r.net, r.group, &(td_ddp_options){.sync = sync}, &r.ddp));
    td_state_dict parameters = {0};
    ck_ok(td_module_parameters(r.net, &parameters));
    ck_ok(td_adam_open(&parameters, NULL, &r.optimizer));
    td_state_dict_clear(&parameters);
    ck_ok(td_ddp_attach(r.ddp, r.optimizer));
    return r;
}

static void close_rank(rank *r) {
    td_optimizer_close(&r->optimizer);
    td_ddp_close(&r->ddp);
    td_group_close(&r->group);
    td_module_close(&r->net);
    td_context_close(&r->context);
}

static td_status run_pass(rank *r) {
    td_scope *scope = td_scope_open(r->context);
    td_backward(td_mean(td_ddp_forward(r->ddp, td_ones(TD_INTS(2, 8)))));
    return td_scope_close(scope);
}

static void run_step(rank *r) {
    td_optimizer_zero_grad(r->optimizer);
    ck_ok(run_pass(r));
    ck_ok(td_optimizer_step(r->optimizer));
}

/* --- a rank that is lost ------------------------------------------------------------------------------ */

typedef struct loss {
    td_sync sync;
    int signal;
    bool inside; /* while it writes its slice; else before the step */
    _Atomic pid_t pid;
} loss;

static loss *the_loss; /* shared by the processes */

static void die(const td_optim_options *options, const td_optim_span *span) {
    (void)options, (void)span;
    the_loss->pid = getpid();
    raise(the_loss->signal);
}

static void run_loss(td_job *job, void *cookie) {
    (void)cookie;
    rank r = open_rank(job, the_loss->sync, 40, 1.5);
    run_step(&r);
    td_optim_rule deadly = *r.optimizer->rule;
    deadly.update = die;
    td_optimizer_zero_grad(r.optimizer);
    if (r.number == 1 && the_loss->inside) r.optimizer->rule = &deadly;
    if (r.number == 1 && !the_loss->inside) die(NULL, NULL);
    td_status status = run_pass(&r);
    if (status == TD_OK) status = td_optimizer_step(r.optimizer);
    ck_assert_int_eq(status, the_loss->signal == SIGKILL ? TD_ERR_PEER : TD_ERR_TIMEOUT);
    ck_assert_msg(strstr(td_error_last()->text, "rank 1"), "%s", td_error_last()->text);
    if (r.number == 0) kill(the_loss->pid, SIGKILL);
}

static const loss losses[] = {
    {TD_SYNC_SHARED, SIGKILL, false}, {TD_SYNC_SHARED, SIGKILL, true}, {TD_SYNC_SHARED, SIGSTOP, true},
    {TD_SYNC_ZERO1, SIGKILL, false},  {TD_SYNC_ZERO1, SIGKILL, true},  {TD_SYNC_ZERO1, SIGSTOP, true},
};

START_TEST(a_rank_lost_in_a_step_is_named_and_nobody_hangs) {
    the_loss = mmap(NULL, sizeof *the_loss, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    the_loss->sync = losses[_i].sync;
    the_loss->signal = losses[_i].signal;
    the_loss->inside = losses[_i].inside;
    run_processes_but(3, run_loss, NULL, 1 << 1, NULL);
    munmap(the_loss, sizeof *the_loss);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------------- */

typedef struct shortage {
    td_sync sync;
    long successes;
    td_status status[2];
} shortage;

static void run_short(td_job *job, void *cookie) {
    shortage *s = cookie;
    rank r = open_rank(job, s->sync, 40, 0);
    ck_ok(run_pass(&r));
    ck_ok(td_group_barrier(r.group, NULL));
    if (r.number == 0) td_alloc_fail_after(s->successes);
    s->status[r.number] = td_optimizer_step(r.optimizer);
    if (s->status[r.number] < 0) td_group_abort(r.group, td_error_last()->text);
    if (r.number == 0) td_alloc_fail_after(-1);
    close_rank(&r);
}

START_TEST(every_failing_allocation_in_a_step_is_told_to_all) {
    shortage s = {.sync = _i ? TD_SYNC_ZERO1 : TD_SYNC_SHARED};
    do {
        ck_assert_int_lt(s.successes, 200);
        run_threads(2, run_short, &s);
        for (int r = 0; r < 2; r++)
            ck_assert(s.status[r] == TD_OK || s.status[r] == TD_ERR_MEMORY || s.status[r] == TD_ERR_PEER);
        s.successes++;
    } while (s.status[0] < 0 || s.status[1] < 0);
}
END_TEST

/* Proportional set size of this process, bytes. */
static double own_share(void) {
    char line[256];
    double kb = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file && fgets(line, sizeof line, file)) sscanf(line, "Pss: %lf", &kb);
    if (file) fclose(file);
    return kb * 1024;
}

typedef struct weighing {
    td_sync sync;
    double *bytes; /* of all ranks, in shared memory */
} weighing;

static void run_weighing(td_job *job, void *cookie) {
    const weighing *w = cookie;
    rank r = open_rank(job, w->sync, 1500, 0);
    run_step(&r);
    run_step(&r);
    td_memory_trim(r.context);
    ck_ok(td_group_barrier(r.group, NULL));
    double bytes = own_share();
    ck_ok(td_group_all_reduce(r.group, &bytes, 1, TD_DTYPE_F64, TD_REDUCE_SUM, CPU, NULL, NULL));
    if (r.number == 0) *w->bytes = bytes;
    close_rank(&r);
}

static double weigh(td_sync sync) {
    double *bytes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    run_processes(4, run_weighing, &(weighing){sync, bytes});
    double weight = *bytes;
    munmap(bytes, 4096);
    return weight;
}

/* 9 MB of parameters and 18 of state: four ranks have 108 MB of them, or 27. With zero1, 36 and 18. */
START_TEST(four_ranks_hold_parameters_and_state_once) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return; /* they keep what was freed */
#endif
    double replicated = weigh(TD_SYNC_REPLICATED), shared = weigh(TD_SYNC_SHARED),
           zero = weigh(TD_SYNC_ZERO1);
    ck_assert_msg(replicated - shared > 70e6, "%.0f MB replicated, %.0f MB shared", replicated * 1e-6,
                  shared * 1e-6);
    ck_assert_msg(replicated - zero > 45e6, "%.0f MB replicated, %.0f MB zero1", replicated * 1e-6,
                  zero * 1e-6);
}
END_TEST

/* --- what is told ------------------------------------------------------------------------------------- */

static void run_unused(td_job *job, void *cookie) {
    rank r = open_rank(job, *(td_sync *)cookie, 40, 0);
    td_scope *scope = td_scope_open(r.context);
    td_tensor *y = td_module_forward(td_module_child(r.net, "first"), td_ones(TD_INTS(2, 8)));
    td_status status = td_backward(td_sum(y));
    if (status == TD_OK) status = td_optimizer_step(r.optimizer);
    ck_assert_int_eq(status, TD_ERR_STATE);
    ck_assert_msg(strstr(td_error_last()->text, "did not reach 'middle.weight'"), "%s",
                  td_error_last()->text);
    td_scope_close(scope);
    td_error_clear();
    run_step(&r); /* the next one is fine */
    close_rank(&r);
}

START_TEST(parameters_left_out_are_named) {
    for (td_sync sync = TD_SYNC_SHARED; sync <= TD_SYNC_ZERO1; sync++) run_threads(2, run_unused, &sync);
}
END_TEST

/* Ranks run out of data one after the other; what comes out is what one rank with the same data has. */
static void run_join(td_job *job, void *cookie) {
    rank r = open_rank(job, *(td_sync *)cookie, 40, 0);
    bool any = true;
    int steps = 0;
    for (int step = 0; any; step++) {
        td_optimizer_zero_grad(r.optimizer);
        if (step <= r.number)
            ck_ok(run_pass(&r));
        else
            ck_ok(td_ddp_join(r.ddp, &any));
        if (any) ck_ok(td_optimizer_step(r.optimizer));
        steps += any;
    }
    ck_assert_int_eq(steps, 3);
    ck_ok(td_ddp_check_equal(r.net, r.group, r.optimizer, steps));
    close_rank(&r);
}

START_TEST(ranks_that_run_out_of_data_join_the_others_steps) {
    for (td_sync sync = TD_SYNC_SHARED; sync <= TD_SYNC_ZERO1; sync++) run_threads(3, run_join, &sync);
}
END_TEST

/* What rank 2 of three changes behind the others' backs. */
static const struct {
    const char *what, *says;
} drifts[] = {
    {"nothing", NULL},
    {"weight", "after step 7 parameter 'middle.weight' on rank 2 differs from the other ranks'"},
    {"buffer", "after step 7 buffer 'seen' on rank 2 differs from the other ranks'"},
    {"state",
     "after step 7 optimizer's 'state.first.weight.exp_avg' on rank 2 differs from the other ranks'"},
    {"rate", "after step 7 optimizer's 'param_groups.0.lr' on rank 2 differs from the other ranks'"},
    {"two", "after step 7 parameter 'middle.weight' on rank 2 differs from the other ranks'; so do 1 other"},
    {"rank 0", "after step 7 parameter 'middle.weight' on rank 0 differs from the other ranks'"},
};

static void change(td_tensor *x) { ((float *)td_tensor_data(x))[1] += 1; }

static void run_drift(td_job *job, void *cookie) {
    int i = *(int *)cookie;
    const char *what = drifts[i].what;
    rank r = open_rank(job, TD_SYNC_REPLICATED, 40, 0);
    run_step(&r);
    bool odd = r.number == (!strcmp(what, "rank 0") ? 0 : 2);
    if (odd && (!strcmp(what, "weight") || !strcmp(what, "two") || !strcmp(what, "rank 0")))
        change(td_module_parameter(td_module_child(r.net, "middle"), "weight"));
    if (odd && (!strcmp(what, "buffer") || !strcmp(what, "two"))) change(td_module_buffer(r.net, "seen"));
    if (odd && !strcmp(what, "state")) change(r.optimizer->groups[0].params[0].slots[1]);
    if (odd && !strcmp(what, "rate")) ck_ok(td_optimizer_set_lr(r.optimizer, 0, 0.5));
    if (drifts[i].says)
        ck_fails(td_ddp_check_equal(r.net, r.group, r.optimizer, 7), TD_ERR_MISMATCH, drifts[i].says);
    else
        ck_ok(td_ddp_check_equal(r.net, r.group, r.optimizer, 7));
    close_rank(&r);
}

START_TEST(what_differs_is_named_with_rank_and_step) { run_threads(3, run_drift, &_i); }
END_TEST

Suite *make_suite(void) {
    Suite *suite = suite_create("sync_faults");
    TCase *tcase = tcase_create("sync_faults");
    tcase_add_loop_test(tcase, a_rank_lost_in_a_step_is_named_and_nobody_hangs, 0,
                        (int)(sizeof losses / sizeof *losses));
    tcase_add_loop_test(tcase, every_failing_allocation_in_a_step_is_told_to_all, 0, 2);
    tcase_add_test(tcase, four_ranks_hold_parameters_and_state_once);
    tcase_add_test(tcase, parameters_left_out_are_named);
    tcase_add_test(tcase, ranks_that_run_out_of_data_join_the_others_steps);
    tcase_add_loop_test(tcase, what_differs_is_named_with_rank_and_step, 0,
                        (int)(sizeof drifts / sizeof *drifts));
    suite_add_tcase(suite, tcase);
    return suite;
}
