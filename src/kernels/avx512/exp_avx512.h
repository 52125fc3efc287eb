/* exp_avx512.h - 2^(x - whole) in sixteen lanes, as fv_exp2_scalar(). */
#ifndef FV_EXP_AVX512_H
#define FV_EXP_AVX512_H

#include <immintrin.h>

static inline __m512 exp2_16(__m512 x, __m512 whole) {
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm512_sub_ps(x, n);
    __m512 power = _mm512_sub_ps(n, whole);
    __mmask16 alive = _mm512_cmp_ps_mask(power, _mm512_set1_ps(-126.0f), _CMP_GE_OQ);
    __m512 p = _mm512_set1_ps(1.5345812e-4f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.3399931e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6184891e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5503286e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022646e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_maskz_scalef_ps(alive, p, power);
}

#endif
