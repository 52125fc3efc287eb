/* Armv8.2 dot products: four byte products summed into 32 bits by one instruction, exact for any bytes. Limit: that
 * instruction for four tokens, loads for one. Weights to 127 are signed bytes as they are. */
#include "kernels/kernels.h"
#include "kernels/neon/product_neon.h"
#include <stdbool.h>

INLINE int8x16_t step_at(bool biased, uint8x16_t w) { return biased ? less_128(w) : vreinterpretq_s8_u8(w); }

/* What less_128() took off of sixteen inputs: 128 times their sum, added to every row. */
INLINE int32x4_t bias16(int8x16_t x) {
    return vdupq_n_s32(128 * vaddvq_s32(vdotq_s32(vdupq_n_s32(0), x, vdupq_n_s8(1))));
}

/* Four steps of eight rows with sixteen inputs. */
INLINE void dot16(bool biased, const uint8x16_t steps[8], int8x16_t x, int32x4_t dot[2]) {
    for (size_t i = 0; i < 2; i++) {
        if (biased) dot[i] = vaddq_s32(dot[i], bias16(x));
        dot[i] = vdotq_laneq_s32(dot[i], step_at(biased, steps[i]), x, 0);
        dot[i] = vdotq_laneq_s32(dot[i], step_at(biased, steps[2 + i]), x, 1);
        dot[i] = vdotq_laneq_s32(dot[i], step_at(biased, steps[4 + i]), x, 2);
        dot[i] = vdotq_laneq_s32(dot[i], step_at(biased, steps[6 + i]), x, 3);
    }
}

/* Eight rows of the panel, from row `first` on, with `tokens` rows. */
INLINE void panel_block(size_t tokens, size_t first, size_t group, bool biased, size_t columns, const fv_panel *panel,
                        const int8_t *quants, const float *scale, const float *sum, float *out, size_t out_stride) {
    const size_t groups = columns / group;
    panel_sum total[4];
    for (size_t t = 0; t < tokens; t++) total[t] = panel_sum_zero();
    for (size_t g = 0; g < groups; g++) {
        int32x4_t dot[4][2];
        for (size_t t = 0; t < tokens; t++) dot[t][0] = dot[t][1] = vdupq_n_s32(0);
        for (size_t c = g * group; c < (g + 1) * group; c += 16) {
            const uint8_t *w = panel->quants + c * FV_PANEL_ROWS + 4 * first;
            uint8x16_t steps[8];
            for (size_t k = 0; k < 8; k++) steps[k] = vld1q_u8(w + k / 2 * 4 * FV_PANEL_ROWS + k % 2 * 16);
            for (size_t t = 0; t < tokens; t++) dot16(biased, steps, vld1q_s8(quants + t * columns + c), dot[t]);
        }
        float32x4_t weight_scale[2], offset[2];
        load8_f32(panel->scale + g * FV_PANEL_ROWS + first, weight_scale);
        load8_f32(panel->offset + g * FV_PANEL_ROWS + first, offset);
        for (size_t t = 0; t < tokens; t++)
            panel_sum_add(&total[t], dot[t], weight_scale, offset, scale[t * (columns / 32) + g * group / 32],
                          sum[t * groups + g]);
    }
    for (size_t t = 0; t < tokens; t++) panel_sum_store(&total[t], out + t * out_stride + first);
}

INLINE void product_panel(size_t group, bool biased, size_t columns, size_t tokens, const fv_panel *panel,
                          const fv_q8_rows *x, float *out, size_t out_stride) {
    const float *sums = group == 16 ? x->sum16 : x->sum32;
    for (size_t first = 0; first < FV_PANEL_ROWS; first += 8) {
        size_t t = 0;
        for (; t + 4 <= tokens; t += 4)
            panel_block(4, first, group, biased, columns, panel, x->quants + t * columns, x->scale + t * (columns / 32),
                        sums + t * (columns / group), out + t * out_stride, out_stride);
        for (; t < tokens; t++)
            panel_block(1, first, group, biased, columns, panel, x->quants + t * columns, x->scale + t * (columns / 32),
                        sums + t * (columns / group), out + t * out_stride, out_stride);
    }
}

/* Each in a function of its own: together they would share registers badly. */
#define PANEL(name, ...) \
    static __attribute__((noinline)) void name(size_t columns, size_t tokens, const fv_panel *panel, \
                                               const fv_q8_rows *x, float *out, size_t out_stride) { \
        product_panel(__VA_ARGS__, columns, tokens, panel, x, out, out_stride); \
    }
PANEL(product_16_plain, 16, false)
PANEL(product_32_plain, 32, false)
PANEL(product_32_biased, 32, true)

void fv_product_panel_neon_dotprod(size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x,
                                   float *out, size_t out_stride) {
    if (panel->group == 16)
        product_16_plain(columns, tokens, panel, x, out, out_stride);
    else if (panel->largest <= 127)
        product_32_plain(columns, tokens, panel, x, out, out_stride);
    else
        product_32_biased(columns, tokens, panel, x, out, out_stride);
}

INLINE void packed_dot(fv_packed_type type, size_t count, const uint8x16_t *steps, const int8_t *x, int32x4_t dot[2]) {
    dot[0] = dot[1] = vdupq_n_s32(0);
    for (size_t k = 0; k < count; k += 4) dot16(fv_packed_is_wide(type), steps + 2 * k, vld1q_s8(x + 4 * k), dot);
}

bool fv_product_packed_neon_dotprod(fv_packed_type type, size_t columns, size_t eights, const void *packed,
                                    size_t tokens, const fv_q8_rows *x, float *out, size_t out_stride) {
    if (tokens > PACKED_TOKENS) return false;
#define PRODUCT_CASE(NAME, name) \
    case FV_PACKED_##NAME: \
        packed_product(FV_PACKED_##NAME, packed_dot, columns, eights, packed, tokens, x, out, out_stride); \
        return true;
    switch (type) {
        FV_PACKED_LIST(PRODUCT_CASE)
    case FV_PACKED_COUNT:
        break;
    }
#undef PRODUCT_CASE
    return false;
}
