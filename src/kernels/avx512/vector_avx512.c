/* Limit: division, sixteen lanes of which take as long as twice eight; all else takes half. The bits of AVX2. */
#include "kernels/avx512/exp_avx512.h"
#include "kernels/avx512/lanes_avx512.h"
#include "kernels/kernels.h"

INLINE __m512 sigmoid16(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exp16(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

/* 0.5 (1 + tanh y) = sigmoid(2y), so gelu's tanh form is x * sigmoid of twice its argument. */
INLINE __m512 gated16(int gelu, __m512 x) {
    if (!gelu) return _mm512_mul_ps(x, sigmoid16(x));
    __m512 cubic = _mm512_mul_ps(_mm512_mul_ps(_mm512_mul_ps(x, x), x), _mm512_set1_ps(0.044715f));
    return _mm512_mul_ps(x, sigmoid16(_mm512_mul_ps(_mm512_set1_ps(1.59576912160573f), _mm512_add_ps(x, cubic))));
}

INLINE void gated(int gelu, size_t n, const float *gate, const float *up, float *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, _mm512_mul_ps(gated16(gelu, _mm512_loadu_ps(gate + i)), _mm512_loadu_ps(up + i)));
    if (i == n) return;
    __mmask16 left = (__mmask16)((1u << (n - i)) - 1);
    __m512 x = _mm512_maskz_loadu_ps(left, gate + i), y = _mm512_maskz_loadu_ps(left, up + i);
    _mm512_mask_storeu_ps(out + i, left, _mm512_mul_ps(gated16(gelu, x), y));
}

void fv_silu_f32_avx512(size_t n, const float *gate, const float *up, float *out) { gated(0, n, gate, up, out); }

void fv_gelu_f32_avx512(size_t n, const float *gate, const float *up, float *out) { gated(1, n, gate, up, out); }
