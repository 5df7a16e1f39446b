/*
 * Which kernels compute. Results of two runs can have the same bits only where they are the same. A plain function
 * of a context.
 */
#ifndef TANDEM_MODEL_OPS_KERNELS_H
#define TANDEM_MODEL_OPS_KERNELS_H

#include "base/status.h"

TD_BEGIN_DECLS

/* "avx2, oneDNN 2.6.3 avx2" into the caller's buffer, cut to fit: our own kernels' instruction set, then the library
 * that takes the heavy operations and its instruction set, where there is one. "reference": neither. Only the thread
 * that has the context may call. */
TD_API td_status td_kernels_describe(td_context *context, char *text, size_t bytes);

TD_END_DECLS

#endif
