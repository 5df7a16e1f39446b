/*
 * Clipping by the norm of all gradients. Squares are summed in f64 over blocks of 256 elements of a parameter,
 * and the blocks in the order of parameters, so that a norm has the same bits whoever computes which block.
 */
#include "base/memory.h"
#include "model/autograd/autograd.h"
#include "model/cpu/combine.h"
#include "model/ops/ops.h"
#include "model/optim/internal.h"
#include "model/tensor/tensor.h"

#include <math.h>

td_status td_optimizer_set_max_norm(td_optimizer *optimizer, double max_norm) {
    if (!(max_norm >= 0))
        return td_fail(TD_ERR_ARG, 0, "model/optim", "%s: a norm of at most %g; it is 0 or more",
                       optimizer->rule->name, max_norm);
    optimizer->max_norm = max_norm;
    return TD_OK;
}

double td_optimizer_norm(const td_optimizer *optimizer) { return optimizer->norm; }

/* PyTorch's, with its 1e-6. A norm that is no number leaves gradients that are none. */
double optim_clip_factor(const td_optimizer *optimizer, double norm) {
    double factor = optimizer->max_norm / (norm + 1e-6);
    return factor > 1 ? 1 : factor;
}

/* Add the squares of a parameter's gradient. */
static td_status add_squares(const td_optim_param *param, double *total) {
    const td_tensor *grad = optim_matching_gradient(param);
    if (!grad) return td_error_last()->status;
    size_t count = (size_t)td_tensor_count(grad);
    size_t blocks = (count + CPU_SQUARES_BLOCK - 1) / CPU_SQUARES_BLOCK;
    double *sums = td_alloc(blocks * sizeof *sums);
    if (!sums) return TD_ERR_MEMORY;
    cpu_sum_squares(td_tensor_dtype(grad), td_tensor_data(grad), count, sums);
    for (size_t b = 0; b < blocks; b++) *total += sums[b];
    td_free(sums);
    return TD_OK;
}

td_status optim_clip(td_optimizer *optimizer) {
    double total = 0;
    for (size_t g = 0; g < optimizer->group_count; g++)
        for (size_t i = 0; i < optimizer->groups[g].count; i++)
            if (td_tensor_grad(optimizer->groups[g].params[i].tensor))
                TD_TRY(add_squares(&optimizer->groups[g].params[i], &total));
    optimizer->norm = sqrt(total);
    double factor = optim_clip_factor(optimizer, optimizer->norm);
    if (factor == 1) return TD_OK;
    for (size_t g = 0; g < optimizer->group_count; g++)
        for (size_t i = 0; i < optimizer->groups[g].count; i++) {
            td_tensor *grad = td_tensor_grad(optimizer->groups[g].params[i].tensor);
            if (grad) td_mul_(grad, td_full((td_ints){0}, td_num(factor), .dtype = td_tensor_dtype(grad)));
        }
    return TD_OK;
}
