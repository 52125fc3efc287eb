/* Scores and value sums over Q4_0 in plain C. */
#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/q4_layout.h"

/* Channel c of key t. */
static float key_at(const unsigned char *panel, size_t head_dim, size_t c, size_t t) {
    const uint16_t *scales = (const void *)panel;
    unsigned quant = panel[fv_q4_panel_quants(head_dim) + c / 2 * 16 + t] >> (c % 2 * 4) & 15;
    return (float)((int)quant - 8) * fv_f32_from_f16(scales[c / FV_Q4_VALUES * 16 + t]);
}

static float value_at(const unsigned char *row, size_t c) {
    const unsigned char *block = row + c / FV_Q4_VALUES * FV_Q4_BYTES;
    unsigned quant = block[2 + c % 16] >> (c % FV_Q4_VALUES < 16 ? 0 : 4) & 15;
    return (float)((int)quant - 8) * fv_f32_from_f16((uint16_t)(block[0] | block[1] << 8));
}

void fv_score_page_q4_scalar(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                             const void *key, const float *key_scale, float *score, size_t score_stride) {
    (void)key_scale;
    for (size_t i = 0; i < rows * pages; i++) {
        size_t r = i / pages, p = i % pages;
        const unsigned char *panel = (const unsigned char *)key + p * fv_q4_panel_bytes(head_dim);
        const float *q = query + r * query_stride;
        float *out = score + r * score_stride + p * 16;
        for (size_t t = 0; t < 16; t++) out[t] = 0.0f;
        for (size_t c = 0; c < head_dim; c++)
            for (size_t t = 0; t < 16; t++) out[t] += q[c] * key_at(panel, head_dim, c, t);
    }
}

void fv_value_sum_q4_scalar(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                            const void *value, float *out, size_t out_stride) {
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < keys; t++) {
            const unsigned char *row = (const unsigned char *)value + t * fv_q4_row_bytes(head_dim);
            for (size_t c = 0; c < head_dim; c++)
                out[r * out_stride + c] += weight[r * weight_stride + t] * value_at(row, c);
        }
}

void fv_widen_panel_q4_scalar(size_t pages, size_t head_dim, const void *x, float *out) {
    for (size_t p = 0; p < pages; p++) {
        const unsigned char *panel = (const unsigned char *)x + p * fv_q4_panel_bytes(head_dim);
        for (size_t i = 0; i < head_dim * 16; i++) *out++ = key_at(panel, head_dim, i / 16, i % 16);
    }
}

void fv_widen_rows_q4_scalar(size_t rows, size_t head_dim, const void *x, float *out) {
    for (size_t r = 0; r < rows; r++) {
        const unsigned char *row = (const unsigned char *)x + r * fv_q4_row_bytes(head_dim);
        for (size_t c = 0; c < head_dim; c++) *out++ = value_at(row, c);
    }
}
