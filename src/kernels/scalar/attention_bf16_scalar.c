/* Scores and value sums over bf16 in plain C. */
#include "kernels/half.h"
#include "kernels/kernels.h"

void fv_score_page_bf16_scalar(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                               const void *key, const float *key_scale, float *score, size_t score_stride) {
    (void)key_scale;
    for (size_t i = 0; i < rows * pages; i++) {
        size_t r = i / pages, p = i % pages;
        const uint16_t *panel = (const uint16_t *)key + p * head_dim * 16;
        const float *q = query + r * query_stride;
        float *out = score + r * score_stride + p * 16;
        for (size_t t = 0; t < 16; t++) out[t] = 0.0f;
        for (size_t c = 0; c < head_dim; c++)
            for (size_t t = 0; t < 16; t++) out[t] += q[c] * fv_f32_from_bf16(panel[c * 16 + t]);
    }
}

void fv_value_sum_bf16_scalar(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                              const void *value, float *out, size_t out_stride) {
    const uint16_t *v = value;
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < keys; t++)
            for (size_t c = 0; c < head_dim; c++)
                out[r * out_stride + c] += weight[r * weight_stride + t] * fv_f32_from_bf16(v[t * head_dim + c]);
}

void fv_narrow_bf16_scalar(size_t n, const float *x, uint16_t *out) {
    for (size_t i = 0; i < n; i++) out[i] = fv_bf16_from_f32(x[i]);
}

void fv_widen_bf16_scalar(size_t n, const uint16_t *x, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = fv_f32_from_bf16(x[i]);
}
