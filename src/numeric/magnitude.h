/* magnitude.h - how large the numbers of an array are, by their bits: a magnitude's bits grow with it, then come
 * infinity, 0x7F800000, and NaN. */
#ifndef FV_MAGNITUDE_H
#define FV_MAGNITUDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FV_BITS_INFINITE 0x7F800000u

/* Whether there is no x[i], i < n, with first <= bits of |x[i]| < end. end <= 2^31. O(n), quickest where nothing is
 * `first` or above. */
bool fv_none_within(size_t n, const float *x, uint32_t first, uint32_t end);

#endif
