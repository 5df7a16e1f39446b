/* Layouts of batch normalisation: images lie channels_last, everything else as it came. */
#include "model/ops/parts.h"
#include "model/ops/shape/shape.h"

static td_status check_batch(const td_tensor *input) {
    if (input->ndim < 2 || input->ndim > 5)
        return td_fail(TD_ERR_ARG, 0, "model", "input has %d dimensions; N, C and up to three more are taken",
                       input->ndim);
    if (td_dtype_is_floating((td_dtype)input->dtype)) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "input is %s, not floating",
                   td_dtype_name((td_dtype)input->dtype));
}

/* A number for each channel, where it is given. */
static td_status check_channels(const char *name, const td_tensor *x, const td_tensor *input) {
    if (!x) return TD_OK;
    TD_TRY(shape_check_ndim(name, x, 1));
    TD_TRY(shape_check_same_dtype(name, x, input));
    if (x->sizes[0] == input->sizes[1]) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "%s of %lld for %lld channels", name, (long long)x->sizes[0],
                   (long long)input->sizes[1]);
}

static void set_like_input(const td_tensor *input, td_layout *out) {
    td_layout_of(input, out);
    out->offset = 0;
    if (input->ndim == 4)
        td_layout_set_channels_last(out);
    else
        td_layout_set_like(out, input);
}

td_status shape_batch_norm_statistics(const td_tensor *input, td_layout *out) {
    TD_TRY(check_batch(input));
    *out = (td_layout){.ndim = 2, .dtype = (td_dtype)input->dtype, .sizes = {2, input->sizes[1]}};
    td_layout_set_contiguous(out);
    return TD_OK;
}

td_status shape_batch_norm(const td_tensor *input, const td_tensor *weight, const td_tensor *bias,
                           const td_tensor *running_mean, const td_tensor *running_var, bool training,
                           td_layout *out) {
    TD_TRY(shape_batch_norm_statistics(input, &out[1]));
    TD_TRY(check_channels("weight", weight, input));
    TD_TRY(check_channels("bias", bias, input));
    TD_TRY(check_channels("running_mean", running_mean, input));
    TD_TRY(check_channels("running_var", running_var, input));
    if (!training && (!running_mean || !running_var))
        return td_fail(TD_ERR_ARG, 0, "model",
                       "running_mean or running_var is missing, and it is not training");
    set_like_input(input, &out[0]);
    return TD_OK;
}

td_status shape_batch_norm_backward_input(const td_tensor *grad_output, const td_tensor *input,
                                          const td_tensor *statistics, td_layout *out) {
    TD_TRY(check_batch(input));
    TD_TRY(shape_check_same_dtype("grad_output", grad_output, input));
    if (!td_layout_same_sizes(grad_output, input) || statistics->ndim != 2 ||
        statistics->sizes[1] != input->sizes[1])
        return td_fail(TD_ERR_ARG, 0, "model", "grad_output or statistics do not fit the input");
    set_like_input(input, out);
    return TD_OK;
}
