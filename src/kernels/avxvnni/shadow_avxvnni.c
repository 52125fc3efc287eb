/* AVX-VNNI. Limit of means: dpbusd, one for 8 keys x four channels of a row. Codes are AVX2's: there a look-up does
 * four channels of 32 keys, where dpbusd does those of 8. */
#include "kernels/avx2/mean_avx2.h"

INLINE void mean_rows(size_t rows, size_t dim, const int8_t *q, const uint8_t *mean, __m256i *dot) {
    for (size_t i = 0; i < 2 * rows; i++) dot[i] = _mm256_setzero_si256();
    for (size_t j = 0; j < dim / 4; j++) {
        __m256i low = load(mean + j * 64), high = load(mean + j * 64 + 32);
        for (size_t r = 0; r < rows; r++) {
            __m256i four = query4(q + r * dim + 4 * j);
            dot[2 * r] = _mm256_dpbusd_avx_epi32(dot[2 * r], low, four);
            dot[2 * r + 1] = _mm256_dpbusd_avx_epi32(dot[2 * r + 1], high, four);
        }
    }
}

void fv_mean_score_avxvnni(const fv_shadow_rows *query, size_t panels, const uint8_t *mean, const float *step,
                           int32_t *out, size_t out_stride) {
    mean_scores(mean_rows, query, panels, mean, step, out, out_stride);
}
