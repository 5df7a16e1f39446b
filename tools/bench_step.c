/* A training step without its loader: forward, backward, all-reduce of gradients, SGD with momentum, on
 * synthetic images; the batch is shared out over the ranks. */
#include "base/clock.h"
#include "base/context.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/parallel.h"
#include "model/autograd/autograd.h"
#include "model/ops/ops.h"
#include "model/optim/optimizer.h"
#include "model/parallel/ddp.h"
#include "model/tensor/scope.h"
#include "model/zoo/zoo.h"
#include "tools/bench.h"

#include <stdio.h>

enum { WARM_UPS = 10, REPEAT = 100 };

typedef struct trainer {
    const td_zoo_model *zoo;
    td_context *context;
    td_module *model;
    td_ddp *ddp;
    td_optimizer *optimizer;
    td_tensor *inputs, *labels;
    int64_t samples; /* of this rank */
} trainer;

static td_status make_batch(trainer *t) {
    td_ints sizes = {.count = 1 + t->zoo->input_dims, .at = {t->samples}};
    for (int d = 0; d < t->zoo->input_dims; d++) sizes.at[1 + d] = t->zoo->input[d];
    td_scope *s = td_scope_open(t->context);
    t->inputs = td_keep(td_randn(sizes));
    t->labels = td_keep(td_cast(
        td_mul(td_rand(TD_INTS(t->samples)), td_full(TD_INTS(1), td_num(t->zoo->classes))), TD_DTYPE_I64));
    return td_scope_close(s);
}

static td_status open_trainer(trainer *t, bench_rank *rank) {
    const bench_options *o = rank->options;
    TD_TRY(td_zoo_find(o->model, &t->zoo));
    t->samples = o->batch_size / rank->world_size + (rank->rank < o->batch_size % rank->world_size);
    if (t->samples == 0)
        return td_fail(TD_ERR_ARG, 0, "bench", "--batch-size %lld leaves none for rank %d",
                       (long long)o->batch_size, rank->rank);
    TD_TRY(td_parallel_set_threads(o->threads ? (int)o->threads : td_group_compute_threads(rank->group)));
    TD_TRY(td_context_open(&t->context));
    TD_TRY(td_manual_seed(0));
    TD_TRY(td_zoo_open(o->model, &t->model));
    const td_ddp_options ddp = {.bucket_cap_mb = o->bucket_cap_mb};
    TD_TRY(td_ddp_open(t->model, rank->group, &ddp, &t->ddp));
    td_state_dict parameters = {0};
    td_sgd_options sgd = {.lr = 0.01, .momentum = 0.9};
    td_status status = td_module_parameters(t->model, &parameters);
    if (status >= 0) status = td_sgd_open(&parameters, &sgd, &t->optimizer);
    td_state_dict_clear(&parameters);
    TD_TRY(status);
    return make_batch(t);
}

static void close_trainer(trainer *t) {
    td_release(&t->inputs);
    td_release(&t->labels);
    td_optimizer_close(&t->optimizer);
    td_ddp_close(&t->ddp);
    td_module_close(&t->model);
    td_context_close(&t->context);
}

static td_status time_step(trainer *t, double *us) {
    double start = bench_now_us();
    td_optimizer_zero_grad(t->optimizer);
    TD_TRY(td_ddp_begin(t->ddp, t->samples));
    td_scope *s = td_scope_open(t->context);
    td_backward(td_nll_loss(td_module_forward(t->model, t->inputs), t->labels));
    TD_TRY(td_scope_close(s));
    TD_TRY(td_optimizer_step(t->optimizer));
    *us = bench_now_us() - start;
    return TD_OK;
}

static void print_row(const bench_rank *rank, bench_times t, double foreign) {
    const bench_options *o = rank->options;
    int threads = td_parallel_threads();
    double pace = (double)o->batch_size / (t.median * 1e-6);
    if (o->json) {
        bench_print_json(json_pack("{ss ss ss si si sI sf sf sf sf sf}", "bench", "step", "model", o->model,
                                   "backend", td_group_backend(rank->group), "ranks", rank->world_size,
                                   "threads", threads, "batch_size", (json_int_t)o->batch_size, "min_us",
                                   t.min, "median_us", t.median, "p99_us", t.p99, "samples_per_second", pace,
                                   "foreign_cpu", foreign));
    } else {
        printf("step  %s  %d ranks x %d threads  batch %lld  min %.2f ms  median %.2f ms  p99 %.2f ms  %s "
               "samples/s  "
               "others %.0f %%\n",
               o->model, rank->world_size, threads, (long long)o->batch_size, t.min * 1e-3, t.median * 1e-3,
               t.p99 * 1e-3, td_format_count((int64_t)pace).text, 100 * foreign);
    }
}

static td_status run_steps(trainer *t, bench_rank *rank) {
    int64_t repeat = rank->options->repeat ? rank->options->repeat : REPEAT;
    double *us = td_alloc((size_t)repeat * sizeof *us), foreign = 0;
    if (!us) return TD_ERR_MEMORY;
    td_status status = TD_OK;
    for (int i = 0; i < WARM_UPS && status >= 0; i++) status = time_step(t, us);
    bench_load load;
    bench_load_begin(&load);
    for (int64_t i = 0; i < repeat && status >= 0; i++) status = time_step(t, &us[i]);
    if (status >= 0) status = bench_load_end(&load, rank->group, &foreign);
    if (status >= 0 && rank->rank == 0) print_row(rank, bench_summarise(us, (size_t)repeat), foreign);
    td_free(us);
    return status;
}

td_status bench_step(bench_rank *rank) {
    trainer t = {0};
    td_status status = open_trainer(&t, rank);
    if (status >= 0) status = run_steps(&t, rank);
    close_trainer(&t);
    return status;
}
