/*
 * One optimizer step on f32 arrays, in PyTorch's order of operations (torch/optim: _single_tensor_sgd, _adam,
 * _adamw), each operation rounded: the same bits on every processor and for every number of threads. The
 * caller owns all arrays; they do not overlap. Scalars come as doubles and are rounded where PyTorch rounds
 * them.
 */
#ifndef TANDEM_MODEL_CPU_OPTIMIZER_KERNELS_H
#define TANDEM_MODEL_CPU_OPTIMIZER_KERNELS_H

#include "base/types.h"

typedef struct cpu_sgd_rule {
    double lr, momentum, dampening, weight_decay;
    bool nesterov;
    bool first; /* this parameter's first step: the momentum buffer is not read but set to the gradient */
} cpu_sgd_rule;

/* momentum_buffer is NULL when momentum is 0. */
void cpu_sgd_update(const cpu_sgd_rule *rule, float *param, const float *grad, float *momentum_buffer,
                    int64_t count);

typedef struct cpu_adam_rule {
    double lr, beta1, beta2, eps, weight_decay;
    bool decoupled; /* AdamW: decay shrinks the parameter instead of joining the gradient */
    int64_t step;   /* of this parameter, from 1 on */
} cpu_adam_rule;

void cpu_adam_update(const cpu_adam_rule *rule, float *param, const float *grad, float *exp_avg,
                     float *exp_avg_sq, int64_t count);

#endif
