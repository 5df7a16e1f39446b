/*
 * The caching allocator of a context: every tensor header, storage and node is a block of one of its size
 * classes, and a freed block waits in its class for the next of that size; a large one serves down to a quarter
 * of its size too. Nothing goes back to the system before td_pool_trim or the context's end. Internal to model/.
 */
#ifndef TANDEM_MODEL_TENSOR_POOL_H
#define TANDEM_MODEL_TENSOR_POOL_H

#include "base/internal.h"
#include "model/tensor/storage.h"

#include <pthread.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes)   ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

/* Multiples of 64 bytes up to 1 KiB, then four classes a doubling up to 2^47 bytes. */
#define TD_POOL_SMALL_CLASSES 16
#define TD_POOL_CLASSES       (TD_POOL_SMALL_CLASSES + 4 * 37)

typedef struct td_pool td_pool;

/* Begins every block. */
typedef struct td_block {
    td_pool *pool; /* where it goes back to */
    uint32_t size_class;
} td_block;

/* What a block is while it is cached; the rest of it is poisoned for the address sanitizer. */
typedef struct td_free_block {
    td_block block;
    struct td_free_block *next;
} td_free_block;

struct td_pool {
    td_free_block *bins[TD_POOL_CLASSES];
    td_context *context;
    size_t used, peak, cached; /* bytes */
    int64_t out;               /* blocks taken and not yet back */

    pthread_mutex_t lock;    /* what follows is shared with threads that give blocks back */
    td_free_block *returned; /* by other threads, not yet sorted into bins */
    bool closed;
};

/* A pool for the context, which alone takes blocks; *yours* until td_pool_close. */
td_status td_pool_open(td_context *context, td_pool **pool);
/* Free what is cached. Blocks still out are freed when they come back, and the last takes the pool along. */
void td_pool_close(td_pool *pool);

/* The class for a size, and the size of a class. */
uint32_t td_pool_class(size_t bytes);
static inline size_t td_pool_class_bytes(uint32_t size_class) {
    if (size_class < TD_POOL_SMALL_CLASSES) return ((size_t)size_class + 1) * 64;
    uint32_t step = size_class - TD_POOL_SMALL_CLASSES;
    return (size_t)(5 + step % 4) << (8 + step / 4); /* 1280, 1536, 1792, 2048, 2560, ... */
}

/* A block for a class whose bin is empty: given back by other threads, a larger cached one, or new from the
 * system; NULL after recording the failure, which comes only when freeing the whole cache did not help. */
void *td_pool_refill(td_pool *pool, uint32_t size_class);
void td_pool_give_back(void *block); /* a block whose pool is not the thread's */
void td_pool_trim(td_pool *pool);

/* A 64-byte aligned block of at least `bytes`, uninitialised behind its td_block, or NULL. */
static inline void *td_pool_take(td_pool *pool, size_t bytes) {
    uint32_t size_class = bytes <= 1024 ? (uint32_t)((bytes + 63) / 64) - 1 : td_pool_class(bytes);
    td_free_block *block = pool->bins[size_class];
    if (__builtin_expect(!block, 0)) {
        if (!(block = td_pool_refill(pool, size_class))) return NULL;
    } else {
        size_t whole = td_pool_class_bytes(size_class);
        ASAN_UNPOISON_MEMORY_REGION(block, whole);
        pool->bins[size_class] = block->next;
        pool->cached -= whole;
        pool->used += whole;
    }
    if (pool->used > pool->peak) pool->peak = pool->used;
    pool->out++;
    return block;
}

/* From any thread. */
static inline void td_pool_give(void *address) {
    td_free_block *block = address;
    td_pool *pool = block->block.pool;
    td_context *context = td_context_of_thread;
    if (__builtin_expect(!context || context->slots[TD_SLOT_ALLOCATOR] != pool, 0)) {
        td_pool_give_back(block);
        return;
    }
    uint32_t size_class = block->block.size_class;
    size_t whole = td_pool_class_bytes(size_class);
    block->next = pool->bins[size_class];
    pool->bins[size_class] = block;
    pool->used -= whole;
    pool->cached += whole;
    pool->out--;
    ASAN_POISON_MEMORY_REGION(block + 1, whole - sizeof *block);
}

#endif
