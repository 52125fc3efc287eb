/* Limit: division, sixteen lanes of which take as long as twice eight; all else takes half. The bits of AVX2. */
#include "kernels/avx512/lanes_avx512.h"
#include "kernels/kernels.h"

/* exp8() of exp_avx2.h in sixteen lanes. */
INLINE __m512 exp16(__m512 x) {
    __mmask16 alive = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.33f), _CMP_GE_OQ);
    x = _mm512_min_ps(x, _mm512_set1_ps(88.37f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504089f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    __m512i power = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    return _mm512_maskz_mul_ps(alive, p, _mm512_castsi512_ps(power));
}

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
