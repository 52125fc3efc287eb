/* product_neon.h - what the integer products of all Arm levels share: the sums of eight rows, a packed group in
 * registers. Eight rows are two registers: rows 0..3, rows 4..7. */
#ifndef FV_PRODUCT_NEON_H
#define FV_PRODUCT_NEON_H

#include "kernels/kernels.h"
#include "kernels/packed.h"
#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

/* A and B of the contract, for one token and eight rows. */
typedef struct panel_sum {
    float32x4_t a[2], b[2];
} panel_sum;

INLINE panel_sum panel_sum_zero(void) {
    const float32x4_t zero = vdupq_n_f32(0.0f);
    return (panel_sum){{zero, zero}, {zero, zero}};
}

/* One group: its integers, its scales and offsets, the activations' scale and sum. */
INLINE void panel_sum_add(panel_sum *sum, const int32x4_t dot[2], const float32x4_t scale[2],
                          const float32x4_t offset[2], float x_scale, float x_sum) {
    for (size_t i = 0; i < 2; i++) {
        sum->a[i] = vfmaq_f32(sum->a[i], vcvtq_f32_s32(dot[i]), vmulq_n_f32(scale[i], x_scale));
        sum->b[i] = vfmaq_n_f32(sum->b[i], offset[i], x_sum);
    }
}

INLINE void panel_sum_store(const panel_sum *sum, float *out) {
    vst1q_f32(out, vaddq_f32(sum->a[0], sum->b[0]));
    vst1q_f32(out + 4, vaddq_f32(sum->a[1], sum->b[1]));
}

INLINE void load8_f32(const float *x, float32x4_t out[2]) {
    out[0] = vld1q_f32(x);
    out[1] = vld1q_f32(x + 4);
}

/* A weight of 0..255 minus 128, for instructions that multiply signed bytes only. */
INLINE int8x16_t less_128(uint8x16_t w) { return vreinterpretq_s8_u8(veorq_u8(w, vdupq_n_u8(0x80))); }

/* Puts the bits of `mask` that lie `left` places further down (or, negative, further up) into a byte. */
INLINE uint8x16_t moved(uint8x16_t bytes, int left, uint8_t mask) {
    return vandq_u8(vshlq_u8(bytes, vdupq_n_s8((int8_t)left)), vdupq_n_u8(mask));
}

/* Steps 2k and 2k+1 hold inputs 4k..4k+3 of the eight rows, unsigned. */
INLINE void packed_steps(fv_packed_type type, const uint8_t *bytes, uint8x16_t steps[16]) {
    if (type == FV_PACKED_Q8_0) {
        for (size_t i = 0; i < 16; i++) steps[i] = vld1q_u8(bytes + 16 * i);
        return;
    }
    if (fv_packed_is_pairs(type)) {
        for (size_t i = 0; i < 16; i++) {
            int k = (int)(i / 2);
            steps[i] = moved(vld1q_u8(bytes + 32 * (i / 8) + 16 * (i % 2)), -2 * (k % 4), 3);
            if (type == FV_PACKED_Q3_K)
                steps[i] = vorrq_u8(steps[i], moved(vld1q_u8(bytes + FV_PACKED_Q3_K_THIRDS + 16 * (i % 2)), 2 - k, 4));
        }
        return;
    }
    for (size_t i = 0; i < 8; i++) {
        uint8x16_t both = vld1q_u8(bytes + 16 * i);
        steps[i] = vandq_u8(both, vdupq_n_u8(15));
        steps[i + 8] = vshrq_n_u8(both, 4);
    }
    if (fv_packed_has_fifths(type))
        for (size_t i = 0; i < 16; i++)
            steps[i] = vorrq_u8(steps[i], moved(vld1q_u8(bytes + 128 + 16 * (i % 2)), 4 - (int)(i / 2), 0x10));
    if (type == FV_PACKED_Q6_K)
        for (size_t i = 0; i < 16; i++) {
            uint8x16_t pairs = vld1q_u8(bytes + 128 + 32 * (i / 8) + 16 * (i % 2));
            steps[i] = vorrq_u8(steps[i], moved(pairs, 4 - 2 * (int)(i % 8 / 2), 0x30));
        }
    if (fv_packed_lookup(type))
        for (size_t i = 0; i < 16; i++) steps[i] = vqtbl1q_u8(vld1q_u8(fv_packed_lookup(type)), steps[i]);
}

INLINE void load8_f16(const uint8_t *bytes, float32x4_t out[2]) {
    float16x8_t halves = vreinterpretq_f16_u8(vld1q_u8(bytes));
    out[0] = vcvt_f32_f16(vget_low_f16(halves));
    out[1] = vcvt_high_f32_f16(halves);
}

