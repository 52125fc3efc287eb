/* merge.c - candidates wait in a heap; one that lost a partner meanwhile is recognised when it is served. */
#include "text/merge.h"
#include "platform/array.h"
#include <stdlib.h>

fv_status fv_merge_append(fv_merge *merge, int32_t id, uint32_t bytes) {
    fv_symbol *symbols = fv_array_reserve(merge->symbols, &merge->capacity, merge->count, 1, sizeof *symbols);
    if (!symbols) return FV_ERROR_MEMORY;
    merge->symbols = symbols;
    uint32_t index = (uint32_t)merge->count++;
    fv_symbol symbol = {.id = id, .bytes = bytes, .previous = FV_SYMBOL_NONE, .next = FV_SYMBOL_NONE};
    if (index > 0) {
        symbol.previous = index - 1;
        symbol.begin = symbols[index - 1].begin + symbols[index - 1].bytes;
        symbols[index - 1].next = index;
    }
    symbols[index] = symbol;
    return FV_OK;
}

static fv_status offer(fv_merge *merge, uint32_t left, uint32_t right, fv_merge_find *find, const void *rules) {
    if (left == FV_SYMBOL_NONE || right == FV_SYMBOL_NONE) return FV_OK;
    const fv_symbol *first = merge->symbols + left, *second = merge->symbols + right;
    uint32_t priority;
    fv_heap_item item = {.bytes = first->bytes + second->bytes, .right = right};
    if (!find(rules, first, second, &priority, &item.id)) return FV_OK;
    item.key = (uint64_t)priority << 32 | left;
    return fv_heap_push(&merge->heap, item);
}

/* Symbols only grow, and only to the right: if both are alive and as long as they were, they are the same. */
static bool is_current(const fv_merge *merge, const fv_heap_item *item, uint32_t left) {
    uint32_t left_bytes = merge->symbols[left].bytes, right_bytes = merge->symbols[item->right].bytes;
    return left_bytes > 0 && right_bytes > 0 && left_bytes + right_bytes == item->bytes;
}

static void join(fv_merge *merge, const fv_heap_item *item, uint32_t left) {
    fv_symbol *first = merge->symbols + left, *second = merge->symbols + item->right;
    first->id = item->id;
    first->bytes = item->bytes;
    first->next = second->next;
    second->bytes = 0;
    if (first->next != FV_SYMBOL_NONE) merge->symbols[first->next].previous = left;
}

fv_status fv_merge_run(fv_merge *merge, fv_merge_find *find, const void *rules) {
    fv_status status = FV_OK;
    merge->heap.count = 0;
    for (uint32_t i = 1; i < merge->count && status == FV_OK; i++) status = offer(merge, i - 1, i, find, rules);
    fv_heap_item item;
    while (status == FV_OK && fv_heap_pop(&merge->heap, &item)) {
        uint32_t left = (uint32_t)item.key;
        if (!is_current(merge, &item, left)) continue;
        join(merge, &item, left);
        status = offer(merge, merge->symbols[left].previous, left, find, rules);
        if (status == FV_OK) status = offer(merge, left, merge->symbols[left].next, find, rules);
    }
    return status;
}

void fv_merge_clear(fv_merge *merge) { merge->count = 0; }

void fv_merge_free(fv_merge *merge) {
    free(merge->symbols);
    fv_heap_free(&merge->heap);
    *merge = (fv_merge){0};
}
