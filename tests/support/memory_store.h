/* memory_store.h - a store for saved caches in memory that never fails. */
#ifndef FV_TEST_MEMORY_STORE_H
#define FV_TEST_MEMORY_STORE_H

#include "fovea/cache.h"
#include <stdlib.h>
#include <string.h>

typedef struct memory_store {
    unsigned char *bytes;
    uint64_t count;
} memory_store;

static inline fv_status memory_store_read(void *context, uint64_t offset, void *bytes, size_t count) {
    memcpy(bytes, ((memory_store *)context)->bytes + offset, count);
    return FV_OK;
}

static inline fv_status memory_store_write(void *context, uint64_t offset, const void *bytes, size_t count) {
    memcpy(((memory_store *)context)->bytes + offset, bytes, count);
    return FV_OK;
}

/* Saves one cache and restores the other from it. */
static inline fv_status memory_store_move(const fv_cache *from, fv_cache *into) {
    memory_store memory = {0};
    fv_status status = fv_cache_save_size(fv_cache_shape(from), &memory.count);
    if (status != FV_OK) return status;
    memory.bytes = calloc(memory.count + 256, 1);
    if (!memory.bytes) return FV_ERROR_MEMORY;
    fv_store store = {.context = &memory, .read = memory_store_read, .write = memory_store_write};
    status = fv_cache_save(from, &store, NULL);
    if (status == FV_OK) status = fv_cache_restore(into, &store, NULL);
    free(memory.bytes);
    return status;
}

#endif
