/* codes.h - vectors in 2 bits a channel, sixteen side by side: x ~ step * (code - 1.5). For vectors that were rotated
 * (fv_rotate_page_fn), so that no channel stands out. Method: random rotation and one step a vector as in RaBitQ (Gao &
 * Long 2024) and TurboQuant (Zandieh et al. 2025). Every number is one chain of f32 operations in a fixed order: the
 * same bits on every machine. */
#ifndef FV_CODES_H
#define FV_CODES_H

#include <stddef.h>
#include <stdint.h>

#define FV_CODES_LANES 16 /* vectors side by side */

/* Channels with padding. */
static inline size_t fv_codes_dim(size_t dim) { return (dim + 15) / 16 * 16; }

/* Codes of vectors x [dim][16]: code [dim][16], 0..3, and step [16], bf16, 0..2^100. A level is one step apart from the
 * next; the outer ones are for what is larger than the root mean square; the step then minimises the squared error.
 * O(dim). */
void fv_codes_make(size_t dim, const float *x, uint8_t *code, uint16_t *step);

/* Codes to planes of bits, code = 2 * sign + size: signs and sizes [fv_codes_dim(dim) / 16][2][16 vectors], of which
 * bits 0..3 of byte (j, l, t) are channels 16j + 4l + 0..3 of vector t, bits 4..7 channels 16j + 8 + 4l + 0..3. A
 * channel that is padding has bits 0. */
void fv_codes_pack(size_t dim, const uint8_t *code, uint8_t *signs, uint8_t *sizes);

/* Vector `lane` back, [dim]. */
void fv_codes_read(size_t dim, const uint8_t *signs, const uint8_t *sizes, uint16_t step, uint32_t lane, float *out);

/* Sixteen vectors as fv_tail_sum_fn reads them: [fv_codes_dim(dim) / 16][2][16 channels][2] bytes, of which bits 2m,
 * 2m + 1 of byte (j, h, i, p) are the code of channel 16j + i of vector 8h + 2m + p. */
void fv_codes_pack_for_sums(size_t dim, const uint8_t *code, uint8_t *out);
void fv_codes_read_for_sums(size_t dim, const uint8_t *codes, uint16_t step, uint32_t lane, float *out);

#endif
