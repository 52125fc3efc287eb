/* half.h - f16 and bf16 to and from f32 by bit arithmetic: exact, no libm, same bits on every processor (and the bits
 * of F16C and of Arm's conversions, quiet NaN included). A union shows a value's bits: C11 defines it, g++ and clang++
 * do. */
#ifndef FV_HALF_H
#define FV_HALF_H

#include <stdint.h>

static inline float fv_f32_from_bits(uint32_t bits) {
    union {
        uint32_t bits;
        float value;
    } pun = {.bits = bits};
    return pun.value;
}

static inline uint32_t fv_bits_from_f32(float value) {
    union {
        float value;
        uint32_t bits;
    } pun = {.value = value};
    return pun.bits;
}

/* Exact; a signalling NaN becomes quiet. */
static inline float fv_f32_from_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7FFF;
    if (magnitude - 0x400u < 0x7800) return fv_f32_from_bits(sign | ((magnitude << 13) + 0x38000000)); /* normal */
    if (magnitude < 0x400) /* zero or subnormal: times 2^-24 it is a normal f32 */
        return fv_f32_from_bits(sign | fv_bits_from_f32((float)magnitude * 0x1p-24f));
    return fv_f32_from_bits(sign | magnitude << 13 | 0x7F800000 | (magnitude > 0x7C00 ? 0x400000u : 0));
}

/* bits / 2^shift, nearest even. */
static inline uint32_t fv_shift_nearest_even(uint32_t bits, uint32_t shift) {
    return (bits + ((1u << (shift - 1)) - 1) + (bits >> shift & 1)) >> shift;
}

/* Nearest even; overflow to infinity; subnormals kept; NaN quiet with the upper bits of its payload. */
static inline uint16_t fv_f16_from_f32(float value) {
    uint32_t bits = fv_bits_from_f32(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x1FF));
    if (magnitude >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* from 65520 on, the middle of 65504 and 2^16 */
    if (magnitude >= 0x38800000) /* from 2^-14 on: normal; a carry moves into the exponent */
        return (uint16_t)(sign | fv_shift_nearest_even(magnitude - 0x38000000, 13));
    if (magnitude <= 0x33000000) return (uint16_t)sign; /* up to 2^-25, the middle of 0 and 2^-24 */
    uint32_t fraction = 0x800000 | (magnitude & 0x7FFFFF);
    return (uint16_t)(sign | fv_shift_nearest_even(fraction, 126 - (magnitude >> 23)));
}

/* Exact, signalling NaN kept. */
static inline float fv_f32_from_bf16(uint16_t half) { return fv_f32_from_bits((uint32_t)half << 16); }

/* Nearest even; NaN becomes quiet. */
static inline uint16_t fv_bf16_from_f32(float value) {
    uint32_t bits = fv_bits_from_f32(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

#endif
