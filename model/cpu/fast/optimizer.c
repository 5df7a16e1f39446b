/* Optimizer steps, each element read and written once. The order of operations is PyTorch's; nothing fuses.
 */
#include "model/cpu/fast/fast.h"
#include "model/cpu/fast/loops.h"
#include "model/cpu/fast/vec.h"

#include <math.h>

/* The flags are constants in each instance, so that the loop has no branches. */
static inline __attribute__((always_inline)) void run_sgd(float *restrict param, const float *restrict grad,
                                                          float *restrict buffer, int64_t count,
                                                          const cpu_sgd_numbers *n, const bool decay,
                                                          const bool nesterov, const bool first) {
    const float minus_lr = n->minus_lr, momentum = n->momentum, weight_decay = n->weight_decay;
    const float taken = n->one_minus_dampening;
    for (int64_t i = 0; i < count; i++) {
        float g = grad[i];
        if (decay) g = g + weight_decay * param[i];
        if (buffer) {
            float b = first ? g : buffer[i] * momentum + taken * g;
            buffer[i] = b;
            g = nesterov ? g + momentum * b : b;
        }
        param[i] = param[i] + minus_lr * g;
    }
}

void ISA(sgd)(float *param, const float *grad, float *buffer, int64_t count, const cpu_sgd_numbers *n) {
    const bool decay = n->weight_decay != 0;
    if (!buffer) {
        if (decay)
            run_sgd(param, grad, NULL, count, n, true, false, false);
        else
            run_sgd(param, grad, NULL, count, n, false, false, false);
    } else if (n->first) {
        run_sgd(param, grad, buffer, count, n, decay, n->nesterov, true);
    } else if (n->nesterov) {
        run_sgd(param, grad, buffer, count, n, decay, true, false);
    } else if (decay) {
        run_sgd(param, grad, buffer, count, n, true, false, false);
    } else {
        run_sgd(param, grad, buffer, count, n, false, false, false);
    }
}

/* exp_avg moves towards the gradient as lerp does, whose formula depends on the weight's side of 1/2. */
static inline __attribute__((always_inline)) void run_adam(float *restrict param, const float *restrict grad,
                                                           float *restrict exp_avg,
                                                           float *restrict exp_avg_sq, int64_t count,
                                                           const cpu_adam_numbers *n, const bool near) {
    const cpu_adam_numbers k = *n;
    for (int64_t i = 0; i < count; i++) {
        float p = param[i] * k.shrink;
        float g = grad[i] + k.weight_decay * param[i];
        float away = g - exp_avg[i];
        float m = near ? exp_avg[i] + k.one_minus_beta1 * away : g - away * k.beta1;
        float v = exp_avg_sq[i] * k.beta2 + k.one_minus_beta2 * g * g;
        float denominator = sqrtf(v) / k.correction2_sqrt + k.eps;
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        param[i] = p + k.minus_step_size * m / denominator;
    }
}

void ISA(adam)(float *param, const float *grad, float *exp_avg, float *exp_avg_sq, int64_t count,
               const cpu_adam_numbers *n) {
    if (n->one_minus_beta1 < 0.5f)
        run_adam(param, grad, exp_avg, exp_avg_sq, count, n, true);
    else
        run_adam(param, grad, exp_avg, exp_avg_sq, count, n, false);
}
