/*
 * Size classes, refilling, and the way back for blocks of other threads. The thread that has the context
 * takes and gives without locks; others hang their blocks on a list that the owner sorts in when a bin runs
 * dry.
 */
#include "model/tensor/pool.h"

#include "base/memory.h"

/* Of 64 KiB: from here on an empty class borrows from larger ones. */
enum { LEAST_SHARED_CLASS = TD_POOL_SMALL_CLASSES + 4 * (16 - 10) };

td_status td_pool_open(td_context *context, td_pool **pool) {
    td_pool *opened = td_calloc(1, sizeof *opened);
    if (!opened) return TD_ERR_MEMORY;
    opened->context = context;
    pthread_mutex_init(&opened->lock, NULL);
    *pool = opened;
    return TD_OK;
}

uint32_t td_pool_class(size_t bytes) {
    if (bytes <= 1024) return bytes ? (uint32_t)((bytes + 63) / 64) - 1 : 0;
    /* 2^k < bytes <= 2^(k+1), in quarters: k is at least 10. */
    uint32_t k = 63 - (uint32_t)__builtin_clzll(bytes - 1);
    uint32_t quarter = (uint32_t)((bytes - 1) >> (k - 2)) & 3;
    return TD_POOL_SMALL_CLASSES + 4 * (k - 10) + quarter;
}

/* Sort what other threads gave back into the bins. The lock is held. */
static void sort_returned(td_pool *pool) {
    while (pool->returned) {
        td_free_block *block = pool->returned;
        size_t whole = td_pool_class_bytes(block->block.size_class);
        pool->returned = block->next;
        block->next = pool->bins[block->block.size_class];
        pool->bins[block->block.size_class] = block;
        pool->used -= whole;
        pool->cached += whole;
        pool->out--;
    }
}

static void free_block(td_free_block *block) {
    ASAN_UNPOISON_MEMORY_REGION(block, td_pool_class_bytes(block->block.size_class));
    td_free(block);
}

static void free_cached(td_pool *pool) {
    for (size_t i = 0; i < TD_POOL_CLASSES; i++)
        while (pool->bins[i]) {
            td_free_block *block = pool->bins[i];
            pool->bins[i] = block->next;
            free_block(block);
        }
    pool->cached = 0;
}

void td_pool_trim(td_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    sort_returned(pool);
    pthread_mutex_unlock(&pool->lock);
    free_cached(pool);
}

/* A cached block of the class, or of one up to four times as large when small change does not matter: the last
 * batch of an epoch is shorter than the others, and lives in their memory. */
static td_free_block *take_cached(td_pool *pool, uint32_t size_class) {
    uint32_t last = size_class < LEAST_SHARED_CLASS ? size_class : size_class + 8;
    for (uint32_t c = size_class; c <= last && c < TD_POOL_CLASSES; c++) {
        td_free_block *block = pool->bins[c];
        if (!block) continue;
        ASAN_UNPOISON_MEMORY_REGION(block, td_pool_class_bytes(c));
        pool->bins[c] = block->next;
        pool->cached -= td_pool_class_bytes(c);
        return block;
    }
    return NULL;
}

void *td_pool_refill(td_pool *pool, uint32_t size_class) {
    pthread_mutex_lock(&pool->lock);
    sort_returned(pool);
    pthread_mutex_unlock(&pool->lock);
    td_free_block *block = take_cached(pool, size_class);
    if (!block) {
        size_t whole = td_pool_class_bytes(size_class);
        if (size_class < TD_POOL_CLASSES) block = td_alloc_aligned(whole);
        if (!block && pool->cached) {
            free_cached(pool);
            block = td_alloc_aligned(whole);
        }
        if (!block) return NULL;
        block->block = (td_block){pool, size_class};
    }
    pool->used += td_pool_class_bytes(block->block.size_class);
    return block;
}

void td_pool_give_back(void *address) {
    td_free_block *block = address;
    td_pool *pool = block->block.pool;
    pthread_mutex_lock(&pool->lock);
    bool closed = pool->closed;
    bool last = closed && --pool->out == 0;
    if (!closed) {
        block->next = pool->returned;
        pool->returned = block;
    }
    pthread_mutex_unlock(&pool->lock);
    if (closed) td_free(block);
    if (last) {
        pthread_mutex_destroy(&pool->lock);
        td_free(pool);
    }
}

void td_pool_close(td_pool *pool) {
    pool->context->slots[TD_SLOT_ALLOCATOR] = NULL;
    pthread_mutex_lock(&pool->lock);
    sort_returned(pool);
    free_cached(pool);
    pool->closed = true;
    bool last = pool->out == 0;
    pthread_mutex_unlock(&pool->lock);
    if (last) {
        pthread_mutex_destroy(&pool->lock);
        td_free(pool);
    }
}

td_memory_use td_memory_used(td_context *context) {
    td_pool *pool = context->slots[TD_SLOT_ALLOCATOR];
    return pool ? (td_memory_use){pool->used, pool->peak, pool->cached} : (td_memory_use){0};
}

void td_memory_trim(td_context *context) {
    if (context->slots[TD_SLOT_ALLOCATOR]) td_pool_trim(context->slots[TD_SLOT_ALLOCATOR]);
}
