/*
 * The gradients of batch_norm. Those of the tape come from two rows that pass over the images once each; where
 * the gradients' own computation is recorded they are made of elementary rows instead, mean and variance
 * included, so that derivatives of any order follow.
 */
#include "model/ops/dispatch.h"

/* (C) as (1, C, 1, ...). */
static td_tensor *per_channel(td_tensor *v, const td_tensor *like) {
    td_ints sizes = {like->ndim, {0}};
    for (int d = 0; d < like->ndim; d++) sizes.at[d] = d == 1 ? like->sizes[1] : 1;
    return td_reshape(v, sizes);
}

/* All dimensions but the channels'. */
static td_ints others(const td_tensor *x) {
    td_ints dims = {0, {0}};
    for (int d = 0; d < x->ndim; d++)
        if (d != 1) dims.at[dims.count++] = d;
    return dims;
}

static void elementary(td_tensor *grad, td_tensor *input, td_tensor *weight, td_tensor *statistics,
                       bool training, double eps, td_tensor **out) {
    td_ints dims = others(input);
    if (!training) statistics = td_detach(statistics); /* given, not computed from the input */
    td_tensor *mean = training ? td_mean(input, dims, true) : per_channel(td_select(statistics, 0, 0), input);
    td_tensor *centred = td_sub(input, mean);
    td_tensor *variance = training ? td_mean(td_mul(centred, centred), dims, true)
                                   : per_channel(td_select(statistics, 0, 1), input);
    td_tensor *scale = td_rsqrt(td_add_scalar(variance, td_scalar_real(eps)));
    td_tensor *normal = td_mul(centred, scale);
    td_tensor *g = weight ? td_mul(grad, per_channel(weight, input)) : grad;
    out[1] = td_sum(td_mul(grad, normal), dims);
    out[2] = td_sum(grad, dims);
    if (training) {
        td_tensor *slope = td_mul(normal, td_mean(td_mul(g, normal), dims, true));
        g = td_sub(td_sub(g, td_mean(g, dims, true)), slope);
    }
    out[0] = td_mul(g, scale);
}

td_status helper_batch_norm_gradients(td_tensor *grad, td_tensor *input, td_tensor *weight,
                                      td_tensor *statistics, bool training, double eps, td_tensor **out) {
    if (td_grad_enabled()) {
        elementary(grad, input, weight, statistics, training, eps, out);
        return td_gradient_status();
    }
    const int64_t channels = input->sizes[1];
    td_tensor *sums = td_batch_norm_backward_sums(grad, input, statistics, .eps = eps);
    out[0] =
        td_batch_norm_backward_input(grad, input, weight, statistics, training ? sums : NULL,
                                     .count = channels ? (double)(input->count / channels) : 0, .eps = eps);
    out[1] = td_select(sums, 0, 0);
    out[2] = td_select(sums, 0, 1);
    return td_gradient_status();
}
