/*
 * A small storage of the pool is one block: this header, then the bytes from the next 64-byte border on. A
 * large one has its bytes in a block of their own, which re-homing can give back. Wrapped memory is pointed
 * to.
 */
#include "base/memory.h"
#include "model/tensor/internal.h"

#include <string.h>

#define HEADER_BYTES ((sizeof(td_storage) + 63) / 64 * 64)
#define LARGE_BYTES  4096

td_storage *td_storage_new(td_pool *pool, size_t bytes) {
    if (bytes > SIZE_MAX / 4) {
        td_fail(TD_ERR_MEMORY, 0, "model", "no memory for %zu bytes", bytes);
        return NULL;
    }
    td_block *separate = NULL;
    if (bytes > LARGE_BYTES && !(separate = td_pool_take(pool, 64 + bytes))) return NULL;
    td_storage *storage = td_pool_take(pool, HEADER_BYTES + (separate ? 0 : bytes));
    if (!storage) {
        if (separate) td_pool_give(separate);
        return NULL;
    }
    atomic_init(&storage->refs, 1);
    storage->version = 0;
    storage->data = separate ? (char *)separate + 64 : (char *)storage + HEADER_BYTES;
    storage->bytes = bytes;
    storage->give_back = NULL;
    storage->memory = separate;
    storage->host = NULL;
    return storage;
}

td_status td_storage_wrap(void *data, size_t bytes, td_storage_free *give_back, void *cookie,
                          td_storage **storage) {
    td_storage *wrapped = td_alloc(sizeof *wrapped);
    if (!wrapped) return TD_ERR_MEMORY;
    *wrapped = (td_storage){.data = data, .bytes = bytes, .give_back = give_back, .memory = cookie};
    atomic_init(&wrapped->refs, 1);
    *storage = wrapped;
    return TD_OK;
}

td_storage *td_storage_retain(td_storage *storage) {
    atomic_fetch_add_explicit(&storage->refs, 1, memory_order_relaxed);
    return storage;
}

/* Give up where the bytes are now, but not the header. */
static void leave_memory(td_storage *storage) {
    if (storage->give_back)
        storage->give_back(storage->data, storage->bytes, storage->memory);
    else if (storage->memory)
        td_pool_give(storage->memory);
    storage->give_back = NULL;
    storage->memory = NULL;
    if (storage->host) td_storage_release(&storage->host);
}

void td_storage_unref(td_storage *storage) {
    if (!td_drop_reference(&storage->refs)) return;
    leave_memory(storage);
    if (storage->block.pool)
        td_pool_give(storage);
    else
        td_free(storage);
}

void td_storage_release(td_storage **storage) {
    if (*storage) td_storage_unref(*storage);
    *storage = NULL;
}

void *td_storage_data(const td_storage *storage) { return storage->data; }
size_t td_storage_bytes(const td_storage *storage) { return storage->bytes; }

static td_status move(td_storage *storage, td_storage *host, size_t offset, bool copies) {
    if (offset % 64 != 0)
        return td_fail(TD_ERR_ARG, 0, "model", "rehome: offset %zu is no multiple of 64", offset);
    if (offset > host->bytes || host->bytes - offset < storage->bytes)
        return td_fail(TD_ERR_ARG, 0, "model", "rehome: %zu bytes do not fit at offset %zu of %zu",
                       storage->bytes, offset, host->bytes);
    char *home = host->data + offset;
    td_storage_retain(host);
    if (storage->bytes && copies) memcpy(home, storage->data, storage->bytes);
    leave_memory(storage);
    storage->data = home;
    storage->host = host;
    return TD_OK;
}

td_status td_storage_rehome(td_storage *storage, td_storage *host, size_t offset) {
    return move(storage, host, offset, true);
}

td_status td_storage_adopt(td_storage *storage, td_storage *host, size_t offset) {
    return move(storage, host, offset, false);
}
