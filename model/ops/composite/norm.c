/* Batch normalisation as its users call it: the computation, then the running statistics. */
#include "model/ops/dispatch.h"

/* running = (1 - momentum) * running + momentum * factor * batch, which nothing on the tape sees. */
static void move_running(td_tensor *running, td_tensor *batch, double momentum, double factor) {
    td_mul_scalar_(running, td_scalar_real(1 - momentum));
    td_add_(running, batch, .alpha = td_scalar_real(momentum * factor));
}

td_tensor *composite_batch_norm(const td_batch_norm_args *a) {
    td_batch_norm_forward_result y =
        td_batch_norm_forward(a->input, a->weight, a->bias, a->running_mean, a->running_var,
                              .training = a->training, .eps = a->eps);
    if (!y.output || !a->training) return y.output;
    const int64_t channels = a->input->sizes[1], count = channels ? a->input->count / channels : 0;
    if (count == 1)
        return td_scope_fail(td_fail(TD_ERR_ARG, 0, "model",
                                     "batch_norm: training needs more than one value of each channel"));
    td_no_grad_begin();
    if (a->running_mean) move_running(a->running_mean, td_select(y.statistics, 0, 0), a->momentum, 1);
    if (a->running_var) /* without bias, as PyTorch keeps it */
        move_running(a->running_var, td_select(y.statistics, 0, 1), a->momentum,
                     count > 1 ? (double)count / (double)(count - 1) : 1);
    td_no_grad_end();
    return y.output;
}
