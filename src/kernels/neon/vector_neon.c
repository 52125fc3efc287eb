/* Limit: loads and stores; these are short vectors that lie in L1. */
#include "kernels/kernels.h"
#include "kernels/neon/exp_neon.h"
#include <arm_neon.h>
#include <float.h>

void fv_narrow_f16_neon(size_t n, const float *x, uint16_t *out) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    for (; i < n; i++) vst1_lane_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x[i]))), 0);
}

void fv_widen_f16_neon(size_t n, const uint16_t *x, float *out) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x + i))));
    for (; i < n; i++) vst1q_lane_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(x[i]))), 0);
}

float fv_dot_f32_neon(size_t n, const float *x, const float *y) {
    float32x4_t part[4] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f), vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t j = 0; j < 4; j++) part[j] = vfmaq_f32(part[j], vld1q_f32(x + i + 4 * j), vld1q_f32(y + i + 4 * j));
    for (; i + 4 <= n; i += 4) part[0] = vfmaq_f32(part[0], vld1q_f32(x + i), vld1q_f32(y + i));
    float sum = vaddvq_f32(vaddq_f32(vaddq_f32(part[0], part[1]), vaddq_f32(part[2], part[3])));
    for (; i < n; i++) sum += x[i] * y[i];
    return sum;
}

void fv_rms_norm_f32_neon(size_t n, const float *x, const float *weight, float epsilon, float *out) {
    float square = fv_dot_f32_neon(n, x, x) / (float)n + epsilon;
    square = square < FLT_MIN ? FLT_MIN : square > FLT_MAX ? FLT_MAX : square;
    float factor = 1.0f / vget_lane_f32(vsqrt_f32(vdup_n_f32(square)), 0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vmulq_f32(vmulq_n_f32(vld1q_f32(x + i), factor), vld1q_f32(weight + i)));
    for (; i < n; i++) out[i] = x[i] * factor * weight[i];
}

INLINE float32x4_t sigmoid4(float32x4_t x) {
    const float32x4_t one = vdupq_n_f32(1.0f);
    return vdivq_f32(one, vaddq_f32(one, exp4(vnegq_f32(x))));
}

/* 0.5 (1 + tanh y) = sigmoid(2y), so gelu's tanh form is x * sigmoid of twice its argument. */
INLINE float32x4_t gated4(int gelu, float32x4_t x) {
    if (!gelu) return vmulq_f32(x, sigmoid4(x));
    float32x4_t cubic = vmulq_n_f32(vmulq_f32(vmulq_f32(x, x), x), 0.044715f);
    return vmulq_f32(x, sigmoid4(vmulq_n_f32(vaddq_f32(x, cubic), 1.59576912160573f)));
}

INLINE void gated(int gelu, size_t n, const float *gate, const float *up, float *out) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(out + i, vmulq_f32(gated4(gelu, vld1q_f32(gate + i)), vld1q_f32(up + i)));
    for (; i < n; i++) out[i] = vgetq_lane_f32(gated4(gelu, vdupq_n_f32(gate[i])), 0) * up[i];
}

void fv_silu_f32_neon(size_t n, const float *gate, const float *up, float *out) { gated(0, n, gate, up, out); }

void fv_gelu_f32_neon(size_t n, const float *gate, const float *up, float *out) { gated(1, n, gate, up, out); }
