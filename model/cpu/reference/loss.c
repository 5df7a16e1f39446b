/*
 * The negative log likelihood of classes, and its gradient. Losses are summed in f64; the gradient's few
 * operations round as PyTorch's do (ATen, LossNLL.cpp).
 */
#include "model/cpu/reference/walk.h"

/* Where the classes lie in the scores: dimension 1, or the only one. */
static int class_dim(const td_tensor *scores) { return scores->ndim == 1 ? 0 : 1; }

/* A walk over the targets: offsets of the scores (of class 0), the targets and `each` (same sizes as the
 * targets, or NULL). */
static walk walk_targets(const td_tensor *scores, const td_tensor *target, const td_tensor *each) {
    walk w = {0};
    const int along = class_dim(scores);
    for (int d = 0; d < target->ndim; d++) {
        const int s = d < along ? d : d + 1;
        walk_add(&w, target->sizes[d], scores->strides[s], target->strides[d], each ? each->strides[d] : 0,
                 0);
    }
    return w;
}

static td_status check_class(int64_t target, int64_t classes) {
    if (target >= 0 && target < classes) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "target %lld is none of %lld classes", (long long)target,
                   (long long)classes);
}

static double weight_of(const td_tensor *weight, int64_t target) {
    return weight ? load_real(td_tensor_bytes(weight), target * weight->strides[0], weight->dtype) : 1;
}

static td_status nll_loss_forward(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_nll_loss_forward_args *a = args;
    const td_tensor *scores = a->self;
    if (!is_computable(scores->dtype)) return refuse_dtype(scores);
    const int along = class_dim(scores);
    const bool each = a->reduction == TD_REDUCTION_NONE;
    walk w = walk_targets(scores, a->target, each ? out[0] : NULL);
    double total = 0, weights = 0;
    if (!walk_is_empty(&w)) {
        do {
            const int64_t target = load_int(td_tensor_bytes(a->target), w.offset[1], a->target->dtype);
            double loss = 0;
            if (target != a->ignore_index) {
                TD_TRY(check_class(target, scores->sizes[along]));
                const double weight = weight_of(a->weight, target);
                loss = -weight * load_real(td_tensor_bytes(scores),
                                           w.offset[0] + target * scores->strides[along], scores->dtype);
                weights += weight;
            }
            total += loss;
            if (each) store_real(td_tensor_bytes(out[0]), w.offset[2], out[0]->dtype, loss);
        } while (walk_next(&w));
    }
    if (!each)
        store_real(td_tensor_bytes(out[0]), 0, out[0]->dtype,
                   a->reduction == TD_REDUCTION_MEAN ? total / weights : total);
    store_real(td_tensor_bytes(out[1]), 0, out[1]->dtype, each ? 0 : weights);
    return TD_OK;
}

static double rounded(double x, td_dtype dtype) { return dtype == TD_DTYPE_F32 ? (double)(float)x : x; }

static td_status nll_loss_backward(td_context *context, const void *args, td_tensor *const *out) {
    (void)context;
    const td_nll_loss_backward_args *a = args;
    td_tensor *scores = out[0];
    const td_dtype dtype = scores->dtype;
    if (!is_computable(dtype)) return refuse_dtype(scores);
    walk all = walk_over(scores, NULL, NULL, NULL);
    if (walk_is_empty(&all)) return TD_OK;
    do store_real(td_tensor_bytes(scores), all.offset[0], dtype, 0);
    while (walk_next(&all));

    const int along = class_dim(scores);
    const bool each = a->reduction == TD_REDUCTION_NONE;
    walk w = walk_targets(scores, a->target, each ? a->grad_output : NULL);
    const double count = load_real(td_tensor_bytes(a->total_weight), 0, a->total_weight->dtype);
    if (walk_is_empty(&w)) return TD_OK;
    do {
        const int64_t target = load_int(td_tensor_bytes(a->target), w.offset[1], a->target->dtype);
        if (target == a->ignore_index) continue;
        TD_TRY(check_class(target, scores->sizes[along]));
        double grad = load_real(td_tensor_bytes(a->grad_output), w.offset[2], a->grad_output->dtype);
        if (a->reduction == TD_REDUCTION_MEAN) grad = rounded(grad / count, dtype);
        store_real(td_tensor_bytes(scores), w.offset[0] + target * scores->strides[along], dtype,
                   -grad * weight_of(a->weight, target));
    } while (walk_next(&w));
    return TD_OK;
}

const td_kernel_row cpu_reference_loss[] = {
    {TD_OP_NLL_LOSS_FORWARD, nll_loss_forward},
    {TD_OP_NLL_LOSS_BACKWARD, nll_loss_backward},
    TD_KERNELS_END,
};
