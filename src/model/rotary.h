/* rotary.h - rotary position embedding (Su et al. 2021): tables of cosines and sines, and the rotation. */
#ifndef FV_ROTARY_H
#define FV_ROTARY_H

#include <stddef.h>
#include <stdint.h>

/* sin and cos of x radians, 0 <= x < 2^23; absolute error < 2^-22. No libm, no double: runs on a chip as it is. Angles
 * from 2^31 on, infinity and NaN, which only a nonsensical file can ask for, count as 0. */
void fv_rope_sincos(float x, float *sine, float *cosine);

/* Per token: [pairs] cosines, then [pairs] sines, both times `magnitude`; angle = (float)position * frequency. */
void fv_rope_table(uint32_t first_position, uint32_t tokens, uint32_t pairs, const float *frequencies, float magnitude,
                   float *table);

/* Rotates the first 2 * pairs elements of a head in place. `halves`: elements i and i + pairs; else 2i and 2i + 1. */
void fv_rope_apply(uint32_t pairs, int halves, const float *table, float *x);

#endif
