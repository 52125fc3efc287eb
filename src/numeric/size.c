/* Where the parts of a layout begin. */
#include "numeric/size.h"

size_t fv_size_reserve(size_t *total, size_t count, size_t size) {
    size_t begin = *total;
    if (!fv_size_add(total, count, size, 64)) *total = SIZE_MAX;
    return begin;
}
