/* Optimizer steps, split between threads; each element's arithmetic is its own. The common case has fast
 * loops, everything else the plain ones. */
#include "base/parallel.h"
#include "model/cpu/fast/fast.h"
#include "model/cpu/optimizer_kernels.h"

#include <math.h>

#define GRAIN 8192

typedef struct step {
    td_dtype dtype;
    size_t size; /* of an element */
    char *param, *first, *second, *third;
    const char *grad;
    cpu_sgd_numbers sgd;
    cpu_adam_numbers adam;
} step;

/* Where an array's element `begin` is; NULL for no array. */
static void *from(const step *s, char *array, size_t begin) { return array ? array + begin * s->size : NULL; }

static void run_sgd(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const step *s = cookie;
    void *param = from(s, s->param, begin), *buffer = from(s, s->first, begin);
    const void *grad = s->grad + begin * s->size;
    if (s->dtype == TD_DTYPE_F32 && !s->sgd.maximize)
        cpu_fast_choose()->sgd(param, grad, buffer, (int64_t)(end - begin), &s->sgd);
    else
        cpu_reference_sgd(&s->sgd, s->dtype, param, grad, buffer, end - begin);
}

void cpu_sgd_update(const cpu_sgd_rule *rule, td_dtype dtype, void *param, const void *grad,
                    void *momentum_buffer, int64_t count) {
    step s = {
        .dtype = dtype, .size = td_dtype_size(dtype), .param = param, .grad = grad, .first = momentum_buffer};
    s.sgd = (cpu_sgd_numbers){
        .minus_lr = -rule->lr,
        .momentum = rule->momentum,
        .one_minus_dampening = 1 - rule->dampening,
        .weight_decay = rule->weight_decay,
        .nesterov = rule->nesterov,
        .maximize = rule->maximize,
        .first = rule->first,
    };
    td_parallel_for((size_t)count, GRAIN, run_sgd, &s);
}

static void run_adam(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const step *s = cookie;
    void *param = from(s, s->param, begin);
    const void *grad = s->grad + begin * s->size;
    void *first = from(s, s->first, begin), *second = from(s, s->second, begin),
         *third = from(s, s->third, begin);
    if (s->dtype == TD_DTYPE_F32 && !s->adam.maximize && !third)
        cpu_fast_choose()->adam(param, grad, first, second, (int64_t)(end - begin), &s->adam);
    else
        cpu_reference_adam(&s->adam, s->dtype, param, grad, first, second, third, end - begin);
}

void cpu_adam_update(const cpu_adam_rule *rule, td_dtype dtype, void *param, const void *grad, void *exp_avg,
                     void *exp_avg_sq, void *max_exp_avg_sq, int64_t count) {
    step s = {.dtype = dtype,
              .size = td_dtype_size(dtype),
              .param = param,
              .grad = grad,
              .first = exp_avg,
              .second = exp_avg_sq,
              .third = max_exp_avg_sq};
    s.adam = (cpu_adam_numbers){
        .shrink = rule->decoupled ? 1 - rule->lr * rule->weight_decay : 1,
        .weight_decay = rule->decoupled ? 0 : rule->weight_decay,
        .one_minus_beta1 = 1 - rule->beta1,
        .beta2 = rule->beta2,
        .one_minus_beta2 = 1 - rule->beta2,
        .correction2_sqrt = pow(1 - pow(rule->beta2, rule->step), 0.5), /* Python's ** 0.5 */
        .eps = rule->eps,
        .minus_step_size = -(rule->lr / (1 - pow(rule->beta1, rule->step))),
        .maximize = rule->maximize,
    };
    td_parallel_for((size_t)count, GRAIN, run_adam, &s);
}
