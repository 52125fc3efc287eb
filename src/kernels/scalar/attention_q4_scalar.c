/* Scores and value sums over Q4_0 in plain C. */
#include "build.h"
#include "kernels/kernels.h"
#include "kernels/q4_layout.h"
#include "numeric/half.h"

#if FV_BUILD_Q4

enum { LANES = 16 }; /* keys that are converted at once, for all rows */

/* Channel c of key t. */
static float key_at(const unsigned char *panel, size_t head_dim, size_t c, size_t t) {
    const uint16_t *scales = (const uint16_t *)(const void *)panel;
    unsigned quant = panel[fv_q4_panel_quants(head_dim) + c / 2 * 16 + t] >> (c % 2 * 4) & 15;
    return (float)((int)quant - 8) * fv_f32_from_f16(scales[c / FV_Q4_VALUES * 16 + t]);
}

static float value_at(const unsigned char *row, size_t c) {
    const unsigned char *block = row + c / FV_Q4_VALUES * FV_Q4_BYTES;
    unsigned quant = block[2 + c % 16] >> (c % FV_Q4_VALUES < 16 ? 0 : 4) & 15;
    return (float)((int)quant - 8) * fv_f32_from_f16((uint16_t)(block[0] | block[1] << 8));
}

void fv_score_page_q4_scalar(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                             const void *const *key, const void *const *next, const float *key_scale, float *score,
                             size_t score_stride) {
    (void)key_scale, (void)next;
    for (size_t p = 0; p < pages; p++, score += LANES)
        for (size_t c = 0; c < head_dim; c++) {
            float k[LANES];
            for (size_t t = 0; t < LANES; t++) k[t] = key_at((const unsigned char *)key[p], head_dim, c, t);
            for (size_t r = 0; r < rows; r++)
                for (size_t t = 0; t < LANES; t++) {
                    float sum = c ? score[r * score_stride + t] : 0.0f;
                    score[r * score_stride + t] = sum + query[r * query_stride + c] * k[t];
                }
        }
}

void fv_value_sum_q4_scalar(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                            const void *value, const void *next, float *out, size_t out_stride) {
    (void)next;
    const unsigned char *row = (const unsigned char *)value;
    for (size_t t = 0; t < keys; t++, row += fv_q4_row_bytes(head_dim))
        for (size_t c = 0; c < head_dim; c++) {
            float v = value_at(row, c);
            for (size_t r = 0; r < rows; r++) out[r * out_stride + c] += weight[r * weight_stride + t] * v;
        }
}

#endif
