/* scan_kernels.h - the loops of the index that instruction sets have twins of, and the one list of them. All are exact
 * twins: integers, or f32 in single operations (no fused ones) of the order written here. Hosted: chips have none of
 * this in their table of kernels. */
#ifndef FV_SCAN_KERNELS_H
#define FV_SCAN_KERNELS_H

#include "fovea/isa.h"
#include <stddef.h>
#include <stdint.h>

#ifndef FV_BUILD_AVX2 /* the compiler's command line defines what is in the build */
#define FV_BUILD_AVX2 0
#endif
#ifndef FV_BUILD_AVX512
#define FV_BUILD_AVX512 0
#endif
#ifndef FV_BUILD_NEON
#define FV_BUILD_NEON 0
#endif

/* Sums of 32 codes (sign_code.h): sum[t] = sum over group of table[group][nibble of vector t].
 * codes, table [groups][16]; groups a multiple of 16, at most 2^20; any alignment. */
typedef void fv_scan_sums_fn(size_t groups, const uint8_t *codes, const uint8_t *table, uint32_t *sum);

/* A query's side of an estimate. */
typedef struct fv_scan_query {
    int32_t zero; /* the sum that stands for 0 */
    float step;   /* of sums */
    float weight; /* of `add` */
    float base;
    float spread;
} fv_scan_query;

/* factors [3][32]: add, scale, error, 4-byte aligned.  x[t] = (float)((int32_t)sum[t] - zero) * step
 *   low[t] = ((add[t] * weight + base) + scale[t] * x[t]) - error[t] * spread
 * Bit t of the result: low[t] < limit. */
typedef uint32_t fv_scan_bounds_fn(const float *factors, const uint32_t *sum, const fv_scan_query *query, float limit,
                                   float *low);

/* factors [2][32]: add, scale.  near[t] = (add[t] + base) + scale[t] * x[t]; weight and spread are not looked at. Bit t
 * of the result: near[t] < limit. */
typedef uint32_t fv_scan_estimates_fn(const float *factors, const uint32_t *sum, const fv_scan_query *query,
                                      float limit, float *near);

/* Bids the processor to fetch bytes that are read soon. No effect on any result; they need not be readable. */
typedef void fv_scan_fetch_fn(const void *bytes, size_t count);

/* What makes a code (sign_code.h) of r = other - self. Sums over lanes, as of pairs below. */
typedef struct fv_scan_code {
    float square; /* of r[i]^2 */
    float size;   /* of |r[i]| */
    float known;  /* of self[i] where r[i] > 0, -self[i] elsewhere */
} fv_scan_code;

/* self, other [n]; n a multiple of 64. Bit i % 8 of bits[i / 8]: r[i] > 0. */
typedef void fv_scan_code_fn(size_t n, const float *self, const float *other, uint8_t *bits, fv_scan_code *code);

/* Sums over i < n of (x[i] - y[i])^2, and of x[i] * y[i]: 32 lanes, of which lane l takes i = l, l + 32, ... in rising
 * order; then lanes l and l + 16 are added, l and l + 8, and so on. */
typedef float fv_scan_pair_fn(size_t n, const float *x, const float *y);

/* The same sums where y, or both, are f16 or bf16, each made f32 first. */
typedef float fv_scan_half_fn(size_t n, const float *x, const uint16_t *y);
typedef float fv_scan_halves_fn(size_t n, const uint16_t *x, const uint16_t *y);

/* Sum over i < n of code[i] * level[i] (level_code.h). code of `bits` 2..8, n a multiple of 64; no sum of some of the
 * |255 * level[i]| is above 2^31 - 1. */
typedef int32_t fv_scan_levels_fn(size_t n, size_t bits, const uint8_t *code, const int16_t *level);

/* Sum over i < n of (2 * x[i] - m) * (2 * y[i] - m), m = 2^bits - 1: of two codes; n a multiple of 64, at most
 * FV_SCAN_CODES_MOST. */
#define FV_SCAN_CODES_MOST 32768
typedef int32_t fv_scan_codes_fn(size_t n, size_t bits, const uint8_t *x, const uint8_t *y);

#define FV_SCAN_LIST(K, set) \
    K(scan_sums, fv_scan_sums_fn, set) \
    K(scan_bounds, fv_scan_bounds_fn, set) \
    K(scan_estimates, fv_scan_estimates_fn, set) \
    K(scan_fetch, fv_scan_fetch_fn, set) \
    K(scan_code, fv_scan_code_fn, set) \
    K(scan_distance, fv_scan_pair_fn, set) \
    K(scan_product, fv_scan_pair_fn, set) \
    K(scan_distance_f16, fv_scan_half_fn, set) \
    K(scan_product_f16, fv_scan_half_fn, set) \
    K(scan_distance_bf16, fv_scan_half_fn, set) \
    K(scan_product_bf16, fv_scan_half_fn, set) \
    K(scan_distance_f16_f16, fv_scan_halves_fn, set) \
    K(scan_distance_bf16_bf16, fv_scan_halves_fn, set) \
    K(scan_levels, fv_scan_levels_fn, set) \
    K(scan_codes, fv_scan_codes_fn, set)

#define FV_SCAN_SLOT(name, type, set) type *name;
typedef struct fv_scan_kernels {
    fv_isa isa;
    FV_SCAN_LIST(FV_SCAN_SLOT, )
} fv_scan_kernels;
#undef FV_SCAN_SLOT

#define FV_SCAN_DECLARE(name, type, set) type fv_##name##_##set;
FV_SCAN_LIST(FV_SCAN_DECLARE, scalar)
FV_SCAN_LIST(FV_SCAN_DECLARE, avx2)
FV_SCAN_LIST(FV_SCAN_DECLARE, avx512)
FV_SCAN_LIST(FV_SCAN_DECLARE, neon)
#undef FV_SCAN_DECLARE

/* The best table for processors of that level that the build has; constant. `isa` says which it is. */
const fv_scan_kernels *fv_scan_kernels_of(fv_isa isa);

#endif
