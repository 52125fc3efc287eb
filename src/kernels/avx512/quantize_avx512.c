/* Limit: rounding, a few operations for 16 values. Four blocks of 32 at once: their maxima, quotients and sums of
 * quants share what would else be chains of a single block, one after the other. */
#include "kernels/avx512/lanes_avx512.h"
#include "kernels/kernels.h"

enum { BLOCKS = 4, HALVES = 2 * BLOCKS };

/* Sixteen magnitudes as the order of their bits: a NaN is the largest. */
INLINE __m512i magnitudes(__m512 x) { return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF)); }

/* The largest of sixteen lanes of each of four. */
INLINE __m128i largest_each(const __m512i x[BLOCKS]) {
    __m512i first = _mm512_max_epi32(_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
    __m512i last = _mm512_max_epi32(_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
    __m512i all = _mm512_max_epi32(_mm512_unpacklo_epi64(first, last), _mm512_unpackhi_epi64(first, last));
    __m256i half = _mm256_max_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_max_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* Sums of 16 quants each: of 64 in `first`, then of 64 in `last`. */
INLINE __m256i sums_of_16(__m512i first, __m512i last) {
    const __m512i ones = _mm512_set1_epi8(1);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i a = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, first);
    __m512i b = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, last);
    __m512i sum = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    sum = _mm512_add_epi32(sum, _mm512_unpackhi_epi64(sum, sum)); /* of each 128 bits the lowest: of a, then of b */
    return _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, sum));
}

/* The steps of four blocks, and what values are multiplied by. */
INLINE __m128 steps_of(__m128i best, float inverses[BLOCKS]) {
    const __m128 zero = _mm_setzero_ps(), most = _mm_set1_ps(3.402823466e38f);
    __m128 step = _mm_div_ps(_mm_castsi128_ps(best), _mm_set1_ps(127.0f));
    __m128 inverse = _mm_div_ps(_mm_set1_ps(1.0f), step);
    __m128 usable = _mm_and_ps(_mm_cmpgt_ps(step, zero), _mm_cmple_ps(inverse, most));
    _mm_storeu_ps(inverses, _mm_and_ps(inverse, usable));
    return step;
}

/* Quants of 64 values of which each 32 have a factor. What is no number becomes 0. */
INLINE __m512i quants_of(const __m512 x[4], const float inverses[2]) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i q[4];
    for (size_t i = 0; i < 4; i++) {
        __m512 y = _mm512_mul_ps(x[i], _mm512_set1_ps(inverses[i / 2]));
        q[i] = _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(y, y, _CMP_ORD_Q), _mm512_cvtps_epi32(y));
    }
    __m512i bytes = _mm512_packs_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
    return _mm512_max_epi8(_mm512_permutexvar_epi32(order, bytes), _mm512_set1_epi8(-127));
}

/* Four blocks; values of those that are missing are zero. */
INLINE __m128 blocks_quantize(const __m512 x[HALVES], __m512i quants[2], __m256 *sum16, __m128 *sum32) {
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3), evens = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    __m512i best[BLOCKS];
    float inverses[BLOCKS];
    for (size_t b = 0; b < BLOCKS; b++) best[b] = _mm512_max_epi32(magnitudes(x[2 * b]), magnitudes(x[2 * b + 1]));
    __m128 step = steps_of(largest_each(best), inverses);
    for (size_t i = 0; i < 2; i++) quants[i] = quants_of(x + 4 * i, inverses + 2 * i);
    __m256i sums = sums_of_16(quants[0], quants[1]), apart = _mm256_permutevar8x32_epi32(sums, evens);
    __m128i both = _mm_add_epi32(_mm256_castsi256_si128(apart), _mm256_extracti128_si256(apart, 1));
    __m256 steps = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(step), twice);
    *sum16 = _mm256_mul_ps(steps, _mm256_cvtepi32_ps(sums));
    *sum32 = _mm_mul_ps(step, _mm_cvtepi32_ps(both));
    return step;
}

void fv_quantize_q8_avx512(size_t n, const float *x, int8_t *quants, float *scale, float *sum16, float *sum32) {
    size_t blocks = n / 32, b = 0;
    __m512 values[HALVES];
    __m512i bytes[2];
    __m256 sums16;
    __m128 sums32;
    for (; b + BLOCKS <= blocks; b += BLOCKS) {
        for (size_t i = 0; i < HALVES; i++) values[i] = _mm512_loadu_ps(x + 32 * b + 16 * i);
        _mm_storeu_ps(scale + b, blocks_quantize(values, bytes, &sums16, &sums32));
        for (size_t i = 0; i < 2; i++) _mm512_storeu_si512(quants + 32 * b + 64 * i, bytes[i]);
        _mm256_storeu_ps(sum16 + 2 * b, sums16);
        _mm_storeu_ps(sum32 + b, sums32);
    }
    size_t left = blocks - b;
    if (!left) return;
    for (size_t i = 0; i < HALVES; i++)
        values[i] = i < 2 * left ? _mm512_loadu_ps(x + 32 * b + 16 * i) : _mm512_setzero_ps();
    __mmask8 one = (__mmask8)((1u << left) - 1);
    __mmask16 two = (__mmask16)((1u << 2 * left) - 1);
    _mm_mask_storeu_ps(scale + b, one, blocks_quantize(values, bytes, &sums16, &sums32));
    for (size_t i = 0; i < left; i++)
        _mm256_storeu_si256((__m256i *)(void *)(quants + 32 * (b + i)),
                            i % 2 ? _mm512_extracti64x4_epi64(bytes[i / 2], 1) : _mm512_castsi512_si256(bytes[i / 2]));
    _mm512_mask_storeu_ps(sum16 + 2 * b, two, _mm512_castps256_ps512(sums16));
    _mm_mask_storeu_ps(sum32 + b, one, sums32);
}
