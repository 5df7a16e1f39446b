/* Optimizer steps in f32, as model/cpu/reference/optimizer.inc has them, to the bit: multiply-adds are fused
 * where they are written so. The flags are constants in each instance, so that the loops have no branches. */
#include "model/cpu/fast/fast.h"
#include "model/cpu/fast/loops.h"
#include "model/cpu/fast/vec.h"

#include <math.h>

#define INSTANCE static inline __attribute__((always_inline)) void

INSTANCE run_sgd(float *restrict param, const float *restrict grad, float *restrict buffer, int64_t count,
                 const cpu_sgd_numbers *n, const bool decay, const bool nesterov, const bool first) {
    const float minus_lr = (float)n->minus_lr, momentum = (float)n->momentum;
    const float weight_decay = (float)n->weight_decay, taken = (float)n->one_minus_dampening;
    for (int64_t i = 0; i < count; i++) {
        float g = grad[i];
        if (decay) g = __builtin_fmaf(param[i], weight_decay, g);
        if (buffer) {
            float b = first ? g : __builtin_fmaf(g, taken, buffer[i] * momentum);
            buffer[i] = b;
            g = nesterov ? __builtin_fmaf(b, momentum, g) : b;
        }
        param[i] = __builtin_fmaf(g, minus_lr, param[i]);
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
INSTANCE run_adam(float *restrict param, const float *restrict grad, float *restrict exp_avg,
                  float *restrict exp_avg_sq, int64_t count, const cpu_adam_numbers *n, const bool decay,
                  const bool near) {
    const float shrink = (float)n->shrink, weight_decay = (float)n->weight_decay, eps = (float)n->eps;
    const float fresh1 = (float)n->one_minus_beta1, beta2 = (float)n->beta2;
    const float fresh2 = (float)n->one_minus_beta2;
    const float correction = (float)n->correction2_sqrt, minus_step = (float)n->minus_step_size;
    for (int64_t i = 0; i < count; i++) {
        float p = param[i] * shrink;
        float g = decay ? __builtin_fmaf(p, weight_decay, grad[i]) : grad[i];
        float away = g - exp_avg[i];
        float m = near ? __builtin_fmaf(fresh1, away, exp_avg[i]) : __builtin_fmaf(fresh1 - 1, away, g);
        float v = __builtin_fmaf(fresh2 * g, g, exp_avg_sq[i] * beta2);
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        param[i] = p + minus_step * m / (sqrtf(v) / correction + eps);
    }
}

void ISA(adam)(float *param, const float *grad, float *exp_avg, float *exp_avg_sq, int64_t count,
               const cpu_adam_numbers *n) {
    const bool decay = n->weight_decay != 0;
    if ((float)n->one_minus_beta1 >= 0.5f)
        run_adam(param, grad, exp_avg, exp_avg_sq, count, n, decay, false);
    else if (decay)
        run_adam(param, grad, exp_avg, exp_avg_sq, count, n, true, true);
    else
        run_adam(param, grad, exp_avg, exp_avg_sq, count, n, false, true);
}
