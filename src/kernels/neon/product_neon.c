/* Limit: byte multiply-adds. Each of the sixteen-bit sums belongs to one row and one of four inputs, so that products
 * of 4- and 5-bit weights may be summed eight deep (8 * 31 * 127 = 31,496), of 6-bit weights four deep (32,004), and of
 * 8-bit weights less 128 two deep (32,512) before they are widened. */
#include "kernels/neon/product_neon.h"
#include "kernels/kernels.h"
#include <stdbool.h>

/* In the order of their bits, in which a NaN of either kind is the largest. */
INLINE float max_magnitude32(const float32x4_t v[8]) {
    uint32x4_t best = vdupq_n_u32(0);
    for (size_t j = 0; j < 8; j++) best = vmaxq_u32(best, vreinterpretq_u32_f32(vabsq_f32(v[j])));
    return vgetq_lane_f32(vreinterpretq_f32_u32(vdupq_n_u32(vmaxvq_u32(best))), 0);
}

INLINE int32x4_t quantize4(float32x4_t x, float inverse) {
    float32x4_t y = vmulq_n_f32(x, inverse);
    y = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(y), vceqq_f32(y, y))); /* NaN becomes 0 */
    return vcvtnq_s32_f32(vminq_f32(vmaxq_f32(y, vdupq_n_f32(-127.0f)), vdupq_n_f32(127.0f)));
}

