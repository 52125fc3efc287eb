/* Searches without a way out, so that compilers can use vectors. */
#include "numeric/magnitude.h"
#include "numeric/half.h"

static inline uint32_t magnitude_bits(float x) { return fv_bits_from_f32(x) & 0x7FFFFFFF; }

/* Sixteen sums side by side are registers where there are vectors, and bytes of code where there are none. */
#if (defined FV_BUILD_AVX2 && FV_BUILD_AVX2) || (defined FV_BUILD_NEON && FV_BUILD_NEON)

/* The top bit of a sum is set where a magnitude is not below. */
static bool all_below(size_t n, const float *x, uint32_t first) {
    enum { LANES = 16 };
    uint32_t lane[LANES] = {0}, above = 0, rest = 0x80000000 - first;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) lane[j] |= magnitude_bits(x[i + j]) + rest;
    for (; i < n; i++) above |= magnitude_bits(x[i]) + rest;
    for (i = 0; i < LANES / 4; i++) above |= lane[i] | lane[i + 4] | lane[i + 8] | lane[i + 12];
    return above >> 31 == 0;
}

#else

static bool all_below(size_t n, const float *x, uint32_t first) {
    uint32_t above = 0, rest = 0x80000000 - first;
    for (; n >= 4; n -= 4, x += 4)
        above |= (magnitude_bits(x[0]) + rest) | (magnitude_bits(x[1]) + rest) | (magnitude_bits(x[2]) + rest) |
                 (magnitude_bits(x[3]) + rest);
    while (n--) above |= magnitude_bits(*x++) + rest;
    return above >> 31 == 0;
}

#endif

/* Below `first` one difference has its top bit set, from `end` on one sum has. */
bool fv_none_within(size_t n, const float *x, uint32_t first, uint32_t end) {
    uint32_t all = UINT32_MAX, rest = 0x80000000 - end;
    if (all_below(n, x, first)) return true;
    for (size_t i = 0; i < n; i++) all &= (magnitude_bits(x[i]) - first) | (magnitude_bits(x[i]) + rest);
    return all >> 31 != 0;
}
