/* What the two ways of convolving (conv.c: Winograd, conv_direct.c: few taps) share. */
#ifndef TANDEM_MODEL_CPU_NATIVE_CONV_H
#define TANDEM_MODEL_CPU_NATIVE_CONV_H

#include "model/cpu/internal.h"

static inline int64_t cpu_round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

static inline cpu_image cpu_image_of(const td_tensor *x) {
    return (cpu_image){cpu_f32(x),    x->sizes[1],   x->sizes[2],  x->sizes[3],
                       x->strides[0], x->strides[2], x->strides[3]};
}

/* TD_PENDING where a convolution has too many taps, or groups. */
td_status cpu_direct_forward(td_context *context, const td_conv2d_forward_args *a, td_tensor *y);
td_status cpu_direct_weights(td_context *context, const td_conv2d_backward_weight_args *a, td_tensor *dw);

#endif
