/*
 * Storages: the bytes behind tensors. Tensors' own storages come from their context's caching allocator,
 * 64-byte aligned and with 64 bytes of tail padding; memory of other origin (a shared arena, a mapped file)
 * is wrapped, with a callback that gives it back. Central object: td_storage, counted references; the tensors
 * over it hold one each. Reference counts are atomic: retain and release from any thread.
 */
#ifndef TANDEM_MODEL_TENSOR_STORAGE_H
#define TANDEM_MODEL_TENSOR_STORAGE_H

#include "base/dtype.h"

TD_BEGIN_DECLS

/* Gives wrapped memory back, once, from the thread that drops the last reference. */
typedef void td_storage_free(void *data, size_t bytes, void *cookie);

/* Wrap `bytes` at `data`, *lent* until `give_back` is called (NULL: nobody needs to know). The address must
 * be a multiple of the element size of every tensor over it. *Yours*: one reference. TD_ERR_MEMORY. */
TD_API td_status td_storage_wrap(void *data, size_t bytes, td_storage_free *give_back, void *cookie,
                                 td_storage **storage);

TD_API td_storage *td_storage_retain(td_storage *storage);
/* Drops a reference and sets *storage to NULL; NULL inside is fine. */
TD_API void td_storage_release(td_storage **storage);

TD_API void *td_storage_data(const td_storage *storage);
TD_API size_t td_storage_bytes(const td_storage *storage);

/* Move a storage's bytes to `offset` of `host`: every tensor over it now lies there, with its version and
 * views. The old memory is given back and `host` is kept. TD_ERR_ARG when it does not fit or the offset is no
 * multiple of 64. This is how parameters and gradients come to lie in a bucket. */
TD_API td_status td_storage_rehome(td_storage *storage, td_storage *host, size_t offset);

/* Bytes of tensors now alive in a context, the most there ever were, and those held for reuse. */
typedef struct td_memory_use {
    size_t used, peak, cached;
} td_memory_use;
TD_API td_memory_use td_memory_used(td_context *context);

/* Give all cached blocks back to the system. Between steps, never needed inside one. */
TD_API void td_memory_trim(td_context *context);

TD_END_DECLS

#endif
