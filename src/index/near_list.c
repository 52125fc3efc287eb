/* near_list.c - a heap of bounded size, or a list that grows. */
#include "index/near_list.h"
#include "platform/array.h"
#include <math.h>
#include <stdlib.h>

static bool is_worse(const fv_near *a, const fv_near *b) {
    return a->distance > b->distance || (a->distance == b->distance && a->label > b->label);
}

static void sink(fv_near *heap, size_t count, size_t i) {
    fv_near moved = heap[i];
    for (size_t child = 2 * i + 1; child < count; child = 2 * i + 1) {
        if (child + 1 < count && is_worse(heap + child + 1, heap + child)) child++;
        if (!is_worse(heap + child, &moved)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

float fv_near_limit(const fv_near_list *list) {
    bool is_full = list->most > 0 && list->count == list->most;
    return nextafterf(is_full ? list->entries[0].distance : list->radius, INFINITY);
}

static void append(fv_near_list *list, const fv_near *entry) {
    if (list->most == SIZE_MAX) {
        fv_near *grown = fv_array_reserve(list->entries, &list->capacity, list->count, 1, sizeof *grown);
        list->has_failed |= !grown;
        if (!grown) return;
        list->entries = grown;
    }
    list->entries[list->count++] = *entry;
    if (list->count < list->most) return;
    for (size_t i = list->count / 2; i-- > 0;) sink(list->entries, list->count, i);
}

void fv_near_offer(fv_near_list *list, float distance, uint64_t label) {
    fv_near entry = {distance, label};
    if (!(distance <= list->radius) || list->most == 0 || list->has_failed) return;
    if (list->count < list->most) {
        append(list, &entry);
    } else if (is_worse(list->entries, &entry)) {
        list->entries[0] = entry;
        sink(list->entries, list->count, 0);
    }
}

static int by_distance(const void *a, const void *b) { return is_worse(a, b) ? 1 : is_worse(b, a) ? -1 : 0; }

void fv_near_sort(fv_near_list *list) {
    if (list->count) qsort(list->entries, list->count, sizeof *list->entries, by_distance);
}
