#include "model/ddp_modes.h"

#include "base/context.h"
#include "dist/group.h"
#include "model/autograd/autograd.h"
#include "model/nn/layers.h"
#include "model/ops/ops.h"
#include "model/optim/optimizer.h"
#include "model/parallel/hooks.h"
#include "model/parallel/sync_batch_norm.h"
#include "model/tensor/scope.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { SAMPLES = 48, IN = 6, HIDDEN = 8, STEPS = 3 }; /* samples of all ranks in a pass */

const ddp_mode ddp_modes[] = {
    {"as PyTorch", .shares = SHARES_EVEN},
    {"as PyTorch, uneven", .shares = SHARES_UNEVEN},
    {"weighted", .weighted = true},
    {"weighted, uneven", .weighted = true, .shares = SHARES_UNEVEN},
    {"weighted, an idle rank", .weighted = true, .shares = SHARES_IDLE},
    {"a bucket for each parameter",
     {.bucket_cap_mb = 1 * 0x1p-20},
     .weighted = true,
     .shares = SHARES_UNEVEN},
    {"accumulated", {.bucket_cap_mb = 100 * 0x1p-20}, .passes = 3},
    {"accumulated, weighted, uneven",
     {.bucket_cap_mb = 100 * 0x1p-20},
     .weighted = true,
     .shares = SHARES_UNEVEN,
     .passes = 3},
    {"unused on some ranks", {.find_unused_parameters = true, .bucket_cap_mb = 1 * 0x1p-20}, .unused = true},
    {"unused, weighted, an idle rank",
     {.find_unused_parameters = true},
     .unused = true,
     .weighted = true,
     .shares = SHARES_IDLE},
    {"unused in a static graph", {.static_graph = true, .bucket_cap_mb = 1 * 0x1p-20}, .unused = true},
    {"tied", {.bucket_cap_mb = 1 * 0x1p-20}, .tied = true},
    {"tied, accumulated, uneven", .tied = true, .weighted = true, .shares = SHARES_UNEVEN, .passes = 2},
    {"frozen", {.bucket_cap_mb = 1 * 0x1p-20}, .frozen = true},
    {"normalised", .norm = true},
    {"normalised, weighted, uneven",
     {.bucket_cap_mb = 1 * 0x1p-20},
     .norm = true,
     .weighted = true,
     .shares = SHARES_UNEVEN},
    {"normalised, weighted, an idle rank", .norm = true, .weighted = true, .shares = SHARES_IDLE},
    {"normalised, accumulated", .norm = true, .weighted = true, .passes = 2},
    {"all at once",
     {.bucket_cap_mb = 64 * 0x1p-20},
     .norm = true,
     .tied = true,
     .frozen = true,
     .weighted = true,
     .shares = SHARES_UNEVEN,
     .passes = 2},
    {"a hook", {.bucket_cap_mb = 64 * 0x1p-20}, .hook = true},
    {"a hook, weighted, uneven",
     {.bucket_cap_mb = 64 * 0x1p-20},
     .hook = true,
     .weighted = true,
     .shares = SHARES_UNEVEN},
    {"sent as f16", {.bucket_cap_mb = 64 * 0x1p-20}, .sent = TD_DTYPE_F16},
    {"sent as bf16, weighted, uneven", .sent = TD_DTYPE_BF16, .weighted = true, .shares = SHARES_UNEVEN},
    {0},
};

static _Thread_local char message[512];

static const char *say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return message;
}

