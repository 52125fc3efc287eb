/* lanes_avx2.h - eight lanes of whole numbers: loads and stores, nearest whole numbers, the largest. */
#ifndef FV_LANES_AVX2_H
#define FV_LANES_AVX2_H

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m256i load(const void *x) { return _mm256_loadu_si256((const __m256i *)x); }
INLINE void store(void *x, __m256i y) { _mm256_storeu_si256((__m256i *)x, y); }

INLINE __m256i round_held(__m256 x, float most) {
    x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-most)), _mm256_set1_ps(most)); /* NaN: the second operand */
    return _mm256_cvtps_epi32(x);
}

/* The largest of eight, in every lane. */
INLINE __m256i spread_max(__m256i x) {
    x = _mm256_max_epi32(x, _mm256_permute2x128_si256(x, x, 1));
    x = _mm256_max_epi32(x, _mm256_shuffle_epi32(x, 0x4E));
    return _mm256_max_epi32(x, _mm256_shuffle_epi32(x, 0xB1));
}

#endif
