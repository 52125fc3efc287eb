/* Scores and value sums over bf16 in plain C. */
#include "build.h"
#include "kernels/kernels.h"
#include "numeric/half.h"

#if FV_BUILD_BF16

enum { LANES = 16 }; /* elements that are converted at once, for all rows */

void fv_score_page_bf16_scalar(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                               const void *const *key, const void *const *next, const float *key_scale, float *score,
                               size_t score_stride) {
    (void)key_scale, (void)next;
    for (size_t p = 0; p < pages; p++, score += LANES)
        for (size_t c = 0; c < head_dim; c++) {
            const uint16_t *panel = (const uint16_t *)key[p] + c * LANES;
            float k[LANES];
            for (size_t t = 0; t < LANES; t++) k[t] = fv_f32_from_bf16(panel[t]);
            for (size_t r = 0; r < rows; r++)
                for (size_t t = 0; t < LANES; t++) {
                    float sum = c ? score[r * score_stride + t] : 0.0f;
                    score[r * score_stride + t] = sum + query[r * query_stride + c] * k[t];
                }
        }
}

void fv_value_sum_bf16_scalar(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                              const void *value, const void *next, float *out, size_t out_stride) {
    (void)next;
    const uint16_t *v = (const uint16_t *)value;
    for (size_t t = 0; t < keys; t++, v += head_dim)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < head_dim; c++)
                out[r * out_stride + c] += weight[r * weight_stride + t] * fv_f32_from_bf16(v[c]);
}

void fv_narrow_bf16_scalar(size_t n, const float *x, uint16_t *out) {
    for (size_t i = 0; i < n; i++) out[i] = fv_bf16_from_f32(x[i]);
}

#endif
