/* heap.h - a growing binary min-heap of 64-bit keys, for the tokenizer's two "best first" loops.
 * The low half of a key is a place in the text, so that equal priorities are served from left to right. */
#ifndef FV_HEAP_H
#define FV_HEAP_H

#include "fovea/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fv_heap_item {
    uint64_t key;   /* priority << 32 | place; smallest first */
    uint32_t bytes; /* of text that the item covers */
    uint32_t right; /* the caller's: second place */
    int32_t id;     /* the caller's: what the item would become */
} fv_heap_item;

/* Start from {0}. */
typedef struct fv_heap {
    fv_heap_item *items;
    size_t count, capacity;
} fv_heap;

/* FV_OK or FV_ERROR_MEMORY. O(log n). */
fv_status fv_heap_push(fv_heap *heap, fv_heap_item item);

/* False if empty. O(log n). */
bool fv_heap_pop(fv_heap *heap, fv_heap_item *item);

void fv_heap_free(fv_heap *heap);

#endif
