/* Limit: loads and stores; these are short vectors that lie in L1. */
#include "kernels/avx2/exp_avx2.h"
#include "kernels/kernels.h"
#include <float.h>
#include <immintrin.h>

void fv_narrow_f16_avx2(size_t n, const float *x, uint16_t *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++) out[i] = (uint16_t)_cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
}

void fv_widen_f16_avx2(size_t n, const uint16_t *x, float *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(x + i))));
    for (; i < n; i++) out[i] = _cvtsh_ss(x[i]);
}

float fv_dot_f32_avx2(size_t n, const float *x, const float *y) {
    __m256 part[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 4; j++)
            part[j] = _mm256_fmadd_ps(_mm256_loadu_ps(x + i + 8 * j), _mm256_loadu_ps(y + i + 8 * j), part[j]);
    for (; i + 8 <= n; i += 8) part[0] = _mm256_fmadd_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i), part[0]);
    float sum = sum8(_mm256_add_ps(_mm256_add_ps(part[0], part[1]), _mm256_add_ps(part[2], part[3])));
    for (; i < n; i++) sum += x[i] * y[i];
    return sum;
}

void fv_rms_norm_f32_avx2(size_t n, const float *x, const float *weight, float epsilon, float *out) {
    float square = fv_dot_f32_avx2(n, x, x) / (float)n + epsilon;
    square = square < FLT_MIN ? FLT_MIN : square > FLT_MAX ? FLT_MAX : square;
    float factor = 1.0f / _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(square)));
    __m256 f = _mm256_set1_ps(factor);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), f), _mm256_loadu_ps(weight + i)));
    for (; i < n; i++) out[i] = x[i] * factor * weight[i];
}

static inline __m256 sigmoid8(__m256 x) {
    const __m256 one = _mm256_set1_ps(1.0f);
    return _mm256_div_ps(one, _mm256_add_ps(one, exp8(_mm256_sub_ps(_mm256_setzero_ps(), x))));
}

/* 0.5 (1 + tanh y) = sigmoid(2y), so gelu's tanh form is x * sigmoid of twice its argument. */
static inline __m256 gated8(int gelu, __m256 x) {
    if (!gelu) return _mm256_mul_ps(x, sigmoid8(x));
    __m256 cubic = _mm256_mul_ps(_mm256_mul_ps(_mm256_mul_ps(x, x), x), _mm256_set1_ps(0.044715f));
    return _mm256_mul_ps(x, sigmoid8(_mm256_mul_ps(_mm256_set1_ps(1.59576912160573f), _mm256_add_ps(x, cubic))));
}

static inline void gated(int gelu, size_t n, const float *gate, const float *up, float *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(gated8(gelu, _mm256_loadu_ps(gate + i)), _mm256_loadu_ps(up + i)));
    for (; i < n; i++) out[i] = _mm256_cvtss_f32(gated8(gelu, _mm256_set1_ps(gate[i]))) * up[i];
}

void fv_silu_f32_avx2(size_t n, const float *gate, const float *up, float *out) { gated(0, n, gate, up, out); }

void fv_gelu_f32_avx2(size_t n, const float *gate, const float *up, float *out) { gated(1, n, gate, up, out); }
