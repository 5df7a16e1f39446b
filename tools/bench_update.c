/* What follows backward: gradients of all ranks reduced, and one step of SGD with momentum, with any --sync. Each
 * rank has just written its gradients; parameters are of 1 MiB. */
#include "base/context.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "model/autograd/autograd.h"
#include "model/nn/module.h"
#include "model/ops/ops.h"
#include "model/optim/optimizer.h"
#include "model/parallel/ddp.h"
#include "model/tensor/scope.h"
#include "tools/bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PARAMETER_BYTES = 1 << 20, REPEAT = 30 };
#define LR       0.01
#define MOMENTUM 0.9

typedef struct updater {
    td_context *context;
    td_module *model;
    td_ddp *ddp;
    td_optimizer *optimizer;
    td_state_dict parameters;
    td_tensor *gradient, *rest; /* of a parameter, and of the last one */
    float weight, velocity;     /* what every element should be */
} updater;

static td_status build(td_module *model, const void *options) {
    int64_t left = *(const int64_t *)options / (int64_t)sizeof(float);
    td_scope *s = td_scope_open(td_context_current());
    td_status status = TD_OK;
    for (int i = 0; left > 0 && status >= 0; i++) {
        char name[24];
        int64_t count = left < PARAMETER_BYTES / 4 ? left : PARAMETER_BYTES / 4;
        snprintf(name, sizeof name, "p%d", i);
        td_tensor *x = td_zeros(TD_INTS(count));
        status = x ? td_module_add_parameter(model, name, x) : TD_OK;
        left -= count;
    }
    td_status closed = td_scope_close(s);
    return status < 0 ? status : closed;
}

static const td_module_class updated_class = {.name = "Updated", .build = build};

/* Every rank's elements are its number from 1 on. */
static td_status make_gradients(updater *u, int rank) {
    td_scope *s = td_scope_open(u->context);
    td_ints first = td_tensor_sizes(u->parameters.at[0].tensor);
    td_ints last = td_tensor_sizes(u->parameters.at[u->parameters.count - 1].tensor);
    u->gradient = td_keep(td_full(first, td_num(rank + 1.0), .dtype = TD_DTYPE_F32));
    u->rest = td_keep(td_full(last, td_num(rank + 1.0), .dtype = TD_DTYPE_F32));
    return td_scope_close(s);
}

static td_status open_updater(updater *u, bench_rank *rank, td_sync sync, int64_t bytes) {
    TD_TRY(td_parallel_set_threads(td_group_compute_threads(rank->group)));
    TD_TRY(td_context_open(&u->context));
    TD_TRY(td_module_open(&updated_class, &bytes, &u->model));
    TD_TRY(td_ddp_open(u->model, rank->group, &(td_ddp_options){.sync = sync}, &u->ddp));
    TD_TRY(td_module_parameters(u->model, &u->parameters));
    TD_TRY(td_sgd_open(&u->parameters, &(td_sgd_options){.lr = LR, .momentum = MOMENTUM}, &u->optimizer));
    TD_TRY(td_ddp_attach(u->ddp, u->optimizer));
    return make_gradients(u, rank->rank);
}

static void close_updater(updater *u) {
    td_release(&u->gradient);
    td_release(&u->rest);
    td_state_dict_clear(&u->parameters);
    td_optimizer_close(&u->optimizer);
    td_ddp_close(&u->ddp);
    td_module_close(&u->model);
    td_context_close(&u->context);
}

/* The last element of each parameter, as all elements are alike. */
static td_status check(updater *u, int ranks) {
    float mean = (float)(ranks + 1) / 2;
    u->velocity = u->velocity == 0 ? mean : u->velocity * (float)MOMENTUM + mean;
    u->weight -= (float)LR * u->velocity;
    for (size_t i = 0; i < u->parameters.count; i++) {
        const td_tensor *x = u->parameters.at[i].tensor;
        float is = ((const float *)td_tensor_data(x))[td_tensor_count(x) - 1];
        if (fabsf(is - u->weight) > 1e-4f * fabsf(u->weight))
            return td_fail(TD_ERR_INTERNAL, 0, "bench", "update: '%s' is %g, not %g",
                           u->parameters.at[i].name, (double)is, (double)u->weight);
    }
    return TD_OK;
}

