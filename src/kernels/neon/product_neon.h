/* product_neon.h - what the integer products of all Arm levels share: the sums of eight rows, a packed group in
 * registers. Eight rows are two registers: rows 0..3, rows 4..7. */
#ifndef FV_PRODUCT_NEON_H
#define FV_PRODUCT_NEON_H

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

/* Steps 2k and 2k+1 hold inputs 4k..4k+3 of the eight rows, unsigned. */
INLINE void packed_steps(fv_packed_type type, const uint8_t *group, uint8x16_t steps[16]) {
    const uint8_t *bytes = group + fv_packed_quant_offset(type);
    if (type == FV_PACKED_Q8_0) {
        for (size_t k = 0; k < 16; k++) steps[k] = vld1q_u8(bytes + 16 * k);
        return;
    }
    for (size_t k = 0; k < 8; k++) {
        uint8x16_t both = vld1q_u8(bytes + 16 * k);
        steps[k] = vandq_u8(both, vdupq_n_u8(15));
        steps[k + 8] = vshrq_n_u8(both, 4);
    }
    if (type != FV_PACKED_Q5_0) return;
    for (size_t half = 0; half < 2; half++) {
        uint8x16_t bits = vld1q_u8(bytes + 128 + 16 * half);
        for (int k = 0; k < 8; k++) {
            uint8x16_t moved = vshlq_u8(bits, vdupq_n_s8((int8_t)(4 - k)));
            steps[2 * k + (int)half] = vorrq_u8(steps[2 * k + (int)half], vandq_u8(moved, vdupq_n_u8(16)));
        }
    }
}

INLINE void load8_f16(const uint8_t *bytes, float32x4_t out[2]) {
    float16x8_t halves = vreinterpretq_f16_u8(vld1q_u8(bytes));
    out[0] = vcvt_f32_f16(vget_low_f16(halves));
    out[1] = vcvt_high_f32_f16(halves);
}

INLINE void packed_scales(fv_packed_type type, const uint8_t *group, float32x4_t scale[2], float32x4_t offset[2]) {
    load8_f16(group, scale);
    if (type == FV_PACKED_Q4_1)
        load8_f16(group + 16, offset);
    else
        for (size_t i = 0; i < 2; i++) offset[i] = vmulq_n_f32(scale[i], fv_packed_bias(type));
}

#endif
