/* sign_code.h - RaBitQ (Gao & Long, SIGMOD 2024): a vector in one bit a channel and three numbers, and what they say of
 * its product with a query.
 *
 * r is a rotated vector (kac_rotation.h) less its centre, bits its signs, n = fv_rotated_dim of its length. With
 * s(q) = sum of +-q[i] by the bits, |r|^2 / sum|r[i]| * s(q) estimates r . q without bias over rotations. Its error is
 * at most e * |q| * sqrt(((|r|^2 / sum|r[i]|)^2 * n - |r|^2) / (n - 1)), but for the share of a normal distribution
 * that is beyond e standard deviations.
 *
 * Codes lie in blocks of 32, which a scan reads side by side: n / 4 groups of four channels, 16 bytes each, then
 * numbers of f32, [kind][32]. Byte 2i + h of a group holds vector i + 8h in its low nibble and vector i + 8h + 16 in
 * its high one; bit j of a nibble is channel 4 * group + j. */
#ifndef FV_SIGN_CODE_H
#define FV_SIGN_CODE_H

#include <stddef.h>
#include <stdint.h>

#define FV_BLOCK_CODES 32

/* Bytes of a block's codes, a multiple of 64; n a multiple of FV_ROTATED_ALIGN. */
static inline size_t fv_block_code_bytes(size_t n) { return n / 4 * 16; }

/* What the code of r says of r: r . q ~ product * s(q), give or take `spread` * |q| for one standard deviation. */
typedef struct fv_sign_code {
    float square;  /* |r|^2 */
    float product; /* |r|^2 / sum |r[i]|; 0 for r = 0 */
    float spread;  /* with what rounding of tables and sums adds */
} fv_sign_code;

/* Writes the bits of r [n] as number `lane` of a block. Sums are made in f64 in rising order: the same bits on every
 * machine. */
fv_sign_code fv_sign_code_put(size_t n, const float *r, size_t lane, uint8_t *block);

/* Copies the bits of number `from_lane` of a block to number `lane` of another. */
void fv_sign_code_copy(size_t n, const uint8_t *from, size_t from_lane, uint8_t *block, size_t lane);

/* Writes bits [n / 8], bit i % 8 of number i / 8 for channel i, as number `lane` of a block. */
void fv_sign_bits_put(size_t n, const uint8_t *bits, size_t lane, uint8_t *block);

/* s(q) in f64 of number `lane`: what a scan's sum of table entries approximates. */
double fv_sign_code_sum(size_t n, const float *q, size_t lane, const uint8_t *block);

#endif
