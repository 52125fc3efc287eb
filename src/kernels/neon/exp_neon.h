/* exp_neon.h - four exponentials: Cephes' expf with FMA, and 2^x; the same ranges as in exp_scalar.h. */
#ifndef FV_EXP_NEON_H
#define FV_EXP_NEON_H

#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float32x4_t exp4(float32x4_t x) {
    uint32x4_t alive = vcgeq_f32(x, vdupq_n_f32(-87.33f));
    x = vminq_f32(x, vdupq_n_f32(88.37f));
    float32x4_t n = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(1.44269504089f)));
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0.693359375f));
    r = vfmaq_f32(r, n, vdupq_n_f32(2.12194440e-4f));
    float32x4_t p = vdupq_n_f32(1.9875691500e-4f);
    p = vfmaq_f32(vdupq_n_f32(1.3981999507e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(8.3334519073e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(4.1665795894e-2f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.6666665459e-1f), p, r);
    p = vfmaq_f32(vdupq_n_f32(5.0000001201e-1f), p, r);
    p = vaddq_f32(vfmaq_f32(r, p, vmulq_f32(r, r)), vdupq_n_f32(1.0f));
    int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23);
    p = vmulq_f32(p, vreinterpretq_f32_s32(power));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(p), alive));
}

/* 2^(x - whole) as fv_exp2_scalar(). */
INLINE float32x4_t exp2_4(float32x4_t x, float32x4_t whole) {
    float32x4_t n = vrndnq_f32(x), f = vsubq_f32(x, n), power = vsubq_f32(n, whole);
    uint32x4_t alive = vcgeq_f32(power, vdupq_n_f32(-126.0f));
    float32x4_t p = vdupq_n_f32(1.5345812e-4f);
    p = vfmaq_f32(vdupq_n_f32(1.3399931e-3f), p, f);
    p = vfmaq_f32(vdupq_n_f32(9.6184891e-3f), p, f);
    p = vfmaq_f32(vdupq_n_f32(5.5503286e-2f), p, f);
    p = vfmaq_f32(vdupq_n_f32(2.4022646e-1f), p, f);
    p = vfmaq_f32(vdupq_n_f32(6.9314718e-1f), p, f);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, f);
    int32x4_t exponent = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(power), vdupq_n_s32(127)), 23);
    p = vmulq_f32(p, vreinterpretq_f32_s32(exponent));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(p), alive));
}

#endif
