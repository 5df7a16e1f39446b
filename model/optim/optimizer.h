/*
 * Optimizers: the rules that turn gradients into new parameters, with the arithmetic of torch.optim's default
 * CPU path, bit for bit. Central object: td_optimizer. Its life: opened by one of the rules below over named
 * parameters (td_module_parameters), then per step td_optimizer_zero_grad, a backward pass and
 * td_optimizer_step; closed before or after the model. Each group of parameters has options of its own. A
 * parameter whose gradient is empty is skipped. Only the thread that has the parameters' context may call.
 *
 * Options are structs of each rule with PyTorch's names; begin from the DEFAULTS, which are PyTorch's:
 *
 *     td_sgd_options options = {TD_SGD_DEFAULTS};
 *     options.momentum = 0.9;
 *     TD_TRY(td_sgd_open(&parameters, &options, &optimizer));
 */
#ifndef TANDEM_MODEL_OPTIM_OPTIMIZER_H
#define TANDEM_MODEL_OPTIM_OPTIMIZER_H

#include "model/nn/state_dict.h"

TD_BEGIN_DECLS

/* torch.optim.SGD. The slot of a parameter is "momentum_buffer". */
typedef struct td_sgd_options {
    double lr, momentum, dampening, weight_decay;
    bool nesterov, maximize;
} td_sgd_options;
#define TD_SGD_DEFAULTS .lr = 1e-3

/* torch.optim.Adam and AdamW, which differ in what weight_decay does (and its default). Slots: "exp_avg",
 * "exp_avg_sq" and "step"; with amsgrad also "max_exp_avg_sq". */
typedef struct td_adam_options {
    double lr, betas[2], eps, weight_decay;
    bool amsgrad, maximize;
} td_adam_options;
#define TD_ADAM_DEFAULTS  .lr = 1e-3, .betas = {0.9, 0.999}, .eps = 1e-8
#define TD_ADAMW_DEFAULTS TD_ADAM_DEFAULTS, .weight_decay = 1e-2

/* Open with one group of parameters, which are *kept*; `options` NULL: the defaults. *Yours*. TD_ERR_ARG for
 * an option out of its range, no parameters, a parameter that is no leaf, appears twice or is neither f32 nor
 * f64. */
TD_API td_status td_sgd_open(const td_state_dict *parameters, const td_sgd_options *options,
                             td_optimizer **optimizer);
TD_API td_status td_adam_open(const td_state_dict *parameters, const td_adam_options *options,
                              td_optimizer **optimizer);
TD_API td_status td_adamw_open(const td_state_dict *parameters, const td_adam_options *options,
                               td_optimizer **optimizer);
TD_API void td_optimizer_close(td_optimizer **optimizer); /* leaves NULL; NULL inside is fine */

/* As add_param_group: further parameters, with options of their own; NULL: the first group's. TD_ERR_ARG also
 * when the optimizer is of another rule. */
TD_API td_status td_sgd_add_group(td_optimizer *optimizer, const td_state_dict *parameters,
                                  const td_sgd_options *options);
TD_API td_status td_adam_add_group(td_optimizer *optimizer, const td_state_dict *parameters,
                                   const td_adam_options *options); /* Adam's and AdamW's */

/* Update every parameter that has a gradient. TD_ERR_MEMORY can come only where a parameter is met for the
 * first time, and then nothing has been updated. */
TD_API td_status td_optimizer_step(td_optimizer *optimizer);

/* From now on every step first scales all gradients by one factor, so that their common 2-norm is at most
 * `max_norm`, as torch.nn.utils.clip_grad_norm_ does; 0: no longer. TD_ERR_ARG when negative or no number. */
TD_API td_status td_optimizer_set_max_norm(td_optimizer *optimizer, double max_norm);
/* The norm that the last step found, before scaling; 0 when none has looked. */
TD_API double td_optimizer_norm(const td_optimizer *optimizer);

/* Empty all gradients. */
TD_API void td_optimizer_zero_grad(td_optimizer *optimizer);

TD_API const char *td_optimizer_name(const td_optimizer *optimizer); /* "sgd", "adam", "adamw"; static */

/* Groups are numbered from 0. Their learning rate may change between steps. TD_ERR_ARG when there is no such
 * group or the rate is negative. */
TD_API size_t td_optimizer_group_count(const td_optimizer *optimizer);
TD_API double td_optimizer_lr(const td_optimizer *optimizer,
                              size_t group); /* 0 when there is no such group */
TD_API td_status td_optimizer_set_lr(td_optimizer *optimizer, size_t group, double lr);

/* Append what a resumed run needs: each parameter's slots as "state.fc1.weight.exp_avg", in the slot's own
 * memory, and each group's options as f64 tensors "param_groups.0.lr". Slots exist from a parameter's first
 * step on. */
TD_API td_status td_optimizer_state(const td_optimizer *optimizer, td_state_dict *dict);
/* The reverse, over the same parameters. TD_ERR_ARG names the first entry that is missing, unknown or of
 * another size, and then nothing has changed. */
TD_API td_status td_optimizer_load_state(td_optimizer *optimizer, const td_state_dict *dict);

TD_END_DECLS

#endif
