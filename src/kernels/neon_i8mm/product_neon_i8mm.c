/* Armv8.6 matrix products: 2 rows x 2 tokens x 8 inputs by one instruction, unsigned by signed, twice the work of a dot
 * product. Four tokens at a time; what is left of a prompt, and a single token, take the dot products: the integers are
 * exact, so the bits are the same. */
#include "kernels/kernels.h"
#include "kernels/neon/product_neon.h"

/* Two steps, of which four inputs of a row lie together, to pairs of rows with eight inputs each. */
INLINE void row_pairs(const uint8_t *panel, uint8x16_t pairs[4]) {
    for (size_t half = 0; half < 2; half++) {
        uint32x4_t first = vreinterpretq_u32_u8(vld1q_u8(panel + 16 * half));
        uint32x4_t second = vreinterpretq_u32_u8(vld1q_u8(panel + 4 * FV_PANEL_ROWS + 16 * half));
        pairs[2 * half] = vreinterpretq_u8_u32(vzip1q_u32(first, second));
        pairs[2 * half + 1] = vreinterpretq_u8_u32(vzip2q_u32(first, second));
    }
}

/* Eight rows of the panel, from row `first` on, with four tokens. */
INLINE void panel_block(size_t first, size_t group, size_t columns, const fv_panel *panel, const int8_t *quants,
                        const float *scale, const float *sum, float *out, size_t out_stride) {
    const size_t groups = columns / group;
    panel_sum total[4];
    for (size_t t = 0; t < 4; t++) total[t] = panel_sum_zero();
    for (size_t g = 0; g < groups; g++) {
        int32x4_t square[2][4]; /* of two tokens: [row 2i, token 0], [row 2i, token 1], [row 2i+1, token 0], … */
        for (size_t i = 0; i < 8; i++) square[i / 4][i % 4] = vdupq_n_s32(0);
        for (size_t c = g * group; c < (g + 1) * group; c += 8) {
            uint8x16_t pairs[4];
            row_pairs(panel->quants + c * FV_PANEL_ROWS + 4 * first, pairs);
            for (size_t t = 0; t < 2; t++) {
                const int8_t *x = quants + 2 * t * columns + c;
                int8x16_t two = vcombine_s8(vld1_s8(x), vld1_s8(x + columns));
                for (size_t i = 0; i < 4; i++) square[t][i] = vusmmlaq_s32(square[t][i], pairs[i], two);
            }
        }
        float32x4_t weight_scale[2], offset[2];
        load8_f32(panel->scale + g * FV_PANEL_ROWS + first, weight_scale);
        load8_f32(panel->offset + g * FV_PANEL_ROWS + first, offset);
        for (size_t t = 0; t < 4; t++) {
            const int32x4_t *s = square[t / 2];
            int32x4_t dot[2] = {t % 2 ? vuzp2q_s32(s[0], s[1]) : vuzp1q_s32(s[0], s[1]),
                                t % 2 ? vuzp2q_s32(s[2], s[3]) : vuzp1q_s32(s[2], s[3])};
            panel_sum_add(&total[t], dot, weight_scale, offset, scale[t * (columns / 32) + g * group / 32],
                          sum[t * groups + g]);
        }
    }
    for (size_t t = 0; t < 4; t++) panel_sum_store(&total[t], out + t * out_stride + first);
}

INLINE void product_panel(size_t group, size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x,
                          float *out, size_t out_stride) {
    const float *sums = group == 16 ? x->sum16 : x->sum32;
    size_t t = 0;
    for (; t + 4 <= tokens; t += 4)
        for (size_t first = 0; first < FV_PANEL_ROWS; first += 8)
            panel_block(first, group, columns, panel, x->quants + t * columns, x->scale + t * (columns / 32),
                        sums + t * (columns / group), out + t * out_stride, out_stride);
    fv_q8_rows rest = {x->quants + t * columns, x->scale + t * (columns / 32), x->sum16 + t * (columns / 16),
                       x->sum32 + t * (columns / 32)};
    if (t < tokens) fv_product_panel_neon_dotprod(columns, tokens - t, panel, &rest, out + t * out_stride, out_stride);
}

void fv_product_panel_neon_i8mm(size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out,
                                size_t out_stride) {
    if (panel->group == 16)
        product_panel(16, columns, tokens, panel, x, out, out_stride);
    else
        product_panel(32, columns, tokens, panel, x, out, out_stride);
}
