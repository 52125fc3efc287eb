/* Scores, softmax and value sums in plain C: the reference for every instruction set. */
#include "kernels/kernels.h"
#include "numeric/exp_scalar.h"
#include "numeric/half.h"

enum { LANES = 16 }; /* elements that are converted at once, for all rows */

/* row[t] += factor * x[t] of sixteen */
static void add_lanes(float *row, float factor, const float *x) {
    for (size_t t = 0; t < LANES; t++) row[t] += factor * x[t];
}

/* The same of any number. */
static void add_values(size_t count, float *row, float factor, const float *x) {
    for (size_t c = 0; c < count; c++) row[c] += factor * x[c];
}

static void scores_clear(size_t rows, size_t columns, float *score, size_t score_stride) {
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < columns; t++) score[r * score_stride + t] = 0.0f;
}

void fv_score_page_f32_scalar(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                              const void *const *key, const void *const *next, const float *key_scale, float *score,
                              size_t score_stride) {
    (void)key_scale, (void)next;
    scores_clear(rows, pages * LANES, score, score_stride);
    for (size_t p = 0; p < pages; p++, score += LANES)
        for (size_t c = 0; c < head_dim; c++)
            for (size_t r = 0; r < rows; r++)
                add_lanes(score + r * score_stride, query[r * query_stride + c], (const float *)key[p] + c * LANES);
}

void fv_score_page_f16_scalar(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                              const void *const *key, const void *const *next, const float *key_scale, float *score,
                              size_t score_stride) {
    (void)key_scale, (void)next;
    scores_clear(rows, pages * LANES, score, score_stride);
    for (size_t p = 0; p < pages; p++, score += LANES)
        for (size_t c = 0; c < head_dim; c++) {
            const uint16_t *panel = (const uint16_t *)key[p] + c * LANES;
            float k[LANES];
            for (size_t t = 0; t < LANES; t++) k[t] = fv_f32_from_f16(panel[t]);
            for (size_t r = 0; r < rows; r++) add_lanes(score + r * score_stride, query[r * query_stride + c], k);
        }
}

void fv_score_page_q8_scalar(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                             const void *const *key, const void *const *next, const float *key_scale, float *score,
                             size_t score_stride) {
    (void)next;
    scores_clear(rows, pages * LANES, score, score_stride);
    for (size_t p = 0; p < pages; p++, score += LANES, key_scale += LANES) {
        for (size_t c = 0; c < head_dim; c++) {
            const int8_t *panel = (const int8_t *)key[p] + c * LANES;
            float k[LANES];
            for (size_t t = 0; t < LANES; t++) k[t] = (float)panel[t];
            for (size_t r = 0; r < rows; r++) add_lanes(score + r * score_stride, query[r * query_stride + c], k);
        }
        for (size_t r = 0; r < rows; r++)
            for (size_t t = 0; t < LANES; t++) score[r * score_stride + t] *= key_scale[t];
    }
}

void fv_value_sum_f32_scalar(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                             const void *value, const void *next, float *out, size_t out_stride) {
    (void)next;
    const float *v = (const float *)value;
    for (size_t t = 0; t < keys; t++, v += head_dim)
        for (size_t r = 0; r < rows; r++) add_values(head_dim, out + r * out_stride, weight[r * weight_stride + t], v);
}

void fv_value_sum_f16_scalar(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                             const void *value, const void *next, float *out, size_t out_stride) {
    (void)next;
    const uint16_t *v = (const uint16_t *)value;
    for (size_t t = 0; t < keys; t++, v += head_dim)
        for (size_t first = 0; first < head_dim; first += LANES) {
            size_t count = head_dim - first < LANES ? head_dim - first : LANES;
            float x[LANES];
            for (size_t c = 0; c < count; c++) x[c] = fv_f32_from_f16(v[first + c]);
            for (size_t r = 0; r < rows; r++)
                add_values(count, out + r * out_stride + first, weight[r * weight_stride + t], x);
        }
}

void fv_value_sum_q8_scalar(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                            const void *value, const void *next, float *out, size_t out_stride) {
    (void)next;
    const int8_t *v = (const int8_t *)value;
    for (size_t t = 0; t < keys; t++, v += head_dim)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < head_dim; c++)
                out[r * out_stride + c] += weight[r * weight_stride + t] * (float)v[c];
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