static td_status time_update(updater *u, bench_rank *rank, double *us) {
    td_optimizer_zero_grad(u->optimizer);
    for (size_t i = 0; i < u->parameters.count; i++) {
        bool last = i + 1 == u->parameters.count;
        TD_TRY(td_tensor_set_grad(u->parameters.at[i].tensor, last ? u->rest : u->gradient));
    }
    TD_TRY(td_group_barrier(rank->group, NULL));
    double start = bench_now_us();
    TD_TRY(td_ddp_reduce(u->ddp));
    TD_TRY(td_optimizer_step(u->optimizer));
    *us = bench_now_us() - start;
    return check(u, rank->world_size);
}

static void print_row(const bench_rank *rank, const updater *u, int64_t bytes, bench_times t,
                      double foreign) {
    int n = rank->world_size;
    const char *sync = td_sync_name(td_ddp_sync(u->ddp));
    double algbw = (double)bytes / t.median * 1e-3; /* GB/s */
    if (rank->options->json)
        bench_print_json(json_pack("{ss ss ss si sI ss sf sf sf sf sf sf}", "bench", "update", "sync", sync,
                                   "backend", td_group_backend(rank->group), "ranks", n, "bytes",
                                   (json_int_t)bytes, "dtype", "f32", "min_us", t.min, "median_us", t.median,
                                   "p99_us", t.p99, "algbw_gbps", algbw, "busbw_gbps",
                                   algbw * 2 * (n - 1) / n, "foreign_cpu", foreign));
    else
        printf("update  %s  %d ranks, backend %s  %lld bytes  min %.2f ms  median %.2f ms  p99 %.2f ms  "
               "%.2f GB/s  others %.0f %%\n",
               sync, n, td_group_backend(rank->group), (long long)bytes, t.min * 1e-3, t.median * 1e-3,
               t.p99 * 1e-3, algbw, 100 * foreign);
}

static td_status run_updates(updater *u, bench_rank *rank, int64_t bytes) {
    int64_t repeat = rank->options->repeat ? rank->options->repeat : REPEAT;
    double *us = td_alloc((size_t)repeat * sizeof *us), foreign = 0;
    if (!us) return TD_ERR_MEMORY;
    bench_load load;
    td_status status = time_update(u, rank, us); /* warms up */
    bench_load_begin(&load);
    for (int64_t i = 0; i < repeat && status >= 0; i++) status = time_update(u, rank, &us[i]);
    if (status >= 0) status = bench_load_end(&load, rank->group, &foreign);
    if (status >= 0)
        status = td_group_all_reduce(rank->group, us, (size_t)repeat, TD_DTYPE_F64, TD_REDUCE_MAX,
                                     (td_device){0}, NULL, NULL);
    if (status >= 0 && rank->rank == 0)
        print_row(rank, u, bytes, bench_summarise(us, (size_t)repeat), foreign);
    td_free(us);
    return status;
}

td_status bench_update(bench_rank *rank) {
    td_sync sync = TD_SYNC_SHARED;
    for (int s = TD_SYNC_REPLICATED; s <= TD_SYNC_ZERO1; s++)
        if (rank->options->sync && strcmp(rank->options->sync, td_sync_name((td_sync)s)) == 0)
            sync = (td_sync)s;
    int64_t bytes = (rank->options->bytes ? rank->options->bytes : (int64_t)100 << 20) / 4 * 4;
    updater u = {0};
    td_status status = open_updater(&u, rank, sync, bytes);
    if (status >= 0) status = run_updates(&u, rank, bytes);
    close_updater(&u);
    return status;
}
