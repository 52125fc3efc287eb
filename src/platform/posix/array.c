/* array.c - see array.h. */
#include "platform/array.h"
#include "numeric/size.h"
#include <stdlib.h>

void *fv_array_new(size_t count, size_t element_bytes) { return calloc(count ? count : 1, element_bytes); }

void *fv_array_reserve(void *array, size_t *capacity, size_t count, size_t more, size_t element_bytes) {
    if (array && more <= *capacity - count) return array;
    if (more > SIZE_MAX - count) return NULL;
    size_t wanted = count + more, doubled = *capacity > SIZE_MAX / 2 ? SIZE_MAX : *capacity * 2, bytes = 0;
    if (wanted < 64) wanted = 64;
    if (wanted < doubled) wanted = doubled;
    if (!fv_size_add(&bytes, wanted, element_bytes, 1)) return NULL;
    void *grown = realloc(array, bytes);
    if (grown) *capacity = wanted;
    return grown;
}
