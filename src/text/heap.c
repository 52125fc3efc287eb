/* heap.c - see heap.h. */
#include "text/heap.h"
#include "platform/array.h"
#include <stdlib.h>

fv_status fv_heap_push(fv_heap *heap, fv_heap_item item) {
    fv_heap_item *items = fv_array_reserve(heap->items, &heap->capacity, heap->count, 1, sizeof *items);
    if (!items) return FV_ERROR_MEMORY;
    heap->items = items;
    size_t hole = heap->count++;
    while (hole > 0 && heap->items[(hole - 1) / 2].key > item.key) {
        heap->items[hole] = heap->items[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    heap->items[hole] = item;
    return FV_OK;
}

bool fv_heap_pop(fv_heap *heap, fv_heap_item *item) {
    if (heap->count == 0) return false;
    *item = heap->items[0];
    fv_heap_item last = heap->items[--heap->count];
    size_t hole = 0;
    for (size_t child = 1; child < heap->count; child = 2 * hole + 1) {
        if (child + 1 < heap->count && heap->items[child + 1].key < heap->items[child].key) child++;
        if (last.key <= heap->items[child].key) break;
        heap->items[hole] = heap->items[child];
        hole = child;
    }
    heap->items[hole] = last;
    return true;
}

void fv_heap_free(fv_heap *heap) {
    free(heap->items);
    *heap = (fv_heap){0};
}
