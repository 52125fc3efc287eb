/* level_code.h - RaBitQ with 2 to 8 bits a channel (Gao et al., SIGMOD 2025): a vector by the point of a grid that has
 * nearly its direction, and what that says of its product with a query.
 *
 * r is a rotated vector (kac_rotation.h) less its centre, n = fv_rotated_dim of its length. Its code has a level of 0
 * to 2^bits - 1 for each channel, u[i] = level - (2^bits - 1) / 2. |r|^2 / (r . u) * (u . q) estimates r . q without
 * bias over rotations; its error is at most e * |q| * sqrt(((|r|^2 / (r . u))^2 * |u|^2 - |r|^2) / (n - 1)), but for
 * the share of a normal distribution that is beyond e standard deviations: sign_code.h is this with one bit.
 *
 * A code is n / 64 groups of 8 * bits bytes: for each power of two w in `bits`, the greatest first, 8 * w bytes of
 * which bits w * t and on of byte j are w bits of channel 8 * w * t + j; the greatest power's are the lowest of a
 * level. */
#ifndef FV_LEVEL_CODE_H
#define FV_LEVEL_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FV_LEVEL_LEAST_BITS 2
#define FV_LEVEL_MOST_BITS 8

/* n a multiple of FV_ROTATED_ALIGN. */
static inline size_t fv_level_code_bytes(size_t n, size_t bits) { return n / 8 * bits; }

/* What the code of r says of r. */
typedef struct fv_level_code {
    float square;  /* |r|^2 */
    float size;    /* |u|^2 */
    float product; /* |r|^2 / (r . u): r . q ~ product * (u . q); 0 for r = 0 */
    float spread;  /* give or take spread * |q| for one standard deviation */
} fv_level_code;

/* Writes the code of r [n]. Sums are made in f64 in rising order: the same bits on every machine. */
fv_level_code fv_level_code_put(size_t n, size_t bits, const float *r, uint8_t *code);

/* u[i] * scale of all channels. */
void fv_level_code_get(size_t n, size_t bits, const uint8_t *code, float scale, float *out);

/* A rotated query in whole numbers, as fine as sums of 31 bits allow: q[i] ~ step * level[i]. */
typedef struct fv_query_levels {
    const int16_t *level; /* [n], the caller's */
    int32_t sum;          /* of all */
    float half_step;
} fv_query_levels;

fv_query_levels fv_query_levels_make(size_t n, const float *q, int16_t *level);

/* u . q of a query by the sum of its levels times those of a code (fv_scan_levels_fn). */
static inline float fv_level_product(const fv_query_levels *query, size_t bits, int32_t sum) {
    int64_t most = ((int64_t)1 << bits) - 1;
    return (float)(2 * (int64_t)sum - most * query->sum) * query->half_step;
}

#endif
