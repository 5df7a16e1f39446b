/* Layouts of convolutions and pooling: always channels_last, whatever came in. */
#include "model/ops/parts.h"
#include "model/ops/shape/shape.h"

static td_status check_image(const char *name, const td_tensor *x) {
    TD_TRY(shape_check_ndim(name, x, 4));
    if (td_dtype_is_floating((td_dtype)x->dtype)) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "%s is %s, not floating", name, td_dtype_name((td_dtype)x->dtype));
}

static void set_images(td_dtype dtype, int64_t n, int64_t c, int64_t h, int64_t w, td_layout *out) {
    *out = (td_layout){.ndim = 4, .dtype = dtype, .sizes = {n, c, h, w}};
    td_layout_set_channels_last(out);
}

static td_status check_window(const int64_t stride[2], const int64_t padding[2], const int64_t dilation[2]) {
    if (stride[0] < 1 || stride[1] < 1)
        return td_fail(TD_ERR_ARG, 0, "model", "stride (%lld, %lld) is not positive", (long long)stride[0],
                       (long long)stride[1]);
    if (dilation[0] < 1 || dilation[1] < 1)
        return td_fail(TD_ERR_ARG, 0, "model", "dilation (%lld, %lld) is not positive",
                       (long long)dilation[0], (long long)dilation[1]);
    if (padding[0] < 0 || padding[1] < 0)
        return td_fail(TD_ERR_ARG, 0, "model", "padding (%lld, %lld) is negative", (long long)padding[0],
                       (long long)padding[1]);
    return TD_OK;
}

td_status shape_conv2d(const td_tensor *input, const td_tensor *weight, const td_tensor *bias,
                       const int64_t stride[2], const int64_t padding[2], const int64_t dilation[2],
                       int64_t groups, td_layout *out) {
    TD_TRY(check_image("input", input));
    TD_TRY(shape_check_ndim("weight", weight, 4));
    TD_TRY(shape_check_same_dtype("weight", weight, input));
    TD_TRY(check_window(stride, padding, dilation));
    const int64_t *x = input->sizes, *w = weight->sizes;
    if (groups < 1 || w[0] % groups != 0 || w[1] * groups != x[1])
        return td_fail(TD_ERR_ARG, 0, "model",
                       "weight (%lld, %lld, %lld, %lld) in %lld groups does not fit %lld channels",
                       (long long)w[0], (long long)w[1], (long long)w[2], (long long)w[3], (long long)groups,
                       (long long)x[1]);
    if (bias) {
        TD_TRY(shape_check_ndim("bias", bias, 1));
        TD_TRY(shape_check_same_dtype("bias", bias, input));
        if (bias->sizes[0] != w[0])
            return td_fail(TD_ERR_ARG, 0, "model", "bias of %lld for %lld channels",
                           (long long)bias->sizes[0], (long long)w[0]);
    }
    int64_t size[2];
    for (int i = 0; i < 2; i++) {
        int64_t room = x[2 + i] + 2 * padding[i] - dilation[i] * (w[2 + i] - 1) - 1;
        if (room < 0 || w[2 + i] < 1)
            return td_fail(TD_ERR_ARG, 0, "model",
                           "the kernel is larger than the padded image of (%lld, %lld)",
                           (long long)(x[2] + 2 * padding[0]), (long long)(x[3] + 2 * padding[1]));
        size[i] = room / stride[i] + 1;
    }
    set_images((td_dtype)input->dtype, x[0], w[0], size[0], size[1], out);
    return TD_OK;
}

td_status shape_conv2d_backward_input(const td_tensor *grad_output, const td_tensor *weight,
                                      const td_ints *input_size, td_layout *out) {
    TD_TRY(check_image("grad_output", grad_output));
    TD_TRY(shape_check_same_dtype("weight", weight, grad_output));
    if (input_size->count != 4) return td_fail(TD_ERR_ARG, 0, "model", "input_size has not 4 dimensions");
    const int64_t *size = input_size->at;
    set_images((td_dtype)grad_output->dtype, size[0], size[1], size[2], size[3], out);
    return TD_OK;
}

/* A weight is laid out row-major, as it was made and as it is saved. */
td_status shape_conv2d_backward_weight(const td_tensor *grad_output, const td_tensor *input,
                                       const td_ints *weight_size, td_layout *out) {
    TD_TRY(check_image("grad_output", grad_output));
    TD_TRY(shape_check_same_dtype("input", input, grad_output));
    out->dtype = (td_dtype)grad_output->dtype;
    out->offset = 0;
    TD_TRY(shape_set_sizes(weight_size, out));
    td_layout_set_contiguous(out);
    return TD_OK;
}

/* The number of windows, as PyTorch counts: with ceil_mode one more where a part is left over, unless it
 * would begin in the padding behind the image. */
static int64_t windows(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation,
                       bool ceil_mode) {
    int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
    if (room < 0 && !ceil_mode) return 0;
    int64_t count = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
    if (ceil_mode && (count - 1) * stride >= size + padding) count--;
    return count;
}

td_status shape_max_pool2d(const td_tensor *self, const int64_t kernel_size[2], const int64_t stride[2],
                           const int64_t padding[2], const int64_t dilation[2], bool ceil_mode,
                           td_layout *out) {
    TD_TRY(shape_check_ndim("self", self, 4));
    TD_TRY(check_window(stride, padding, dilation));
    int64_t size[2];
    for (int i = 0; i < 2; i++) {
        if (kernel_size[i] < 1 || kernel_size[i] > INT32_MAX || padding[i] > kernel_size[i] / 2)
            return td_fail(TD_ERR_ARG, 0, "model",
                           "kernel_size %lld is not positive, or padding %lld over half of it",
                           (long long)kernel_size[i], (long long)padding[i]);
        size[i] = windows(self->sizes[2 + i], kernel_size[i], stride[i], padding[i], dilation[i], ceil_mode);
        if (size[i] < 1)
            return td_fail(TD_ERR_ARG, 0, "model", "the window is larger than the image of (%lld, %lld)",
                           (long long)self->sizes[2], (long long)self->sizes[3]);
    }
    set_images((td_dtype)self->dtype, self->sizes[0], self->sizes[1], size[0], size[1], &out[0]);
    out[1] = out[0];
    out[1].dtype = kernel_size[0] * kernel_size[1] <= 255 ? TD_DTYPE_U8 : TD_DTYPE_I32;
    return TD_OK;
}

td_status shape_images(const td_tensor *grad_output, const td_ints *input_size, td_layout *out) {
    if (input_size->count != 4) return td_fail(TD_ERR_ARG, 0, "model", "input_size has not 4 dimensions");
    const int64_t *size = input_size->at;
    set_images((td_dtype)grad_output->dtype, size[0], size[1], size[2], size[3], out);
    return TD_OK;
}

td_status shape_chosen_images(const td_tensor *self, const td_tensor *choice, td_layout *out) {
    TD_TRY(shape_check_ndim("self", self, 4));
    const int64_t *size = choice->sizes;
    set_images((td_dtype)self->dtype, size[0], size[1], size[2], size[3], out);
    return TD_OK;
}
