/* The square root, bit by bit. */
#include "numeric/root.h"
#include "numeric/half.h"
#include <float.h>

/* Nearest: 25 bits of the root of the integer x * 2^(25 - e), bit by bit; the 25th rounds (a tie cannot happen, an odd
 * root has an odd square). */
float fv_root_f32(float x) {
    if (x > FLT_MAX || x != x) return x;
    if (!(x > 0.0f)) return 0.0f;
    int32_t small = x < 0x1p-120f ? 48 : 0; /* then the root is 2^-24 of that of x * 2^48 */
    uint32_t bits = fv_bits_from_f32(small ? x * 0x1p48f : x), mantissa = (bits & 0x7FFFFF) | 0x800000;
    int32_t exponent = (int32_t)(bits >> 23) - 150 - small; /* x = mantissa * 2^exponent */
    if (exponent % 2 == 0) {
        mantissa <<= 1;
        exponent--;
    }
    uint64_t square = (uint64_t)mantissa << 25, root = 0; /* exponent - 25 is even */
    for (uint64_t bit = 1u << 24; bit != 0; bit >>= 1)
        if ((root | bit) * (root | bit) <= square) root |= bit;
    return (float)(uint32_t)((root + 1) >> 1) * fv_f32_from_bits((uint32_t)((exponent - 25) / 2 + 1 + 127) << 23);
}
