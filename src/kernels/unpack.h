/* unpack.h - weight blocks to plain unsigned integers with a scale and an offset per group: what the integer product
 * wants. */
#ifndef FV_UNPACK_H
#define FV_UNPACK_H

#include <stddef.h>
#include <stdint.h>

/* X(NAME, name, values per group, largest quant): every quantised type of FV_WEIGHT_LIST. */
#define FV_UNPACK_LIST(X) \
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

/* value[i] = scale[g] * quants[i] + offset[g], g = i / group, in natural order: equal to dequant's value but for the
 * roundings of this formula (none for finite scales where the type has no minimum of its own).
 * values  a multiple of the type's values per block; 0 is allowed.
 * blocks  any alignment.  quants [values], scale, offset [values / group]; no overlap.
 * Signed types are shifted up and offset says so: Q4_0 by 8, Q5_0 by 16, Q3_K by 4, Q6_K by 32, Q8_0 and IQ4_NL by 128.
 */
typedef void fv_unpack_fn(size_t values, const void *blocks, uint8_t *quants, float *scale, float *offset);

#define FV_UNPACK_DECLARE(NAME, name, group, largest) fv_unpack_fn fv_unpack_##name##_scalar;
FV_UNPACK_LIST(FV_UNPACK_DECLARE)
#undef FV_UNPACK_DECLARE

#endif
