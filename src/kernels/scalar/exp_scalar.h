/* exp_scalar.h - exp and tanh without libm: range reduction by ln 2 in two parts and a polynomial (Cephes expf). */
#ifndef FV_EXP_SCALAR_H
#define FV_EXP_SCALAR_H

#include "kernels/half.h"

/* Relative error <= 2 ulp; below -87.33 exactly 0, above 88.37 the largest such value (no infinity, no NaN out of a
 * NaN-free input); exp(-inf) = 0. */
static inline float fv_exp_scalar(float x) {
    if (!(x >= -87.33f)) return 0.0f;
    if (x > 88.37f) x = 88.37f;
    float n = (x * 1.44269504089f + 12582912.0f) - 12582912.0f; /* nearest integer, by the magic number 1.5 * 2^23 */
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * (r * r) + r) + 1.0f;
    return p * fv_f32_from_bits((uint32_t)((int32_t)n + 127) << 23);
}

static inline float fv_tanh_scalar(float x) {
    float magnitude = x < 0.0f ? -x : x;
    if (magnitude < 0.1f) { /* the quotient below would cancel */
        float s = x * x;
        return x * (1.0f - s * (0.333333333f - s * (0.133333333f - s * 0.0539682540f)));
    }
    float e = fv_exp_scalar(2.0f * (magnitude < 10.0f ? magnitude : 10.0f));
    float y = 1.0f - 2.0f / (e + 1.0f);
    return x < 0.0f ? -y : y;
}

#endif
