/* pairs_avx512bf16.h - what vdpbf16ps meets: two bf16 side by side in each of sixteen lanes. A lane's sum takes the
 * product of the odd one first, then that of the even one, each rounded as an FMA rounds; what is below 2^-126 is 0. */
#ifndef FV_PAIRS_AVX512BF16_H
#define FV_PAIRS_AVX512BF16_H

#include "kernels/avx512/element_avx512.h"
#include <stdbool.h>

/* Two rows of sixteen, one after the other, to pairs of one of each. */
INLINE __m512i pairs_of(__m512i rows) {
    const __m512i place = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(place, rows);
}

INLINE __m256i half16(const uint16_t *x) { return _mm256_loadu_si256((const __m256i *)(const void *)x); }

/* Channels 2 i and 2 i + 1 of sixteen keys, or the last one alone. */
INLINE __m512i key_pair(const uint16_t *key, size_t head_dim, size_t i) {
    if (2 * i + 1 < head_dim) return pairs_of(_mm512_loadu_si512(key + 32 * i));
    return pairs_of(_mm512_zextsi256_si512(half16(key + 32 * i)));
}

/* Sixteen channels of two values, of the first alone if `both` is false; those that `some` masks exist. */
INLINE __m512i value_pair(const uint16_t *value, size_t head_dim, bool both, __mmask16 some) {
    __m256i first, second = _mm256_setzero_si256();
    if (some == 0xFFFF) {
        first = half16(value);
        if (both) second = half16(value + head_dim);
    } else {
        first = _mm256_maskz_loadu_epi16(some, value);
        if (both) second = _mm256_maskz_loadu_epi16(some, value + head_dim);
    }
    return pairs_of(_mm512_inserti64x4(_mm512_zextsi256_si512(first), second, 1));
}

/* The same pair of a packed query in all lanes. */
INLINE __m512i query_spread(const float *pair) { return _mm512_castps_si512(_mm512_set1_ps(*pair)); }

/* Likewise of weights. */
INLINE __m512i weight_spread(uint32_t pair) { return _mm512_set1_epi32((int32_t)pair); }

INLINE __m512 pair_add(__m512 sum, __m512i x, __m512i y) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y); }

/* Up to sixteen weights to pairs; an odd last one has 0 beside it. */
INLINE void weights_pack(size_t keys, const float *weight, uint32_t *pair) {
    __mmask16 some = lanes_of(keys);
    __m256bh narrow = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, weight));
    _mm256_storeu_si256((__m256i *)(void *)pair, (__m256i)narrow);
}

#endif
