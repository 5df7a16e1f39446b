/*
 * Host memory for the library's own objects. Out of memory is a normal return: each function gives NULL and
 * has already recorded the failure. Tests make the k-th allocation fail. Tensors' bytes come from the
 * context's caching allocator instead (model/tensor/storage.h). Any thread may call.
 */
#ifndef TANDEM_BASE_MEMORY_H
#define TANDEM_BASE_MEMORY_H

#include "base/status.h"

TD_BEGIN_DECLS

/* Uninitialised and zeroed memory, *yours*; give it back with td_free. `count * size` is checked. NULL with
 * TD_ERR_MEMORY recorded when there is none. A size of 0 gives a valid pointer. */
TD_API void *td_alloc(size_t bytes);
TD_API void *td_calloc(size_t count, size_t size);
/* Resize; on failure the old block is untouched and stays yours. */
TD_API void *td_realloc(void *block, size_t count, size_t size);
/* 64-byte aligned with 64 bytes of tail padding, uninitialised; give it back with td_free. */
TD_API void *td_alloc_aligned(size_t bytes);
TD_API char *td_strdup(const char *text);
TD_API void td_free(void *block); /* NULL is fine */

/* Let the next `successes` allocations of this process succeed and the one after fail, once; then all
 * succeed again. Negative: never fail (the default). For tests. */
TD_API void td_alloc_fail_after(long successes);

TD_END_DECLS

#endif
