/* array.h - every allocation of GGUF files and tokenizers: arrays whose sizes come from outside, overflow-checked.
 * Kept in one file so that a test can make the n-th allocation fail. Drop the arrays with free(). */
#ifndef FV_ARRAY_H
#define FV_ARRAY_H

#include <stddef.h>

/* `count` zeroed elements (one if count is 0); NULL if they cannot be had. */
void *fv_array_new(size_t count, size_t element_bytes);

/* The same at a multiple of 64 bytes, in huge pages where the system gives them. */
void *fv_array_new_huge(size_t count, size_t element_bytes);

/* `array` (NULL: a new one) with room for `more` elements after the `count` in use, and *capacity accordingly;
 * NULL if they cannot be had: `array` and *capacity are then as before. Amortised O(1) per element. */
void *fv_array_reserve(void *array, size_t *capacity, size_t count, size_t more, size_t element_bytes);

#endif
