/* AVX2. Limit: a multiply-add of bytes for 16 channels of two tokens, and the addition after it; up to four rows share
 * the unpacked codes. 16 weights of at most 255 times a code of at most 3 fit 16 bits, twice that too. */
#include "kernels/avx2/exp_avx2.h"
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/avx2/score_avx2.h"
#include "kernels/kernels.h"
#include "numeric/half.h"
#include <immintrin.h>

INLINE __m256 steps8(const uint8_t *steps) {
    __m128i eight = _mm_loadu_si128((const __m128i *)(const void *)steps);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
}

INLINE uint32_t whole_sum8(__m256i x) {
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4E));
    return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xB1)));
}

/* Weights of one row: whole[16], three times their sum, and half of what one of them stands for. */
INLINE float weights(const int32_t *score, int32_t level, __m256 low_steps, __m256 high_steps, uint8_t *whole,
                     int32_t *less, uint64_t *mass) {
    __m256i from = _mm256_set1_epi32(level);
    __m256i low = power_of(_mm256_sub_epi32(load(score), from)),
            high = power_of(_mm256_sub_epi32(load(score + 8), from));
    __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(low), low_steps),
           y = _mm256_mul_ps(_mm256_cvtepi32_ps(high), high_steps);
    float top = max8(_mm256_max_ps(x, y));
    __m256 inverse = _mm256_set1_ps(top >= 0x1p-100f ? 255.0f / top : 0.0f), most = _mm256_set1_ps(255.0f);
    __m256i u = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(x, inverse), most));
    __m256i v = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(y, inverse), most));
    *mass += whole_sum8(_mm256_add_epi32(low, high));
    *less = 3 * (int32_t)whole_sum8(_mm256_add_epi32(u, v));
    __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(u, v), 0xD8);
    __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)(void *)whole, bytes);
    return top * (0.5f / 255.0f);
}

INLINE __m256i pair_of(const uint8_t *whole) {
    int16_t pair;
    __builtin_memcpy(&pair, whole, 2);
    return _mm256_set1_epi16(pair);
}

/* 16 words times unit, added to 16 floats. */
INLINE void words_add(__m256i words, __m256 unit, float *out) {
    __m256 low = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(words)));
    __m256 high = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(words, 1)));
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_loadu_ps(out), _mm256_mul_ps(low, unit)));
    _mm256_storeu_ps(out + 8, _mm256_add_ps(_mm256_loadu_ps(out + 8), _mm256_mul_ps(high, unit)));
}

INLINE void page_sum(size_t rows, size_t dim, const int32_t *score, size_t score_stride, const int32_t *level,
                     const uint8_t *codes, uint64_t *mass, float *out) {
    const __m256i three = _mm256_set1_epi8(3);
    __m256 low_steps = steps8(codes + 4 * dim), high_steps = steps8(codes + 4 * dim + 16);
    uint8_t whole[4][16];
    int32_t less[4];
    float unit[4];
    for (size_t r = 0; r < rows; r++)
        unit[r] = weights(score + r * score_stride, level[r], low_steps, high_steps, whole[r], &less[r], &mass[r]);
    for (size_t j = 0; j < dim / 16; j++) {
        __m256i sum[4];
        for (size_t r = 0; r < rows; r++) sum[r] = _mm256_setzero_si256();
        for (size_t half = 0; half < 2; half++) {
            __m256i bits = load(codes + 64 * j + 32 * half);
            for (size_t m = 0; m < 4; m++, bits = _mm256_srli_epi16(bits, 2)) {
                __m256i code = _mm256_and_si256(bits, three);
                for (size_t r = 0; r < rows; r++)
                    sum[r] = _mm256_add_epi16(sum[r], _mm256_maddubs_epi16(pair_of(whole[r] + 8 * half + 2 * m), code));
            }
        }
        for (size_t r = 0; r < rows; r++)
            words_add(_mm256_sub_epi16(_mm256_add_epi16(sum[r], sum[r]), _mm256_set1_epi16((int16_t)less[r])),
                      _mm256_set1_ps(unit[r]), out + r * dim + 16 * j);
    }
}

/* Pages lie apart, a few cache lines each. */
INLINE void prefetch_page(size_t dim, const uint8_t *page) {
    for (size_t line = 0; line < 4 * dim + 32; line += 64) _mm_prefetch((const char *)page + line, _MM_HINT_T0);
}

enum { AHEAD = 4 };

/* Constant numbers of rows and channels let the compiler keep sums in registers. */
#define ROWS(number, dim) \
    for (size_t n = 0; n < count; n++) { \
        if (r == 0 && n + AHEAD < count) prefetch_page(dim, values + pages[n + AHEAD] * (4 * (dim) + 32)); \
        page_sum(number, dim, score + r * score_stride + 16 * n, score_stride, level + r, \
                 values + pages[n] * (4 * (dim) + 32), mass + r, out + r * (dim)); \
    }
void fv_tail_sum_avx2(size_t rows, size_t dim, size_t count, const uint32_t *pages, const int32_t *score,
                      size_t score_stride, const int32_t *level, const uint8_t *values, uint64_t *mass, float *out) {
    size_t r = 0;
    if (dim == 64)
        for (; r + 3 <= rows; r += 3) ROWS(3, 64);
    for (; r + 4 <= rows; r += 4) ROWS(4, dim);
    for (; r < rows; r++) ROWS(1, dim);
}
