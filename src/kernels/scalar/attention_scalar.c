/* Scores, softmax and value sums in plain C: the reference for every instruction set. */
#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/scalar/exp_scalar.h"

void fv_score_page_f32_scalar(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                              const void *key, const float *key_scale, float *score, size_t score_stride) {
    (void)key_scale;
    for (size_t i = 0; i < rows * pages; i++) {
        size_t r = i / pages, p = i % pages;
        const float *panel = (const float *)key + p * head_dim * 16;
        const float *q = query + r * query_stride;
        float *out = score + r * score_stride + p * 16;
        for (size_t t = 0; t < 16; t++) out[t] = 0.0f;
        for (size_t c = 0; c < head_dim; c++)
            for (size_t t = 0; t < 16; t++) out[t] += q[c] * panel[c * 16 + t];
    }
}

void fv_score_page_f16_scalar(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                              const void *key, const float *key_scale, float *score, size_t score_stride) {
    (void)key_scale;
    for (size_t i = 0; i < rows * pages; i++) {
        size_t r = i / pages, p = i % pages;
        const uint16_t *panel = (const uint16_t *)key + p * head_dim * 16;
        const float *q = query + r * query_stride;
        float *out = score + r * score_stride + p * 16;
        for (size_t t = 0; t < 16; t++) out[t] = 0.0f;
        for (size_t c = 0; c < head_dim; c++)
            for (size_t t = 0; t < 16; t++) out[t] += q[c] * fv_f32_from_f16(panel[c * 16 + t]);
    }
}

void fv_score_page_q8_scalar(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                             const void *key, const float *key_scale, float *score, size_t score_stride) {
    for (size_t i = 0; i < rows * pages; i++) {
        size_t r = i / pages, p = i % pages;
        const int8_t *panel = (const int8_t *)key + p * head_dim * 16;
        const float *q = query + r * query_stride;
        float *out = score + r * score_stride + p * 16;
        for (size_t t = 0; t < 16; t++) out[t] = 0.0f;
        for (size_t c = 0; c < head_dim; c++)
            for (size_t t = 0; t < 16; t++) out[t] += q[c] * (float)panel[c * 16 + t];
        for (size_t t = 0; t < 16; t++) out[t] *= key_scale[p * 16 + t];
    }
}

void fv_value_sum_f32_scalar(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                             const void *value, float *out, size_t out_stride) {
    const float *v = value;
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < keys; t++)
            for (size_t c = 0; c < head_dim; c++)
                out[r * out_stride + c] += weight[r * weight_stride + t] * v[t * head_dim + c];
}

void fv_value_sum_f16_scalar(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                             const void *value, float *out, size_t out_stride) {
    const uint16_t *v = value;
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < keys; t++)
            for (size_t c = 0; c < head_dim; c++)
                out[r * out_stride + c] += weight[r * weight_stride + t] * fv_f32_from_f16(v[t * head_dim + c]);
}

void fv_value_sum_q8_scalar(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                            const void *value, float *out, size_t out_stride) {
    const int8_t *v = value;
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < keys; t++)
            for (size_t c = 0; c < head_dim; c++)
                out[r * out_stride + c] += weight[r * weight_stride + t] * (float)v[t * head_dim + c];
}

/* The maximum of one row becomes `best`. */
static void raise_maximum(size_t head_dim, float best, float *maximum, float *sum, float *out) {
    float whole = fv_whole_above_scalar(best), factor = fv_exp2_scalar(*maximum, whole);
    for (size_t i = 0; i < FV_SUM_LANES; i++) sum[i] *= factor;
    for (size_t c = 0; c < head_dim; c++) out[c] *= factor;
    *maximum = whole;
}

void fv_softmax_chunk_scalar(size_t rows, size_t columns, size_t head_dim, float factor, float *score, float *maximum,
                             float *sum, float *out, size_t out_stride) {
    for (size_t r = 0; r < rows; r++, score += FV_CHUNK_KEYS, sum += FV_SUM_LANES, out += out_stride) {
        float best = -FV_NO_MAXIMUM;
        for (size_t t = 0; t < columns; t++) {
            float x = factor * score[t];
            score[t] = x < 3.402823466e38f ? x : 3.402823466e38f;
            if (score[t] > best) best = score[t];
        }
        if (best > maximum[r] + FV_SOFTMAX_SLACK) raise_maximum(head_dim, best, maximum + r, sum, out);
        for (size_t t = 0; t < columns; t++) {
            score[t] = fv_exp2_scalar(score[t], maximum[r]);
            sum[t % FV_SUM_LANES] += score[t];
        }
    }
}

void fv_softcap_f32_scalar(size_t n, float scale, float cap, float *x) {
    for (size_t i = 0; i < n; i++) x[i] = cap * fv_tanh_scalar(x[i] * scale / cap);
}
