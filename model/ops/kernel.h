/*
 * The contract between operations and kernels. A kernel computes one row's results on one device: model/cpu
 * has a plain reference for every row and faster ones beside it. A context's table holds, for each row, its
 * kernels in the order in which they are asked; one that returns TD_PENDING has done nothing ("not mine: that
 * dtype, those strides") and the next is asked. The last is the reference, which takes everything that the
 * row's shape function lets through. Internal to model/; one thread at a time per context.
 */
#ifndef TANDEM_MODEL_OPS_KERNEL_H
#define TANDEM_MODEL_OPS_KERNEL_H

#include "base/internal.h"
#include "model/ops/ops.h"

/*
 * `args` is the row's td_<op>_args; its tensors have been checked (required ones are there, sizes fit, dtypes
 * are as the shape function allows) and may have any strides and, where the row promotes, different dtypes.
 * `out` are the results, allocated with the sizes, strides and dtypes that the shape function gave; in the
 * in-place form out[0] is the first argument itself, in the out form any tensor of those sizes and dtype. A
 * row that writes has only out[0], which is its argument `self`.
 * Fills the results whole. Records nothing, opens no scope, calls no operation. TD_ERR_MEMORY, TD_ERR_ARG (an
 * index out of range) or TD_ERR_UNSUPPORTED on failure, without the row's name in the text.
 */
typedef td_status td_kernel(td_context *context, const void *args, td_tensor *const *out);

typedef struct td_kernel_row {
    td_op op;
    td_kernel *kernel;
} td_kernel_row;

/* A family's kernels, in a file that ends with
 * `const td_kernel_row cpu_reference_pointwise[] = {{TD_OP_ADD, add}, ..., TD_KERNELS_END};` */
#define TD_KERNELS_END                                                                                       \
    { TD_OP_COUNT, NULL }

/* In the order in which they are asked. */
typedef enum td_kernel_level {
    TD_KERNEL_NATIVE,    /* our own for this processor (AVX2, AVX-512), for what they do best */
    TD_KERNEL_PLUGIN,    /* a library: oneDNN */
    TD_KERNEL_SPARE,     /* our own for the rest, and for all of it where there is no library */
    TD_KERNEL_REFERENCE, /* plain C */
    TD_KERNEL_LEVELS
} td_kernel_level;

/* In the context's slot TD_SLOT_KERNELS, made by model/cpu when the context's first scope opens. */
typedef struct td_kernels {
    td_kernel *chain[TD_OP_COUNT][TD_KERNEL_LEVELS + 1]; /* those there are, in order; ends with NULL */
    struct cpu_state *cpu;                               /* model/cpu/internal.h */
    void *plugin_state;                                  /* the plug-in's: its cache of primitives */
    void (*plugin_close)(void *plugin_state);
} td_kernels;

/* What oneDNN's plug-in gives (td_plugin's table): its kernels, and its state for one context. */
typedef struct td_kernel_plugin {
    const td_kernel_row *const *families; /* ends with NULL */
    td_status (*open)(td_context *context, void **state);
    void (*close)(void *state);
    /* "oneDNN 2.6.3 avx2" into the caller's buffer. */
    void (*describe)(char *text, size_t bytes);
} td_kernel_plugin;

/* model/cpu/kernels.c: fill the context's slot, or only with reference kernels when TANDEM_KERNELS=reference.
 */
td_status cpu_kernels_open(td_context *context);

static inline td_kernels *td_kernels_of(td_context *context) { return context->slots[TD_SLOT_KERNELS]; }

#endif