#define OK(call)                                                                                             \
    do {                                                                                                     \
        if ((call) < 0) return say("%s: %s", #call, td_error_last()->text);                                  \
    } while (0)

/* --- the network ------------------------------------------------------------------------------------ */

static td_status build_net(td_module *net, const void *options) {
    const ddp_mode *mode = options;
    TD_TRY(td_add_linear(net, "in", IN, HIDDEN));
    if (mode->norm) TD_TRY(td_add_batch_norm1d(net, "norm", HIDDEN));
    if (mode->tied) TD_TRY(td_add_linear(net, "tied", HIDDEN, HIDDEN));
    if (mode->tied)
        TD_TRY(td_module_add_parameter(net, "again",
                                       td_module_parameter(td_module_child(net, "tied"), "weight")));
    if (mode->unused) TD_TRY(td_add_linear(net, "extra", HIDDEN, HIDDEN));
    TD_TRY(td_add_linear(net, "out", HIDDEN, 3));
    if (!mode->frozen) return TD_OK;
    return td_tensor_set_requires_grad(td_module_parameter(td_module_child(net, "in"), "weight"), false);
}

static const td_module_class net_class = {.name = "Net", .build = build_net};

/* Each sample's loss. */
static td_tensor *losses(td_module *net, const ddp_mode *mode, td_tensor *x, bool extra) {
    x = td_module_forward(td_module_child(net, "in"), x);
    if (mode->norm) x = td_module_forward(td_module_child(net, "norm"), x);
    x = td_relu(x);
    if (mode->tied) {
        x = td_relu(td_module_forward(td_module_child(net, "tied"), x));
        x = td_linear(x, td_module_parameter(net, "again"));
    }
    if (mode->unused && extra) x = td_module_forward(td_module_child(net, "extra"), x);
    x = td_module_forward(td_module_child(net, "out"), x);
    return td_sum(td_mul(x, x), TD_INTS(1));
}

/* Samples begin to end of pass number `pass`. */
static td_tensor *samples(int pass, int begin, int end) {
    float x[SAMPLES * IN];
    for (int i = 0; i < SAMPLES * IN; i++) x[i] = sinf((float)((i + 31 * pass) * (i + 7) % 101));
    return td_tensor_from(x + begin * IN, TD_DTYPE_F32, TD_INTS(end - begin, IN));
}

/* Where the samples of rank `rank` begin; of rank `world`: where all end. */
static int begin_of(ddp_shares shares, int world, int rank) {
    if (shares == SHARES_UNEVEN) return SAMPLES * rank * (rank + 1) / (world * (world + 1));
    if (shares == SHARES_IDLE && world > 1) return rank ? SAMPLES * (rank - 1) / (world - 1) : 0;
    return SAMPLES * rank / world;
}

/* --- one step --------------------------------------------------------------------------------------- */

static int passes_of(const ddp_mode *mode) { return mode->passes ? mode->passes : 1; }

static const char *step_of_rank(td_module *net, td_ddp *ddp, const ddp_mode *mode, td_group *group,
                                int step) {
    int rank = td_group_rank(group), world = td_group_size(group);
    int begin = begin_of(mode->shares, world, rank), end = begin_of(mode->shares, world, rank + 1);
    for (int p = 0; p < passes_of(mode); p++) {
        bool more = p + 1 < passes_of(mode);
        td_scope *scope = td_scope_open(td_context_current());
        if (more) OK(td_ddp_no_sync_begin(ddp));
        if (mode->weighted) OK(td_ddp_begin(ddp, end - begin));
        if (end > begin || (mode->norm && world > 1)) {
            td_tensor *l = losses(net, mode, samples(step * passes_of(mode) + p, begin, end), rank % 2);
            OK(td_backward(end > begin ? td_mean(l) : td_sum(l)));
        }
        if (more) OK(td_ddp_no_sync_end(ddp));
        OK(td_scope_close(scope));
    }
    return NULL;
}

/* What a sample of rank `rank` weighs in the job's loss. */
static float weight_of(const ddp_mode *mode, int world, int rank) {
    int count = begin_of(mode->shares, world, rank + 1) - begin_of(mode->shares, world, rank);
    return mode->weighted ? 1.0f / (float)(SAMPLES * passes_of(mode)) : 1.0f / (float)(count * world);
}

/* Samples of the ranks `first` to `end` in one forward. */
static const char *whole_pass(td_module *net, const ddp_mode *mode, int world, int pass, int first, int end) {
    int begin = begin_of(mode->shares, world, first), stop = begin_of(mode->shares, world, end);
    float weights[SAMPLES];
    for (int rank = first; rank < end; rank++)
        for (int i = begin_of(mode->shares, world, rank); i < begin_of(mode->shares, world, rank + 1); i++)
            weights[i - begin] = weight_of(mode, world, rank);
    if (begin == stop) return NULL;
    td_scope *scope = td_scope_open(td_context_current());
    td_tensor *l = losses(net, mode, samples(pass, begin, stop), first % 2);
    OK(td_backward(td_sum(td_mul(l, td_tensor_from(weights, TD_DTYPE_F32, TD_INTS(stop - begin))))));
    OK(td_scope_close(scope));
    return NULL;
}

static const char *step_of_whole(td_module *net, const ddp_mode *mode, int world, int step) {
    const char *wrong = NULL;
    for (int p = 0; !wrong && p < passes_of(mode); p++) {
        int pass = step * passes_of(mode) + p;
        if (!mode->unused) wrong = whole_pass(net, mode, world, pass, 0, world);
        for (int rank = 0; mode->unused && !wrong && rank < world; rank++)
            wrong = whole_pass(net, mode, world, pass, rank, rank + 1);
    }
    return wrong;
}

/* --- comparing -------------------------------------------------------------------------------------- */

static const char *compare(const ddp_mode *mode, const char *name, const td_tensor *got,
                           const td_tensor *wanted) {
    double eps = mode->sent == TD_DTYPE_F16 ? 2e-3 : mode->sent == TD_DTYPE_BF16 ? 2e-2 : 4e-6, most = 1e-2;
    if (!got != !wanted) return say("%s: '%s' is %s", mode->name, name, got ? "not empty" : "empty");
    if (!got) return NULL;
    const float *x = td_tensor_data(got), *y = td_tensor_data(wanted);
    for (int64_t i = 0; i < td_tensor_count(got); i++) most = fmax(most, fabs((double)y[i]));
    for (int64_t i = 0; i < td_tensor_count(got); i++)
        if (!(fabs((double)x[i] - (double)y[i]) <= eps * fmax(1, most)))
            return say("%s: '%s'[%d] is %.9g, not %.9g", mode->name, name, (int)i, (double)x[i],
                       (double)y[i]);
    return NULL;
}

static const char *compare_gradients(const ddp_mode *mode, const td_state_dict *got,
                                     const td_state_dict *wanted) {
    const char *wrong = NULL;
    for (size_t i = 0; !wrong && i < got->count; i++)
        wrong = compare(mode, got->at[i].name, td_tensor_grad(got->at[i].tensor),
                        td_tensor_grad(wanted->at[i].tensor));
    return wrong;
}

static const char *compare_buffers(const ddp_mode *mode, td_module *got, td_module *wanted) {
    if (!mode->norm) return NULL;
    td_module *a = td_module_child(got, "norm"), *b = td_module_child(wanted, "norm");
    const char *wrong = compare(mode, "running_mean", td_module_buffer(a, "running_mean"),
                                td_module_buffer(b, "running_mean"));
    if (wrong) return wrong;
    return compare(mode, "running_var", td_module_buffer(a, "running_var"),
                   td_module_buffer(b, "running_var"));
}

/* One net with its optimizer. */
typedef struct side {
    td_module *net;
    td_state_dict parameters;
    td_optimizer *optimizer;
} side;

static const char *open_side(const ddp_mode *mode, side *s) {
    OK(td_manual_seed(7));
    OK(td_module_open(&net_class, mode, &s->net));
    OK(td_module_parameters(s->net, &s->parameters));
    OK(td_sgd_open(&s->parameters, &(td_sgd_options){.lr = 0.02}, &s->optimizer));
    return NULL;
}

static void close_side(side *s) {
    td_optimizer_close(&s->optimizer);
    td_state_dict_clear(&s->parameters);
    td_module_close(&s->net);
}

static const char *run(const ddp_mode *mode, td_group *group, side *mine, side *whole, td_ddp **ddp) {
    const char *wrong = open_side(mode, mine);
    if (!wrong) wrong = open_side(mode, whole);
    if (wrong) return wrong;
    OK(td_ddp_open(mine->net, group, &mode->options, ddp));
    if (mode->norm) td_sync_batch_norm_convert(mine->net, group);
    if (mode->hook) OK(td_ddp_set_hook(*ddp, &td_ddp_allreduce_hook));
    if (mode->sent) OK(td_ddp_compress(*ddp, mode->sent, true));
    for (int step = 0; step < STEPS; step++) {
        td_optimizer_zero_grad(mine->optimizer);
        td_optimizer_zero_grad(whole->optimizer);
        if ((wrong = step_of_rank(mine->net, *ddp, mode, group, step))) return wrong;
        if ((wrong = step_of_whole(whole->net, mode, td_group_size(group), step))) return wrong;
        if ((wrong = compare_gradients(mode, &mine->parameters, &whole->parameters))) return wrong;
        OK(td_optimizer_step(mine->optimizer));
        OK(td_optimizer_step(whole->optimizer));
    }
    return compare_buffers(mode, mine->net, whole->net);
}

const char *ddp_mode_run(const ddp_mode *mode, td_group *group) {
    side mine = {0}, whole = {0};
    td_ddp *ddp = NULL;
    const char *wrong = run(mode, group, &mine, &whole, &ddp);
    td_ddp_close(&ddp);
    close_side(&mine);
    close_side(&whole);
    return wrong;
}
