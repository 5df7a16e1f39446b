/*
 * The caching allocator of a context: every tensor header, storage and node is a block of one of its size
 * classes, and a freed block waits in its class for the next of that size. Nothing goes back to the system
 * before td_pool_trim or the context's end. Internal to model/.
 */
#ifndef TANDEM_MODEL_TENSOR_POOL_H
#define TANDEM_MODEL_TENSOR_POOL_H

#include "model/tensor/storage.h"

typedef struct td_pool td_pool;

/* Begins every block. */
typedef struct td_block {
    td_pool *pool; /* where it goes back to */
    uint32_t size_class;
} td_block;

/* A pool for the context, which alone takes blocks; *yours* until td_pool_close. */
td_status td_pool_open(td_context *context, td_pool **pool);
/* Free what is cached. Blocks still out are freed when they come back, and the last takes the pool along. */
void td_pool_close(td_pool *pool);

/* A 64-byte aligned block of at least `bytes`, uninitialised behind its td_block. NULL after recording the
 * failure, which comes only when freeing the whole cache did not help. */
void *td_pool_take(td_pool *pool, size_t bytes);
/* From any thread. */
void td_pool_give(void *block);

td_memory_use td_pool_use(td_pool *pool);
void td_pool_trim(td_pool *pool);

#endif
