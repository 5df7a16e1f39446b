/*
 * One optimizer step on the elements of one parameter, each element read and written once. The bits are those
 * of torch.optim's for-loop path in x86-64 wheels (checked against 2.15), on every processor and for every
 * number of threads: each of PyTorch's element-wise calls rounds its result; `add(alpha)`, `lerp` and
 * `addcmul` are fused multiply-adds there, `addcdiv` is not. One thing differs: square roots are correctly
 * rounded here, while MKL's, which wheels call, can be one unit in the last place off.
 *
 * Arrays are `count` elements of f32 or f64 without gaps; the caller owns them and they do not overlap.
 * Scalars come as doubles and are rounded where PyTorch rounds them.
 */
#ifndef TANDEM_MODEL_CPU_OPTIMIZER_KERNELS_H
#define TANDEM_MODEL_CPU_OPTIMIZER_KERNELS_H

#include "base/dtype.h"

typedef struct cpu_sgd_rule {
    double lr, momentum, dampening, weight_decay;
    bool nesterov, maximize;
    bool first; /* this parameter's first step: the momentum buffer is not read but set to the gradient */
} cpu_sgd_rule;

/* `momentum_buffer` is NULL when momentum is 0. */
void cpu_sgd_update(const cpu_sgd_rule *rule, td_dtype dtype, void *param, const void *grad,
                    void *momentum_buffer, int64_t count);

typedef struct cpu_adam_rule {
    double lr, beta1, beta2, eps, weight_decay;
    bool decoupled; /* AdamW: decay shrinks the parameter instead of joining the gradient */
    bool maximize;
    double step; /* of this parameter, from 1 on */
} cpu_adam_rule;

/* `max_exp_avg_sq` is NULL without amsgrad. */
void cpu_adam_update(const cpu_adam_rule *rule, td_dtype dtype, void *param, const void *grad, void *exp_avg,
                     void *exp_avg_sq, void *max_exp_avg_sq, int64_t count);

/* The rules as the numbers that one element needs. */
typedef struct cpu_sgd_numbers {
    double minus_lr, momentum, one_minus_dampening, weight_decay;
    bool nesterov, maximize, first;
} cpu_sgd_numbers;

typedef struct cpu_adam_numbers {
    double shrink;       /* AdamW: 1 - lr * decay; else 1 */
    double weight_decay; /* 0 for AdamW */
    double one_minus_beta1, beta2, one_minus_beta2, correction2_sqrt, eps, minus_step_size;
    bool maximize;
} cpu_adam_numbers;

/* The plain loops, for every dtype and rule. */
void cpu_reference_sgd(const cpu_sgd_numbers *numbers, td_dtype dtype, void *param, const void *grad,
                       void *momentum_buffer, size_t count);
void cpu_reference_adam(const cpu_adam_numbers *numbers, td_dtype dtype, void *param, const void *grad,
                        void *exp_avg, void *exp_avg_sq, void *max_exp_avg_sq, size_t count);

#endif
