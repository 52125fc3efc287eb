/* unpack.h - weight blocks to plain unsigned integers with a scale and an offset per group: what the integer product
 * wants. */
#ifndef FV_UNPACK_H
#define FV_UNPACK_H

#include "build.h"
#include <stddef.h>
#include <stdint.h>

/* X(NAME, name, values per group, largest quant): every quantised type of FV_WEIGHT_LIST but IQ2_XS and IQ2_S, whose
 * groups of 16 are too large for kernels.h. */
#define FV_UNPACK_PLAIN_LIST(X) \
    X(Q4_0, q4_0, 32, 15) \
    X(Q4_1, q4_1, 32, 15) \
    X(Q5_0, q5_0, 32, 31) \
    X(Q5_1, q5_1, 32, 31) \
    X(Q8_0, q8_0, 32, 255) \
    X(Q2_K, q2_k, 16, 3) \
    X(Q3_K, q3_k, 16, 7) \
    X(Q4_K, q4_k, 32, 15) \
    X(Q5_K, q5_k, 32, 31) \
    X(Q6_K, q6_k, 16, 63) \
    X(IQ4_NL, iq4_nl, 32, 255)

#define FV_UNPACK_GRID_LIST(X) \
    X(IQ2_XXS, iq2_xxs, 32, 86) \
    X(IQ3_XXS, iq3_xxs, 32, 124) \
    X(IQ3_S, iq3_s, 32, 30) \
    X(IQ4_XS, iq4_xs, 32, 241) \
    X(MXFP4, mxfp4, 32, 24)

#if FV_BUILD_GRIDS
#define FV_UNPACK_LIST(X) FV_UNPACK_PLAIN_LIST(X) FV_UNPACK_GRID_LIST(X)
#else
#define FV_UNPACK_LIST(X) FV_UNPACK_PLAIN_LIST(X)
#endif

/* value[i] = scale[g] * quants[i] + offset[g], g = i / group, in natural order: equal to dequant's value but for the
 * roundings of this formula (none for finite scales where the type has no minimum of its own).
 * values  a multiple of the type's values per block; 0 is allowed.
 * blocks  any alignment.  quants [values], scale, offset [values / group]; no overlap.
 * Signed types are shifted up and offset says so: Q4_0 by 8, Q5_0 by 16, Q3_K by 4, Q6_K by 32, Q8_0, IQ4_NL and IQ4_XS
 * by 128, the other types of a grid by their largest magnitude.
 */
typedef void fv_unpack_fn(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset);

#define FV_UNPACK_DECLARE(NAME, name, group, largest) fv_unpack_fn fv_unpack_##name##_scalar;
FV_UNPACK_LIST(FV_UNPACK_DECLARE)
#undef FV_UNPACK_DECLARE

#endif
