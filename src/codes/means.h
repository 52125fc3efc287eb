/* means.h - vectors in 7 bits a channel with a step each, for products with queries in 8 bits: panels of sixteen,
 * [panels][fv_codes_dim(dim) / 4][16 vectors][4], of which byte (j, p, i) is 64 + channel 4j + i of vector p in units
 * of its step. What is padding is 64. */
#ifndef FV_MEANS_H
#define FV_MEANS_H

#include "codes/codes.h"

/* Channel c of vector number n; dim with padding. */
static inline size_t fv_mean_place(size_t dim, uint32_t n, size_t c) {
    return n / FV_CODES_LANES * dim * FV_CODES_LANES + (c / 4 * FV_CODES_LANES + n % FV_CODES_LANES) * 4 + c % 4;
}

/* Writes x [dim] as vector number n; returns its step, 0 if x is not finite. */
float fv_mean_put(size_t dim, const float *x, uint32_t n, uint8_t *codes);

/* Vector number n back, [dim]; dim is without padding here. */
void fv_mean_read(size_t dim, const uint8_t *codes, const float *steps, uint32_t n, float *out);

/* One channel of it; dim with padding. */
static inline float fv_mean_value(size_t dim, const uint8_t *codes, const float *steps, uint32_t n, size_t c) {
    return (float)((int32_t)codes[fv_mean_place(dim, n, c)] - 64) * steps[n];
}

#endif
