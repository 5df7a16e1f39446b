/* Optimizer steps, split between threads; each element's arithmetic is its own. */
#include "base/parallel.h"
#include "model/cpu/fast/fast.h"
#include "model/cpu/optimizer_kernels.h"

#include <math.h>

#define GRAIN 8192

typedef struct step {
    const cpu_fast *fast;
    float *param;
    const float *grad;
    float *first, *second; /* momentum buffer; or the two averages */
    cpu_sgd_numbers sgd;
    cpu_adam_numbers adam;
} step;

static void run_sgd(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const step *s = cookie;
    s->fast->sgd(s->param + begin, s->grad + begin, s->first ? s->first + begin : NULL,
                 (int64_t)(end - begin), &s->sgd);
}

void cpu_sgd_update(const cpu_sgd_rule *rule, float *param, const float *grad, float *momentum_buffer,
                    int64_t count) {
    step s = {.fast = cpu_fast_choose(), .param = param, .grad = grad, .first = momentum_buffer};
    s.sgd = (cpu_sgd_numbers){
        .minus_lr = (float)-rule->lr,
        .momentum = (float)rule->momentum,
        .one_minus_dampening = (float)(1 - rule->dampening),
        .weight_decay = (float)rule->weight_decay,
        .nesterov = rule->nesterov,
        .first = rule->first,
    };
    td_parallel_for((size_t)count, GRAIN, run_sgd, &s);
}

static void run_adam(size_t begin, size_t end, int thread, void *cookie) {
    (void)thread;
    const step *s = cookie;
    s->fast->adam(s->param + begin, s->grad + begin, s->first + begin, s->second + begin,
                  (int64_t)(end - begin), &s->adam);
}

void cpu_adam_update(const cpu_adam_rule *rule, float *param, const float *grad, float *exp_avg,
                     float *exp_avg_sq, int64_t count) {
    step s = {
        .fast = cpu_fast_choose(), .param = param, .grad = grad, .first = exp_avg, .second = exp_avg_sq};
    const double correction1 = 1 - pow(rule->beta1, (double)rule->step);
    const double correction2 = 1 - pow(rule->beta2, (double)rule->step);
    s.adam = (cpu_adam_numbers){
        .shrink = rule->decoupled ? (float)(1 - rule->lr * rule->weight_decay) : 1.0f,
        .weight_decay = rule->decoupled ? 0.0f : (float)rule->weight_decay,
        .one_minus_beta1 = (float)(1 - rule->beta1),
        .beta1 = 1.0f - (float)(1 - rule->beta1),
        .beta2 = (float)rule->beta2,
        .one_minus_beta2 = (float)(1 - rule->beta2),
        .correction2_sqrt = (float)sqrt(correction2),
        .eps = (float)rule->eps,
        .minus_step_size = (float)-(rule->lr / correction1),
    };
    td_parallel_for((size_t)count, GRAIN, run_adam, &s);
}
