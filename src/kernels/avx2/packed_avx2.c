/* Limit: DRAM for one token (about 40 operations for 256 products), stores for the panel. */
#include "kernels/avx2/packed_avx2.h"
#include "kernels/kernels.h"

INLINE void panel_unpack(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                         float *offset) {
    const uint8_t *group = packed;
    for (size_t g = 0; g < columns / 32; g++, group += fv_packed_group_bytes(type), quants += 32 * FV_PANEL_ROWS) {
        __m256i steps[8];
        __m256 s, o;
        packed_steps(type, group, steps);
        packed_scales(type, group, &s, &o);
        for (size_t k = 0; k < 8; k++)
            _mm256_storeu_si256((__m256i *)(void *)(quants + k * 4 * FV_PANEL_ROWS), steps[k]);
        _mm256_storeu_ps(scale + g * FV_PANEL_ROWS, s);
        _mm256_storeu_ps(offset + g * FV_PANEL_ROWS, o);
    }
}

void fv_panel_unpack_q4_0_avx2(size_t columns, const void *packed, uint8_t *quants, float *scale, float *offset) {
    panel_unpack(FV_PACKED_Q4_0, columns, packed, quants, scale, offset);
}

void fv_panel_unpack_q4_1_avx2(size_t columns, const void *packed, uint8_t *quants, float *scale, float *offset) {
    panel_unpack(FV_PACKED_Q4_1, columns, packed, quants, scale, offset);
}

void fv_panel_unpack_q5_0_avx2(size_t columns, const void *packed, uint8_t *quants, float *scale, float *offset) {
    panel_unpack(FV_PACKED_Q5_0, columns, packed, quants, scale, offset);
}

void fv_panel_unpack_q8_0_avx2(size_t columns, const void *packed, uint8_t *quants, float *scale, float *offset) {
    panel_unpack(FV_PACKED_Q8_0, columns, packed, quants, scale, offset);
}

/* Eight integer dot products, exact. Eight 4-bit products fit 16 bits (30,480), four 5-bit ones (31,496). For Q8_0 the
 * bias is taken off, |w| and sign(x, w) multiplied, and the bias times the sum of x added back. */
INLINE __m256i packed_dot(fv_packed_type type, const uint8_t *group, const int8_t *x) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i steps[8], words = _mm256_setzero_si256(), sum = _mm256_setzero_si256();
    packed_steps(type, group, steps);
    for (size_t k = 0; k < 8; k++) {
        __m256i a = broadcast4(x + 4 * k);
        if (type == FV_PACKED_Q8_0) {
            __m256i w = _mm256_xor_si256(steps[k], _mm256_set1_epi8((char)0x80));
            __m256i product = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
            __m256i bias = _mm256_maddubs_epi16(_mm256_set1_epi8((char)0x80), a);
            sum = _mm256_add_epi32(sum,
                                   _mm256_add_epi32(_mm256_madd_epi16(product, ones), _mm256_madd_epi16(bias, ones)));
            continue;
        }
        words = _mm256_add_epi16(words, _mm256_maddubs_epi16(steps[k], a));
        if (k == 7 || (type == FV_PACKED_Q5_0 && k == 3)) {
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, ones));
            words = _mm256_setzero_si256();
        }
    }
    return sum;
}

INLINE void product_packed(fv_packed_type type, size_t columns, size_t panels, const void *packed, const fv_q8_rows *x,
                           float *out) {
    const uint8_t *group = packed;
    for (size_t p = 0; p < panels; p++, out += 8) {
        __m256 a = _mm256_setzero_ps(), b = _mm256_setzero_ps();
        for (size_t g = 0; g < columns / 32; g++, group += fv_packed_group_bytes(type)) {
            __m256 scale, offset;
            packed_scales(type, group, &scale, &offset);
            __m256 dot = _mm256_cvtepi32_ps(packed_dot(type, group, x->quants + 32 * g));
            a = _mm256_fmadd_ps(dot, _mm256_mul_ps(scale, _mm256_broadcast_ss(x->scale + g)), a);
            b = _mm256_fmadd_ps(offset, _mm256_broadcast_ss(x->sum32 + g), b);
        }
        _mm256_storeu_ps(out, _mm256_add_ps(a, b));
    }
}

void fv_product_packed_q4_0_avx2(size_t columns, size_t panels, const void *packed, const fv_q8_rows *x, float *out) {
    product_packed(FV_PACKED_Q4_0, columns, panels, packed, x, out);
}

void fv_product_packed_q4_1_avx2(size_t columns, size_t panels, const void *packed, const fv_q8_rows *x, float *out) {
    product_packed(FV_PACKED_Q4_1, columns, panels, packed, x, out);
}

void fv_product_packed_q5_0_avx2(size_t columns, size_t panels, const void *packed, const fv_q8_rows *x, float *out) {
    product_packed(FV_PACKED_Q5_0, columns, panels, packed, x, out);
}

void fv_product_packed_q8_0_avx2(size_t columns, size_t panels, const void *packed, const fv_q8_rows *x, float *out) {
    product_packed(FV_PACKED_Q8_0, columns, panels, packed, x, out);
}
