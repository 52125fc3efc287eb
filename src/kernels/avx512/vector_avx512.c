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

void fv_mix_f32_avx512(size_t n, float keep, float *into, float add, const float *from) {
    const __m512 k = _mm512_set1_ps(keep), a = _mm512_set1_ps(add);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 lanes = lanes_of(n - i);
        __m512 kept = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, into + i), k);
        __m512 added = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, from + i), a);
        _mm512_mask_storeu_ps(into + i, lanes, _mm512_add_ps(kept, added));
    }
}

void fv_copy_rows_f32_avx512(size_t rows, size_t n, const float *x, size_t x_stride, float *out) {
    for (size_t t = 0; t < rows; t++, x += x_stride, out += n) {
        size_t i = 0;
        for (; i + 16 <= n; i += 16) _mm512_storeu_si512(out + i, _mm512_loadu_si512(x + i));
        if (i == n) continue;
        const __mmask16 left = lanes_of(n - i);
        _mm512_mask_storeu_epi32(out + i, left, _mm512_maskz_loadu_epi32(left, x + i));
    }
}

/* Lanes of sixteen rows side by side, added in their order. */
void fv_finish16_f32_avx512(size_t group, size_t head_dim, const float *sum, const float *x, float *out,
                            size_t out_stride) {
    const __m512i place = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                             _mm512_set1_epi32((int)(group * FV_SUM_LANES)));
    __m512 all = _mm512_setzero_ps();
    float factor[16];
    for (size_t i = 0; i < FV_SUM_LANES; i++) all = _mm512_add_ps(all, _mm512_i32gather_ps(place, sum + i, 4));
    __mmask16 above = _mm512_cmp_ps_mask(all, _mm512_setzero_ps(), _CMP_GT_OQ);
    _mm512_storeu_ps(factor, _mm512_maskz_div_ps(above, _mm512_set1_ps(1.0f), all));
    for (size_t t = 0; t < 16; t++, x += group * head_dim, out += out_stride) {
        const __m512 f = _mm512_set1_ps(factor[t]);
        size_t c = 0;
        for (; c + 16 <= head_dim; c += 16) _mm512_storeu_ps(out + c, _mm512_mul_ps(_mm512_loadu_ps(x + c), f));
        const __mmask16 left = lanes_of(head_dim - c);
        if (left) _mm512_mask_storeu_ps(out + c, left, _mm512_mul_ps(_mm512_maskz_loadu_ps(left, x + c), f));
    }
}

/* `vectors` of the mean stay in registers while the rows pass; `last` masks the last one. */
INLINE void mean_block(size_t vectors, __mmask16 last, uint32_t before, uint32_t rows, const float *x, size_t x_stride,
                       float *mean) {
    __m512 held[4];
    for (size_t j = 0; j < vectors; j++)
        held[j] = _mm512_maskz_loadu_ps(!before ? 0 : j + 1 < vectors ? 0xFFFF : last, mean + 16 * j);
    for (uint32_t t = 0; t < rows; t++, x += x_stride) {
        const __m512 share = _mm512_set1_ps(1.0f / (float)(before + t + 1));
        for (size_t j = 0; j < vectors; j++) {
            __m512 row = _mm512_maskz_loadu_ps(j + 1 < vectors ? 0xFFFF : last, x + 16 * j);
            held[j] = _mm512_add_ps(held[j], _mm512_mul_ps(_mm512_sub_ps(row, held[j]), share));
        }
    }
    for (size_t j = 0; j < vectors; j++) _mm512_mask_storeu_ps(mean + 16 * j, j + 1 < vectors ? 0xFFFF : last, held[j]);
}

void fv_mean_add_f32_avx512(uint32_t before, uint32_t rows, size_t n, const float *x, size_t x_stride, float *mean) {
    size_t i = 0;
    for (; i + 64 <= n; i += 64) mean_block(4, 0xFFFF, before, rows, x + i, x_stride, mean + i);
    for (; i < n; i += 16) mean_block(1, lanes_of(n - i), before, rows, x + i, x_stride, mean + i);
}

uint32_t fv_largest_f32_avx512(size_t n, const float *x) {
    const __m512i magnitude = _mm512_set1_epi32(INT32_MAX);
    __m512i most[4];
    size_t i = 0;
    for (size_t j = 0; j < 4; j++) most[j] = _mm512_setzero_si512();
    for (; i + 64 <= n; i += 64)
        for (size_t j = 0; j < 4; j++)
            most[j] = _mm512_max_epu32(most[j], _mm512_and_si512(_mm512_loadu_si512(x + i + 16 * j), magnitude));
    for (; i < n; i += 16) {
        __m512i bits = _mm512_maskz_loadu_epi32(lanes_of(n - i), x + i);
        most[0] = _mm512_max_epu32(most[0], _mm512_and_si512(bits, magnitude));
    }
    most[0] = _mm512_max_epu32(_mm512_max_epu32(most[0], most[1]), _mm512_max_epu32(most[2], most[3]));
    return _mm512_reduce_max_epu32(most[0]);
}
