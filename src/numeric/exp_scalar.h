/* exp_scalar.h - exp, 2^x and tanh without libm. exp: range reduction by ln 2 in two parts and a polynomial (Cephes
 * expf). 2^x: a polynomial of degree 6 over -0.5..0.5 with the least largest relative error (Remez), 2e-9. */
#ifndef FV_EXP_SCALAR_H
#define FV_EXP_SCALAR_H

#include "numeric/half.h"

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

/* x to the nearest whole number; what is too large to have a fraction stays. */
static inline float fv_whole_scalar(float x) {
    if (!(x > -8388608.0f && x < 8388608.0f)) return x;
    return (float)(int32_t)(x < 0.0f ? x - 0.5f : x + 0.5f);
}

static inline float fv_whole_above_scalar(float x) {
    float n = fv_whole_scalar(x);
    return n < x ? n + 1.0f : n;
}

/* 2^(x - whole), for x <= whole + 100. The fraction of x decides all bits but the exponent, so that another `whole`
 * gives the same number, multiplied by a power of two. Relative error <= 2 ulp; below 2^-126 exactly 0. */
static inline float fv_exp2_scalar(float x, float whole) {
    float n = fv_whole_scalar(x), power = n - whole, f = x - n;
    if (!(power >= -126.0f)) return 0.0f;
    float p = 1.5345812e-4f;
    p = p * f + 1.3399931e-3f;
    p = p * f + 9.6184891e-3f;
    p = p * f + 5.5503286e-2f;
    p = p * f + 2.4022646e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    return p * fv_f32_from_bits((uint32_t)((int32_t)power + 127) << 23);
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