/* fv_half_e8m0() of eight exponents. */
INLINE void load8_e8m0(const uint8_t *bytes, float32x4_t out[2]) {
    uint16x8_t wide = vmovl_u8(vld1_u8(bytes));
    for (size_t i = 0; i < 2; i++) {
        uint32x4_t exponent = i ? vmovl_high_u16(wide) : vmovl_u16(vget_low_u16(wide));
        uint32x4_t normal = vshlq_n_u32(vsubq_u32(exponent, vdupq_n_u32(1)), 23);
        uint32x4_t small = vshlq_u32(vdupq_n_u32(0x200000), vreinterpretq_s32_u32(exponent));
        out[i] = vreinterpretq_f32_u32(vbslq_u32(vcgtq_u32(exponent, vdupq_n_u32(1)), normal, small));
    }
}

/* Eight bytes times eight floats. */
INLINE void scaled8(int16x8_t steps, const float32x4_t scale[2], float32x4_t out[2]) {
    out[0] = vmulq_f32(scale[0], vcvtq_f32_s32(vmovl_s16(vget_low_s16(steps))));
    out[1] = vmulq_f32(scale[1], vcvtq_f32_s32(vmovl_high_s16(steps)));
}

/* A block's scales, as far as its groups share them. */
typedef struct packed_header {
    float32x4_t scale[2], minimum[2]; /* minimum: Q4_1's and Q5_1's as it is, that of K types negated */
    uint8_t scales[128], minima[64];  /* of Q4_K, Q5_K: [group][row]; scales of IQ4_XS and Q3_K, signed */
} packed_header;

/* Six bits less 32 of 8 groups of 8 rows: groups 2i and 2i + 1. */
INLINE void xs_scales_load(const uint8_t *block, uint8_t scales[64]) {
    uint8x16_t pairs = vld1q_u8(block + FV_PACKED_XS_TOPS);
    for (int i = 0; i < 4; i++) {
        uint8x16_t both = vld1q_u8(block + FV_PACKED_XS_SCALES + 16 * (i % 2));
        uint8x16_t low = i < 2 ? vandq_u8(both, vdupq_n_u8(15)) : vshrq_n_u8(both, 4);
        vst1q_u8(scales + 16 * i, vsubq_u8(vorrq_u8(low, moved(pairs, 4 - 2 * i, 0x30)), vdupq_n_u8(32)));
    }
}

/* The same of 16 groups. */
INLINE void q3_k_scales_load(const uint8_t *block, uint8_t scales[128]) {
    for (int i = 0; i < 8; i++) {
        uint8x16_t both = vld1q_u8(block + FV_PACKED_Q3_K_SCALES + 16 * (i % 4));
        uint8x16_t low = i < 4 ? vandq_u8(both, vdupq_n_u8(15)) : vshrq_n_u8(both, 4);
        uint8x16_t tops = vld1q_u8(block + FV_PACKED_Q3_K_TOPS + 16 * (i % 2));
        vst1q_u8(scales + 16 * i, vsubq_u8(vorrq_u8(low, moved(tops, 4 - 2 * (i / 2), 0x30)), vdupq_n_u8(32)));
    }
}

INLINE void packed_header_load(fv_packed_type type, const uint8_t *block, packed_header *header) {
    if (fv_packed_is_mxfp4(type))
        load8_e8m0(block, header->scale);
    else
        load8_f16(block, header->scale);
    if (fv_packed_has_minima(type)) load8_f16(block + FV_PACKED_MINIMA, header->minimum);
    if (type == FV_PACKED_IQ4_XS) xs_scales_load(block, header->scales);
    if (type == FV_PACKED_Q3_K) q3_k_scales_load(block, header->scales);
    if (type != FV_PACKED_Q4_K && type != FV_PACKED_Q5_K && type != FV_PACKED_Q2_K) return;
    load8_f16(block + FV_PACKED_MINIMA, header->minimum);
    for (size_t i = 0; i < 2; i++) header->minimum[i] = vnegq_f32(header->minimum[i]);
    if (type == FV_PACKED_Q2_K) return;
    for (int i = 0; i < 4; i++) { /* groups 2i and 2i + 1 */
        uint8x16_t both = vld1q_u8(block + FV_PACKED_SUPER_SCALES + 16 * i);
        uint8x16_t tops = vld1q_u8(block + FV_PACKED_SUPER_TOPS + 16 * (i % 2));
        uint8x16_t low = vandq_u8(both, vdupq_n_u8(15)), high = vshrq_n_u8(both, 4);
        vst1q_u8(header->scales + 16 * i, vorrq_u8(low, moved(tops, i < 2 ? 4 : 0, 0x30)));
        vst1q_u8(header->minima + 16 * i, vorrq_u8(high, moved(tops, i < 2 ? 2 : -2, 0x30)));
    }
}