void fv_quantize_q8_neon(size_t n, const float *x, int8_t *quants, float *scale, float *sum16, float *sum32) {
    for (size_t b = 0; b < n / 32; b++, x += 32, quants += 32) {
        float32x4_t v[8];
        int32x4_t q[8];
        for (size_t j = 0; j < 8; j++) v[j] = vld1q_f32(x + 4 * j);
        float step = max_magnitude32(v) / 127.0f, inverse = step > 0.0f ? 1.0f / step : 0.0f;
        if (!(inverse <= 3.402823466e38f)) inverse = 0.0f;
        for (size_t j = 0; j < 8; j++) q[j] = quantize4(v[j], inverse);
        int32_t half[2];
        for (size_t i = 0; i < 2; i++) {
            int32x4_t *four = q + 4 * i;
            half[i] = vaddvq_s32(vaddq_s32(vaddq_s32(four[0], four[1]), vaddq_s32(four[2], four[3])));
            int16x8_t low = vcombine_s16(vmovn_s32(four[0]), vmovn_s32(four[1]));
            int16x8_t high = vcombine_s16(vmovn_s32(four[2]), vmovn_s32(four[3]));
            vst1q_s8(quants + 16 * i, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
            sum16[2 * b + i] = step * (float)half[i];
        }
        scale[b] = step;
        sum32[b] = step * (float)(half[0] + half[1]);
    }
}

/* 4 x 4 transpose of dwords: row r of `in` has 16 bytes of weight row r; column k becomes half a panel step. */
INLINE void transpose4(const uint32x4_t in[4], uint32x4_t out[4]) {
    uint64x2_t even[2], odd[2];
    for (size_t i = 0; i < 2; i++) {
        even[i] = vreinterpretq_u64_u32(vtrn1q_u32(in[2 * i], in[2 * i + 1]));
        odd[i] = vreinterpretq_u64_u32(vtrn2q_u32(in[2 * i], in[2 * i + 1]));
    }
    out[0] = vreinterpretq_u32_u64(vtrn1q_u64(even[0], even[1]));
    out[1] = vreinterpretq_u32_u64(vtrn1q_u64(odd[0], odd[1]));
    out[2] = vreinterpretq_u32_u64(vtrn2q_u64(even[0], even[1]));
    out[3] = vreinterpretq_u32_u64(vtrn2q_u64(odd[0], odd[1]));
}

void fv_panel_pack_neon(size_t columns, size_t groups, const uint8_t *quants, const float *scale, const float *offset,
                        uint8_t *out_quants, float *out_scale, float *out_offset) {
    for (size_t c = 0; c < columns; c += 16, out_quants += 16 * FV_PANEL_ROWS)
        for (size_t half = 0; half < 2; half++) {
            uint32x4_t in[4], out[4];
            for (size_t r = 0; r < 4; r++)
                in[r] = vreinterpretq_u32_u8(vld1q_u8(quants + (4 * half + r) * columns + c));
            transpose4(in, out);
            for (size_t k = 0; k < 4; k++)
                vst1q_u8(out_quants + k * 4 * FV_PANEL_ROWS + 16 * half, vreinterpretq_u8_u32(out[k]));
        }
    for (size_t g = 0; g < groups; g++)
        for (size_t r = 0; r < 8; r++) {
            out_scale[g * FV_PANEL_ROWS + r] = scale[r * groups + g];
            out_offset[g * FV_PANEL_ROWS + r] = offset[r * groups + g];
        }
}

INLINE void panel_unpack(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                         float *offset) {
    const size_t groups = fv_packed_block_values(type) / 32, scales = fv_packed_by_16(type) ? 2 : 1;
    const uint8_t *block = packed;
    for (size_t b = 0; b < columns / 32 / groups; b++, block += fv_packed_block_bytes(type)) {
        packed_header header;
        packed_header_load(type, block, &header);
        for (size_t i = 0; i < groups * scales; i++, scale += FV_PANEL_ROWS, offset += FV_PANEL_ROWS) {
            float32x4_t s[2], o[2];
            packed_scales(type, block, &header, i, s, o);
            for (size_t j = 0; j < 2; j++) {
                vst1q_f32(scale + 4 * j, s[j]);
                vst1q_f32(offset + 4 * j, o[j]);
            }
        }
        for (size_t g = 0; g < groups; g++, quants += 32 * FV_PANEL_ROWS) {
            uint8x16_t steps[16];
            packed_steps(type, block + fv_packed_header_bytes(type) + g * fv_packed_group_bytes(type), steps);
            for (size_t i = 0; i < 16; i++) vst1q_u8(quants + i / 2 * 4 * FV_PANEL_ROWS + i % 2 * 16, steps[i]);
        }
    }
}

void fv_panel_unpack_neon(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                          float *offset) {
#define UNPACK_CASE(NAME, name) \
    case FV_PACKED_##NAME: \
        panel_unpack(FV_PACKED_##NAME, columns, packed, quants, scale, offset); \
        break;
    switch (type) {
        FV_PACKED_LIST(UNPACK_CASE)
    case FV_PACKED_COUNT:
        break;
    }
#undef UNPACK_CASE
}

INLINE int8x16_t broadcast4(const int8_t *x) {
    int32_t four;
    __builtin_memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/* Sixteen-bit sums of eight rows x four inputs. */
typedef struct word_sum {
    int16x8_t pair[4]; /* two rows each */
} word_sum;

INLINE word_sum word_sum_zero(void) {
    const int16x8_t zero = vdupq_n_s16(0);
    return (word_sum){{zero, zero, zero, zero}};
}

/* One step: rows 0..3 and 4..7, four inputs each. */
INLINE void word_sum_add(word_sum *sum, const int8x16_t w[2], int8x16_t x) {
    for (size_t i = 0; i < 2; i++) {
        sum->pair[2 * i] = vmlal_s8(sum->pair[2 * i], vget_low_s8(w[i]), vget_low_s8(x));
        sum->pair[2 * i + 1] = vmlal_high_s8(sum->pair[2 * i + 1], w[i], x);
    }
}

INLINE void word_sum_widen(const word_sum *sum, int32x4_t dot[2]) {
    for (size_t i = 0; i < 2; i++)
        dot[i] = vaddq_s32(dot[i], vpaddq_s32(vpaddlq_s16(sum->pair[2 * i]), vpaddlq_s16(sum->pair[2 * i + 1])));
}

/* What less_128() took off. */
INLINE int32x4_t bias32(const int8_t *x) {
    return vdupq_n_s32(128 * (vaddlvq_s8(vld1q_s8(x)) + vaddlvq_s8(vld1q_s8(x + 16))));
}

INLINE int8x16_t step_at(bool biased, uint8x16_t w) { return biased ? less_128(w) : vreinterpretq_s8_u8(w); }

/* Eight rows of the panel, from row `first` on, with `tokens` rows. */
INLINE void panel_block(size_t tokens, size_t first, size_t group, size_t deep, size_t columns, const fv_panel *panel,
                        const int8_t *quants, const float *scale, const float *sum, float *out, size_t out_stride) {
    const bool biased = deep == 2;
    const size_t groups = columns / group;
    panel_sum total[4];
    for (size_t t = 0; t < tokens; t++) total[t] = panel_sum_zero();
    for (size_t g = 0; g < groups; g++) {
        const int8_t *x = quants + g * group;
        int32x4_t dot[4][2];
        for (size_t t = 0; t < tokens; t++) dot[t][0] = dot[t][1] = biased ? bias32(x + t * columns) : vdupq_n_s32(0);
        for (size_t k = 0; k < group / 4; k += deep) {
            word_sum words[4];
            for (size_t t = 0; t < tokens; t++) words[t] = word_sum_zero();
            for (size_t i = k; i < k + deep; i++) {
                const uint8_t *w = panel->quants + (g * group + 4 * i) * FV_PANEL_ROWS + 4 * first;
                int8x16_t step[2] = {step_at(biased, vld1q_u8(w)), step_at(biased, vld1q_u8(w + 16))};
                for (size_t t = 0; t < tokens; t++) word_sum_add(&words[t], step, broadcast4(x + t * columns + 4 * i));
            }
            for (size_t t = 0; t < tokens; t++) word_sum_widen(&words[t], dot[t]);
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

INLINE void product_panel(size_t group, size_t deep, size_t columns, size_t tokens, const fv_panel *panel,
                          const fv_q8_rows *x, float *out, size_t out_stride) {
    const float *sums = group == 16 ? x->sum16 : x->sum32;
    for (size_t first = 0; first < FV_PANEL_ROWS; first += 8) {
        size_t t = 0;
        for (; t + 4 <= tokens; t += 4)
            panel_block(4, first, group, deep, columns, panel, x->quants + t * columns, x->scale + t * (columns / 32),
                        sums + t * (columns / group), out + t * out_stride, out_stride);
        for (; t < tokens; t++)
            panel_block(1, first, group, deep, columns, panel, x->quants + t * columns, x->scale + t * (columns / 32),
                        sums + t * (columns / group), out + t * out_stride, out_stride);
    }
}

/* Each in a function of its own: together they would share registers badly. */
#define PANEL(name, ...) \
    static __attribute__((noinline)) void name(size_t columns, size_t tokens, const fv_panel *panel, \
                                               const fv_q8_rows *x, float *out, size_t out_stride) { \
        product_panel(__VA_ARGS__, columns, tokens, panel, x, out, out_stride); \
    }
PANEL(product_16_4, 16, 4)
PANEL(product_32_8, 32, 8)
PANEL(product_32_2, 32, 2)

void fv_product_panel_neon(size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out,
                           size_t out_stride) {
    if (panel->group == 16)
        product_16_4(columns, tokens, panel, x, out, out_stride);
    else if (panel->largest <= 31)
        product_32_8(columns, tokens, panel, x, out, out_stride);
    else
        product_32_2(columns, tokens, panel, x, out, out_stride);
}

INLINE void packed_dot(fv_packed_type type, size_t count, const uint8x16_t *steps, const int8_t *x, int32x4_t dot[2]) {
    const bool biased = fv_packed_is_wide(type);
    const size_t deep = biased ? 2 : count;
    dot[0] = dot[1] = biased ? bias32(x) : vdupq_n_s32(0);
    for (size_t k = 0; k < count; k += deep) {
        word_sum words = word_sum_zero();
        for (size_t i = k; i < k + deep; i++) {
            int8x16_t step[2] = {step_at(biased, steps[2 * i]), step_at(biased, steps[2 * i + 1])};
            word_sum_add(&words, step, broadcast4(x + 4 * i));
        }
        word_sum_widen(&words, dot);
    }
}

bool fv_product_packed_neon(fv_packed_type type, size_t columns, size_t eights, const void *packed, size_t tokens,
                            const fv_q8_rows *x, float *out, size_t out_stride) {
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
