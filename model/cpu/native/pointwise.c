/* Element-wise rows on f32 tensors that lie alike in memory without gaps: one pass, split between threads. */
#include "base/parallel.h"
#include "model/cpu/internal.h"

#define GRAIN 16384 /* elements that are worth a thread */

/* One call for the threads: what to do with the stretch [begin, end). */
typedef struct pass {
    const cpu_fast *fast;
    const float *a, *b;
    float *y, s;
} pass;

typedef void stretch(const pass *p, size_t begin, size_t end);

typedef struct job {
    const pass *p;
    stretch *run;
} job;

static void share(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const job *j = cookie;
    j->run(j->p, begin, end);
}

static bool fits(const td_tensor *a, const td_tensor *b, const td_tensor *y) {
    return cpu_is_dense_f32(y) && a->dtype == TD_DTYPE_F32 && cpu_same_layout(a, y) &&
           (!b || (b->dtype == TD_DTYPE_F32 && cpu_same_layout(b, y)));
}

static td_status run(td_context *context, const td_tensor *a, const td_tensor *b, float s, td_tensor *y,
                     stretch *how) {
    if (!fits(a, b, y)) return TD_PENDING;
    pass p = {cpu_state_of(context)->fast, cpu_f32(a), b ? cpu_f32(b) : NULL, cpu_f32(y), s};
    if (y->count < 2 * GRAIN)
        how(&p, 0, (size_t)y->count);
    else
        td_parallel_for((size_t)y->count, GRAIN, share, &(job){&p, how});
    return TD_OK;
}

#define COUNT (int64_t)(end - begin)

static void relu_stretch(const pass *p, size_t begin, size_t end) {
    p->fast->relu(p->a + begin, p->y + begin, COUNT);
}
static void threshold_stretch(const pass *p, size_t begin, size_t end) {
    p->fast->threshold_backward(p->a + begin, p->b + begin, p->s, p->y + begin, COUNT);
}
static void add_stretch(const pass *p, size_t begin, size_t end) {
    p->fast->add(p->a + begin, p->b + begin, p->s, p->y + begin, COUNT);
}
static void mul_stretch(const pass *p, size_t begin, size_t end) {
    p->fast->mul(p->a + begin, p->b + begin, p->y + begin, COUNT);
}
static void div_stretch(const pass *p, size_t begin, size_t end) {
    p->fast->div(p->a + begin, p->b + begin, p->y + begin, COUNT);
}
static void add_scalar_stretch(const pass *p, size_t begin, size_t end) {
    p->fast->add_scalar(p->a + begin, p->s, p->y + begin, COUNT);
}
static void mul_scalar_stretch(const pass *p, size_t begin, size_t end) {
    p->fast->mul_scalar(p->a + begin, p->s, p->y + begin, COUNT);
}
static void fill_stretch(const pass *p, size_t begin, size_t end) {
    p->fast->fill(p->y + begin, p->s, COUNT);
}

static td_status relu(td_context *context, const void *args, td_tensor *const *out) {
    const td_relu_args *a = args;
    return run(context, a->self, NULL, 0, out[0], relu_stretch);
}

static td_status threshold_backward(td_context *context, const void *args, td_tensor *const *out) {
    const td_threshold_backward_args *a = args;
    return run(context, a->grad_output, a->self, (float)td_scalar_to_real(a->threshold), out[0],
               threshold_stretch);
}

static td_status add(td_context *context, const void *args, td_tensor *const *out) {
    const td_add_args *a = args;
    return run(context, a->self, a->other, (float)td_scalar_to_real(a->alpha), out[0], add_stretch);
}

static td_status sub(td_context *context, const void *args, td_tensor *const *out) {
    const td_sub_args *a = args;
    return run(context, a->self, a->other, (float)-td_scalar_to_real(a->alpha), out[0], add_stretch);
}

static td_status mul(td_context *context, const void *args, td_tensor *const *out) {
    const td_mul_args *a = args;
    return run(context, a->self, a->other, 0, out[0], mul_stretch);
}

static td_status divide(td_context *context, const void *args, td_tensor *const *out) {
    const td_div_args *a = args;
    return run(context, a->self, a->other, 0, out[0], div_stretch);
}

static td_status add_scalar(td_context *context, const void *args, td_tensor *const *out) {
    const td_add_scalar_args *a = args;
    return run(context, a->self, NULL, (float)td_scalar_to_real(a->other), out[0], add_scalar_stretch);
}

static td_status mul_scalar(td_context *context, const void *args, td_tensor *const *out) {
    const td_mul_scalar_args *a = args;
    return run(context, a->self, NULL, (float)td_scalar_to_real(a->other), out[0], mul_scalar_stretch);
}

static td_status fill_(td_context *context, const void *args, td_tensor *const *out) {
    const td_fill_in_place_args *a = args;
    return run(context, out[0], NULL, (float)td_scalar_to_real(a->value), out[0], fill_stretch);
}

static td_status zero_(td_context *context, const void *args, td_tensor *const *out) {
    (void)args;
    return run(context, out[0], NULL, 0, out[0], fill_stretch);
}

const td_kernel_row cpu_native_pointwise[] = {
    {TD_OP_RELU, relu},
    {TD_OP_THRESHOLD_BACKWARD, threshold_backward},
    {TD_OP_ADD, add},
    {TD_OP_SUB, sub},
    {TD_OP_MUL, mul},
    {TD_OP_DIV, divide},
    {TD_OP_ADD_SCALAR, add_scalar},
    {TD_OP_MUL_SCALAR, mul_scalar},
    {TD_OP_FILL_, fill_},
    {TD_OP_ZERO_, zero_},
    TD_KERNELS_END,
};
