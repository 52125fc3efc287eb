/* score_avx2.h - powers of scores, straight between powers of two, and the results for a page's; codes that are scored
 * soon. */
#ifndef FV_SCORE_AVX2_H
#define FV_SCORE_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* fv_power_of(e), exactly: the bits of the f32 (1 + fraction) * 2^(16 + whole part), as a whole number. */
static inline __m256i power_of(__m256i e) {
    __m256i held = _mm256_max_epi32(e, _mm256_set1_epi32(-20 * 256));
    __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(held, _mm256_set1_epi32((127 + 16) * 256)), 15);
    return _mm256_cvttps_epi32(_mm256_castsi256_ps(bits));
}

/* fv_power_score() of the masses of four pages, by the powers of their keys, of keys 2 i and 2 i + 1 in one. */
static inline __m128i masses(__m256 a, __m256 b, __m256 c, __m256 d) {
    __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    __m128 mass = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
    return _mm_sub_epi32(_mm_srli_epi32(_mm_castps_si128(mass), 15), _mm_set1_epi32(127 * 256));
}

/* Writes the masses of `count` pages, at most four, with what their blocks add; `block`: all four are of one. */
static inline void masses_put(__m128i mass, bool block, size_t count, const uint32_t *pages, const int32_t *base,
                              int32_t *out) {
    int32_t each[4];
    if (block) {
        _mm_storeu_si128((__m128i *)(void *)out, _mm_add_epi32(mass, _mm_set1_epi32(base[pages[0] / 4])));
        return;
    }
    _mm_storeu_si128((__m128i *)(void *)each, mass);
    for (size_t i = 0; i < count; i++) out[i] = each[i] + base[pages[i] / 4];
}

/* Steps of the even and of the odd keys of a page. */
static inline __m256 even_steps(const uint16_t *steps) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)(const void *)steps), 16));
}
static inline __m256 odd_steps(const uint16_t *steps) {
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)steps),
                                                _mm256_set1_epi32((int32_t)0xFFFF0000)));
}

enum { FV_AVX2_CODE_DIM = 512 }; /* at most: 3 x 8 x FV_COARSE_MOST x 128 nibbles fit 16 bits */

enum { PLANES_AHEAD = 16 }; /* pages of the list that are asked for before they are scored */

static inline void prefetch_planes(size_t dim, size_t page, const uint8_t *signs, const uint8_t *sizes) {
    for (size_t line = 0; line < 2 * dim; line += 64) {
        _mm_prefetch((const char *)signs + page * 2 * dim + line, _MM_HINT_T0);
        _mm_prefetch((const char *)sizes + page * 2 * dim + line, _MM_HINT_T0);
    }
}

#endif
