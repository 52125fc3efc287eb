/* array.c - see array.h. */
#include "platform/array.h"
#include "numeric/size.h"
#include "platform/pages.h"
#include <stdlib.h>
#include <string.h>

#define HUGE_BYTES ((size_t)2 << 20)
#define LINE_BYTES ((size_t)64)

void *fv_array_new(size_t count, size_t element_bytes) { return calloc(count ? count : 1, element_bytes); }

void *fv_array_new_huge(size_t count, size_t element_bytes) {
    size_t bytes = 0;
    if (!fv_size_add(&bytes, count ? count : 1, element_bytes, LINE_BYTES)) return NULL;
    void *array = NULL; /* aligned_alloc() wants a multiple of the alignment */
    if (posix_memalign(&array, bytes < HUGE_BYTES ? LINE_BYTES : HUGE_BYTES, bytes) != 0) return NULL;
    fv_pages_huge(array, bytes, bytes);
    return memset(array, 0, bytes);
}

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
