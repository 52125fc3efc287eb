/* Conversions, norms and activation functions of the forward pass. */
#include "build.h"
#include "kernels/kernels.h"
#include "numeric/exp_scalar.h"
#include "numeric/half.h"
#include <float.h>

void fv_narrow_f16_scalar(size_t n, const float *x, uint16_t *out) {
    for (size_t i = 0; i < n; i++) out[i] = fv_f16_from_f32(x[i]);
}

void fv_widen_f16_scalar(size_t n, const uint16_t *x, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = fv_f32_from_f16(x[i]);
}

/* Eight partial sums, as wide registers would hold them: less rounding than one chain. */
float fv_dot_f32_scalar(size_t n, const float *x, const float *y) {
    float part[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) part[j] += x[i + j] * y[i + j];
    for (size_t j = 0; i < n; i++, j++) part[j] += x[i] * y[i];
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

#if FV_BUILD_MODEL

/* Newton steps from the classic bit estimate, each doubles the digits: no sqrt in a freestanding core. */
static float inverse_sqrt(float x) {
    float y = fv_f32_from_bits(0x5f3759dfu - (fv_bits_from_f32(x) >> 1));
    for (int i = 0; i < 4; i++) y = y * (1.5f - 0.5f * x * y * y);
    return y;
}

void fv_rms_norm_f32_scalar(size_t n, const float *x, const float *weight, float epsilon, float *out) {
    float square = fv_dot_f32_scalar(n, x, x) / (float)n + epsilon;
    square = square < FLT_MIN ? FLT_MIN : square > FLT_MAX ? FLT_MAX : square;
    float factor = inverse_sqrt(square);
    for (size_t i = 0; i < n; i++) out[i] = x[i] * factor * weight[i];
}

void fv_silu_f32_scalar(size_t n, const float *gate, const float *up, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = gate[i] / (1.0f + fv_exp_scalar(-gate[i])) * up[i];
}

void fv_gelu_f32_scalar(size_t n, const float *gate, const float *up, float *out) {
    for (size_t i = 0; i < n; i++) {
        float x = gate[i];
        float t = fv_tanh_scalar(0.797884560802865f * (x + 0.044715f * x * x * x));
        out[i] = 0.5f * x * (1.0f + t) * up[i];
    }
}

#endif