/* Scales of group `group`: of 16 inputs or of 32. */
INLINE void packed_scales(fv_packed_type type, const uint8_t *block, const packed_header *header, size_t group,
                          float32x4_t scale[2], float32x4_t offset[2]) {
    for (size_t i = 0; i < 2; i++) scale[i] = header->scale[i];
    if (type == FV_PACKED_Q6_K)
        scaled8(vmovl_s8(vld1_s8((const int8_t *)block + 16 + 8 * group)), header->scale, scale);
    if (type == FV_PACKED_IQ4_XS || type == FV_PACKED_Q3_K)
        scaled8(vmovl_s8(vld1_s8((const int8_t *)header->scales + 8 * group)), header->scale, scale);
    if (type == FV_PACKED_Q2_K) {
        uint8x8_t both = vld1_u8(block + FV_PACKED_Q2_K_SCALES + 8 * group);
        scaled8(vreinterpretq_s16_u16(vmovl_u8(vand_u8(both, vdup_n_u8(15)))), header->scale, scale);
        scaled8(vreinterpretq_s16_u16(vmovl_u8(vshr_n_u8(both, 4))), header->minimum, offset);
    } else if (type == FV_PACKED_Q4_K || type == FV_PACKED_Q5_K) {
        scaled8(vreinterpretq_s16_u16(vmovl_u8(vld1_u8(header->scales + 8 * group))), header->scale, scale);
        scaled8(vreinterpretq_s16_u16(vmovl_u8(vld1_u8(header->minima + 8 * group))), header->minimum, offset);
    } else
        for (size_t i = 0; i < 2; i++)
            offset[i] = fv_packed_has_minima(type) ? header->minimum[i] : vmulq_n_f32(scale[i], fv_packed_bias(type));
}

/* Eight dot products over `count` steps of 2 * count registers. */
typedef void packed_dot_fn(fv_packed_type type, size_t count, const uint8x16_t *steps, const int8_t *x,
                           int32x4_t dot[2]);

enum { PACKED_TOKENS = 4 }; /* that share unpacked weights */

/* `tokens` rows with eight packed ones; `dot_of` is inlined. */
INLINE void packed_eight(fv_packed_type type, packed_dot_fn *dot_of, size_t tokens, size_t columns,
                         const uint8_t *block, const fv_q8_rows *x, float *out, size_t out_stride) {
    const size_t groups = fv_packed_block_values(type) / 32, scales = fv_packed_by_16(type) ? 2 : 1;
    const float *sums = fv_packed_by_16(type) ? x->sum16 : x->sum32;
    panel_sum total[PACKED_TOKENS];
    for (size_t t = 0; t < tokens; t++) total[t] = panel_sum_zero();
    for (size_t first = 0; first < columns / 32; first += groups, block += fv_packed_block_bytes(type)) {
        packed_header header;
        packed_header_load(type, block, &header);
        for (size_t g = 0; g < groups; g++) {
            uint8x16_t steps[16];
            packed_steps(type, block + fv_packed_header_bytes(type) + g * fv_packed_group_bytes(type), steps);
            for (size_t half = 0; half < scales; half++) {
                float32x4_t scale[2], offset[2];
                packed_scales(type, block, &header, g * scales + half, scale, offset);
                for (size_t t = 0; t < tokens; t++) {
                    size_t i = t * (columns / 32) + first + g;
                    int32x4_t dot[2];
                    dot_of(type, 8 / scales, steps + 8 * half, x->quants + 32 * i + 16 * half, dot);
                    panel_sum_add(&total[t], dot, scale, offset, x->scale[i], sums[i * scales + half]);
                }
            }
        }
    }
    for (size_t t = 0; t < tokens; t++) panel_sum_store(&total[t], out + t * out_stride);
}

/* Each size of block is compiled by itself. */
INLINE void packed_product(fv_packed_type type, packed_dot_fn *dot_of, size_t columns, size_t eights,
                           const void *packed, size_t tokens, const fv_q8_rows *x, float *out, size_t out_stride) {
    const size_t bytes = columns / fv_packed_block_values(type) * fv_packed_block_bytes(type);
    const uint8_t *eight = (const uint8_t *)packed;
    for (size_t e = 0; e < eights; e++, eight += bytes, out += FV_PACKED_ROWS) {
        size_t t = 0;
        for (; t + PACKED_TOKENS <= tokens; t += PACKED_TOKENS) {
            fv_q8_rows some = fv_q8_rows_from(x, columns, t);
            packed_eight(type, dot_of, PACKED_TOKENS, columns, eight, &some, out + t * out_stride, out_stride);
        }
        for (; t < tokens; t++) {
            fv_q8_rows one = fv_q8_rows_from(x, columns, t);
            packed_eight(type, dot_of, 1, columns, eight, &one, out + t * out_stride, out_stride);
        }
    }
}

#endif
