/* What the CPU's kernels share, and what tests may see of them. */
#ifndef TANDEM_MODEL_CPU_INTERNAL_H
#define TANDEM_MODEL_CPU_INTERNAL_H

#include "model/cpu/fast/fast.h"
#include "model/ops/kernel.h"
#include "model/tensor/internal.h"

#include <string.h>

/* Each family's plain kernels (reference/) and our own fast ones (native/). */
extern const td_kernel_row cpu_reference_reduce[], cpu_reference_matmul[], cpu_reference_softmax[],
    cpu_reference_loss[], cpu_reference_conv[], cpu_reference_pool[], cpu_reference_index[],
    cpu_reference_random[], cpu_reference_pointwise[], cpu_reference_unary[], cpu_reference_compare[],
    cpu_reference_copy[], cpu_reference_norm[];
extern const td_kernel_row cpu_native_pointwise[], cpu_native_reduce[], cpu_native_matmul[],
    cpu_native_conv[], cpu_native_pool[], cpu_native_dropout[], cpu_native_copy[], cpu_native_norm[];
extern const td_kernel_row cpu_spare_matmul[], cpu_spare_conv[]; /* asked after oneDNN */

/* What the context's kernels did; tests fix these numbers. */
typedef struct cpu_counters {
    uint64_t reorders;         /* activations or weights copied into another layout for oneDNN */
    uint64_t primitives_made;  /* oneDNN primitives created */
    uint64_t primitives_found; /* ... and found in the cache */
} cpu_counters;

/* In td_kernels. */
typedef struct cpu_state {
    const cpu_fast *fast;
    cpu_counters counters;
    float *scratch; /* grows, never shrinks */
    size_t scratch_floats;
} cpu_state;

static inline cpu_state *cpu_state_of(td_context *context) { return td_kernels_of(context)->cpu; }

/* At least `floats` of the context's scratch memory, 64-byte aligned, valid until the next call. NULL after
 * recording TD_ERR_MEMORY. */
float *cpu_scratch(td_context *context, size_t floats);

static inline float *cpu_f32(const td_tensor *x) { return (float *)(void *)td_tensor_bytes(x); }

/* f32, and its elements fill its stretch of memory in some order? */
static inline bool cpu_is_dense_f32(const td_tensor *x) {
    return x->dtype == TD_DTYPE_F32 && (x->contiguous || td_tensor_is_dense(x));
}

/* Do both have the same sizes and strides (where a size is not 1)? */
static inline bool cpu_same_layout(const td_tensor *a, const td_tensor *b) {
    if (a->ndim != b->ndim) return false;
    if (a->contiguous && b->contiguous) return td_layout_same_sizes(a, b);
    for (int d = 0; d < a->ndim; d++)
        if (a->sizes[d] != b->sizes[d] || (a->strides[d] != b->strides[d] && a->sizes[d] != 1)) return false;
    return true;
}

#endif
