/* mean_avx2.h - scores of pages' means from what dot products of bytes an instruction set has; shared by AVX2 and
 * AVX-VNNI. */
#ifndef FV_MEAN_AVX2_H
#define FV_MEAN_AVX2_H

#include "kernels/avx2/lanes_avx2.h"
#include "kernels/kernels.h"
#include <immintrin.h>

INLINE __m256i query4(const int8_t *x) {
    int32_t word;
    __builtin_memcpy(&word, x, 4);
    return _mm256_set1_epi32(word);
}

/* Dot products of up to four rows and one panel: dot[2 * row + half]. */
typedef void mean_rows_fn(size_t rows, size_t dim, const int8_t *q, const uint8_t *mean, __m256i *dot);

INLINE void mean_some(mean_rows_fn *rows_of, size_t rows, size_t first, const fv_shadow_rows *query, size_t dim,
                      size_t panels, const uint8_t *mean, const float *step, int32_t *out, size_t out_stride) {
    for (size_t p = 0; p < panels; p++) {
        __m256i dot[2 * 4];
        rows_of(rows, dim, query->query + first * dim, mean + p * dim * 16, dot);
        for (size_t r = 0; r < rows; r++)
            for (size_t half = 0; half < 2; half++) {
                __m256i whole = _mm256_sub_epi32(dot[2 * r + half], _mm256_set1_epi32(64 * query->sum[first + r]));
                __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(whole), _mm256_loadu_ps(step + p * 16 + half * 8));
                x = _mm256_mul_ps(x, _mm256_set1_ps(query->factor[first + r]));
                store(out + (first + r) * out_stride + p * 16 + half * 8, round_held(x, 0x1p28f));
            }
    }
}

/* fv_mean_score_fn; `rows_of` is inlined. */
INLINE void mean_scores(mean_rows_fn *rows_of, const fv_shadow_rows *query, size_t panels, const uint8_t *mean,
                        const float *step, int32_t *out, size_t out_stride) {
    size_t r = 0, dim = query->dim;
    for (; r + 3 <= query->rows; r += 3) mean_some(rows_of, 3, r, query, dim, panels, mean, step, out, out_stride);
    for (; r < query->rows; r++) mean_some(rows_of, 1, r, query, dim, panels, mean, step, out, out_stride);
}

#endif
