/* Layouts of matrix products. */
#include "model/ops/parts.h"
#include "model/ops/shape/shape.h"

#include <string.h>

static td_status check_inner(int64_t a, int64_t b, const td_tensor *x, const td_tensor *y) {
    char texts[2][96];
    if (a == b) return TD_OK;
    return td_fail(TD_ERR_ARG, 0, "model", "sizes %s and %s do not go together: %lld is not %lld",
                   td_sizes_text(x->sizes, x->ndim, texts[0], sizeof texts[0]),
                   td_sizes_text(y->sizes, y->ndim, texts[1], sizeof texts[1]), (long long)a, (long long)b);
}

td_status shape_mm(const td_tensor *self, const td_tensor *mat2, td_layout *out) {
    TD_TRY(shape_check_ndim("self", self, 2));
    TD_TRY(shape_check_ndim("mat2", mat2, 2));
    TD_TRY(shape_check_same_dtype("mat2", mat2, self));
    TD_TRY(check_inner(self->sizes[1], mat2->sizes[0], self, mat2));
    *out = (td_layout){.ndim = 2, .dtype = (td_dtype)self->dtype, .sizes = {self->sizes[0], mat2->sizes[1]}};
    td_layout_set_contiguous(out);
    return TD_OK;
}

td_status shape_bmm(const td_tensor *self, const td_tensor *mat2, td_layout *out) {
    TD_TRY(shape_check_ndim("self", self, 3));
    TD_TRY(shape_check_ndim("mat2", mat2, 3));
    TD_TRY(shape_check_same_dtype("mat2", mat2, self));
    TD_TRY(check_inner(self->sizes[0], mat2->sizes[0], self, mat2));
    TD_TRY(check_inner(self->sizes[2], mat2->sizes[1], self, mat2));
    *out = (td_layout){
        .ndim = 3, .dtype = (td_dtype)self->dtype, .sizes = {self->sizes[0], self->sizes[1], mat2->sizes[2]}};
    td_layout_set_contiguous(out);
    return TD_OK;
}

td_status shape_linear(const td_tensor *input, const td_tensor *weight, const td_tensor *bias,
                       td_layout *out) {
    if (input->ndim < 1) return shape_check_ndim("input", input, 1);
    TD_TRY(shape_check_ndim("weight", weight, 2));
    TD_TRY(shape_check_same_dtype("weight", weight, input));
    TD_TRY(check_inner(input->sizes[input->ndim - 1], weight->sizes[1], input, weight));
    if (bias) {
        TD_TRY(shape_check_ndim("bias", bias, 1));
        TD_TRY(shape_check_same_dtype("bias", bias, input));
        TD_TRY(check_inner(bias->sizes[0], weight->sizes[0], bias, weight));
    }
    *out = (td_layout){.ndim = input->ndim, .dtype = (td_dtype)input->dtype};
    memcpy(out->sizes, input->sizes, sizeof(int64_t) * input->ndim);
    out->sizes[out->ndim - 1] = weight->sizes[0];
    td_layout_set_contiguous(out);
    return TD_OK;
}
