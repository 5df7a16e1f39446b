/* Composites of networks: losses, dropout's cases, images without a batch. */
#include "model/ops/dispatch.h"

td_tensor *composite_nll_loss(const td_nll_loss_args *a) {
    return td_nll_loss_forward(a->self, a->target, .weight = a->weight, .reduction = a->reduction,
                               .ignore_index = a->ignore_index)
        .output;
}

static td_tensor *reduced(td_tensor *x, td_reduction reduction) {
    return reduction == TD_REDUCTION_MEAN ? td_mean(x) : reduction == TD_REDUCTION_SUM ? td_sum(x) : x;
}

td_tensor *composite_mse_loss(const td_mse_loss_args *a) {
    td_tensor *difference = td_sub(a->self, a->target);
    return reduced(td_mul(difference, difference), a->reduction);
}

static int64_t class_dim(const td_tensor *x) { return x->ndim == 1 ? 0 : 1; }

/* Per-class weights in a shape that broadcasts along the classes of x. */
static td_tensor *along_classes(td_tensor *weight, const td_tensor *x) {
    if (x->ndim == 1) return weight;
    td_ints sizes = {x->ndim, {0}};
    for (int d = 0; d < x->ndim; d++) sizes.at[d] = d == 1 ? weight->count : 1;
    return td_view(weight, sizes);
}

/* Targets that are probabilities: -sum(target * log p), the mean over samples. */
static td_tensor *soft_cross_entropy(const td_cross_entropy_args *a, td_tensor *log_p) {
    int64_t dim = class_dim(a->self), classes = td_tensor_size(a->self, (int)dim);
    char texts[2][96];
    if (!td_layout_same_sizes(a->self, a->target))
        return td_scope_fail(
            td_fail(TD_ERR_ARG, 0, "model", "cross_entropy: probabilities of sizes %s for self of sizes %s",
                    td_sizes_text(a->target->sizes, a->target->ndim, texts[0], sizeof texts[0]),
                    td_sizes_text(a->self->sizes, a->self->ndim, texts[1], sizeof texts[1])));
    td_tensor *target = a->target;
    if (a->label_smoothing > 0)
        target = td_add_scalar(td_mul_scalar(target, td_scalar_real(1 - a->label_smoothing)),
                               td_scalar_real(a->label_smoothing / (double)classes));
    td_tensor *terms = td_mul(log_p, target);
    if (a->weight) terms = td_mul(terms, along_classes(a->weight, a->self));
    td_tensor *loss = td_neg(td_sum(terms, TD_INTS(dim)));
    if (a->reduction != TD_REDUCTION_MEAN) return reduced(loss, a->reduction);
    return td_div_scalar(td_sum(loss), td_scalar_int(loss ? loss->count : 1));
}

/* What label smoothing adds: the mean over classes of -log p, weighted as nll_loss is. */
static td_tensor *smooth_loss(const td_cross_entropy_args *a, td_tensor *log_p) {
    int64_t dim = class_dim(a->self);
    td_tensor *ignored = td_eq_scalar(a->target, td_scalar_int(a->ignore_index));
    td_tensor *weighted = a->weight ? td_mul(log_p, along_classes(a->weight, a->self)) : log_p;
    td_tensor *loss = td_masked_fill(td_neg(td_sum(weighted, TD_INTS(dim))), ignored, td_scalar_int(0));
    if (a->reduction != TD_REDUCTION_MEAN) return reduced(loss, a->reduction);
    /* The total weight that nll_loss divides by, of the targets that count. */
    td_tensor *total = td_nll_loss_forward(log_p, a->target, .weight = a->weight, .reduction = a->reduction,
                                           .ignore_index = a->ignore_index)
                           .total_weight;
    return td_div(td_sum(loss), total);
}

td_tensor *composite_cross_entropy(const td_cross_entropy_args *a) {
    if (a->label_smoothing < 0 || a->label_smoothing > 1)
        return td_scope_fail(td_fail(TD_ERR_ARG, 0, "model",
                                     "cross_entropy: label_smoothing %g is not within [0, 1]",
                                     a->label_smoothing));
    td_tensor *log_p = td_log_softmax(a->self, class_dim(a->self));
    if (td_dtype_is_floating((td_dtype)a->target->dtype)) return soft_cross_entropy(a, log_p);
    td_tensor *hard = td_nll_loss(log_p, a->target, .weight = a->weight, .reduction = a->reduction,
                                  .ignore_index = a->ignore_index);
    if (a->label_smoothing == 0 || !hard) return hard;
    int64_t classes = td_tensor_size(a->self, (int)class_dim(a->self));
    return td_add(td_mul_scalar(hard, td_scalar_real(1 - a->label_smoothing)),
                  td_mul_scalar(smooth_loss(a, log_p), td_scalar_real(a->label_smoothing / (double)classes)));
}

td_tensor *composite_dropout(const td_dropout_args *a) {
    if (!(a->p >= 0 && a->p <= 1))
        return td_scope_fail(
            td_fail(TD_ERR_ARG, 0, "model", "dropout: probability %g is not within [0, 1]", a->p));
    if (!a->train || a->p == 0 || a->input->count == 0) return td_alias(a->input);
    if (a->p == 1) return td_mul_scalar(a->input, td_scalar_int(0)); /* draws nothing, as in PyTorch */
    return td_dropout_forward(a->input, a->p).output;
}

td_tensor *composite_conv2d(const td_conv2d_args *a) {
    bool one = a->input->ndim == 3;
    td_tensor *y =
        td_conv2d_forward(one ? td_unsqueeze(a->input, 0) : a->input, a->weight, .bias = a->bias,
                          .stride = {a->stride[0], a->stride[1]}, .padding = {a->padding[0], a->padding[1]},
                          .dilation = {a->dilation[0], a->dilation[1]}, .groups = a->groups);
    return one ? td_squeeze(y, TD_INTS(0)) : y;
}

td_tensor *composite_max_pool2d(const td_max_pool2d_args *a) {
    bool one = a->self->ndim == 3, no_stride = a->stride[0] == 0 && a->stride[1] == 0;
    const int64_t *stride = no_stride ? a->kernel_size : a->stride;
    td_tensor *y =
        td_max_pool2d_forward(one ? td_unsqueeze(a->self, 0) : a->self,
                              .kernel_size = {a->kernel_size[0], a->kernel_size[1]},
                              .stride = {stride[0], stride[1]}, .padding = {a->padding[0], a->padding[1]},
                              .dilation = {a->dilation[0], a->dilation[1]}, .ceil_mode = a->ceil_mode)
            .output;
    return one ? td_squeeze(y, TD_INTS(0)) : y;
}
