/* Limit: DRAM for one token (about 40 operations for 256 products), stores for the panel. */
#include "kernels/avx2/packed_avx2.h"
#include "kernels/kernels.h"

INLINE void panel_unpack(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                         float *offset) {
    size_t groups = fv_packed_block_values(type) / 32, scales = type == FV_PACKED_Q6_K ? 2 : 1;
    const uint8_t *block = packed;
    for (size_t b = 0; b < columns / 32 / groups; b++, block += fv_packed_block_bytes(type)) {
        packed_header header;
        packed_header_load(type, block, &header);
        for (size_t i = 0; i < groups * scales; i++, scale += FV_PANEL_ROWS, offset += FV_PANEL_ROWS) {
            __m256 s, o;
            packed_scales(type, block, &header, i, &s, &o);
            _mm256_storeu_ps(scale, s);
            _mm256_storeu_ps(offset, o);
        }
        for (size_t g = 0; g < groups; g++, quants += 32 * FV_PANEL_ROWS) {
            __m256i steps[8];
            packed_steps(type, block + fv_packed_header_bytes(type) + g * fv_packed_group_bytes(type), steps);
            for (size_t k = 0; k < 8; k++)
                _mm256_storeu_si256((__m256i *)(void *)(quants + k * 4 * FV_PANEL_ROWS), steps[k]);
        }
    }
}

void fv_panel_unpack_avx2(fv_packed_type type, size_t columns, const void *packed, uint8_t *quants, float *scale,
                          float *offset) {
#define UNPACK_CASE(NAME, name) \
    case FV_PACKED_##NAME: \
        panel_unpack(FV_PACKED_##NAME, columns, packed, quants, scale, offset); \
        break;
    switch (type) {
        FV_PACKED_LIST(UNPACK_CASE)
    case FV_PACKED_COUNT:
        break;
    }
#undef UNPACK_CASE
}

/* Eight integer dot products over `count` steps, exact. In 16 bits fit eight steps of 4-bit weights (8 * 2 * 15 * 127 =
 * 30,480), four of 5 bits (31,496), four of MXFP4
 * (24,384), two of 6 (32,004). For Q8_0, IQ4_NL and IQ4_XS the bias is taken off, |w| and
 * sign(x, w) multiplied, and the bias times the sum of x added back. */
INLINE __m256i packed_dot(fv_packed_type type, size_t count, const __m256i *steps, const int8_t *x) {
    const __m256i ones = _mm256_set1_epi16(1);
    size_t deep = type == FV_PACKED_Q6_K ? 2 : fv_packed_has_fifths(type) || fv_packed_is_mxfp4(type) ? 4 : 8;
    __m256i words = _mm256_setzero_si256(), sum = _mm256_setzero_si256();
    for (size_t k = 0; k < count; k++) {
        __m256i a = broadcast4(x + 4 * k);
        if (fv_packed_is_wide(type)) {
            __m256i w = _mm256_xor_si256(steps[k], _mm256_set1_epi8((char)0x80));
            __m256i product = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
            __m256i bias = _mm256_maddubs_epi16(_mm256_set1_epi8((char)0x80), a);
            sum = _mm256_add_epi32(sum,
                                   _mm256_add_epi32(_mm256_madd_epi16(product, ones), _mm256_madd_epi16(bias, ones)));
            continue;
        }
        words = _mm256_add_epi16(words, _mm256_maddubs_epi16(steps[k], a));
        if ((k + 1) % deep == 0) {
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, ones));
            words = _mm256_setzero_si256();
        }
    }
    return sum;
}

INLINE void product_packed(fv_packed_type type, size_t columns, size_t eights, const void *packed, const fv_q8_rows *x,
                           float *out) {
    size_t groups = fv_packed_block_values(type) / 32, scales = type == FV_PACKED_Q6_K ? 2 : 1;
    const float *sums = type == FV_PACKED_Q6_K ? x->sum16 : x->sum32;
    const uint8_t *block = packed;
    for (size_t e = 0; e < eights; e++, out += 8) {
        __m256 a = _mm256_setzero_ps(), b = _mm256_setzero_ps();
        for (size_t first = 0; first < columns / 32; first += groups, block += fv_packed_block_bytes(type)) {
            packed_header header;
            packed_header_load(type, block, &header);
            for (size_t g = 0; g < groups; g++) {
                __m256i steps[8];
                packed_steps(type, block + fv_packed_header_bytes(type) + g * fv_packed_group_bytes(type), steps);
                for (size_t half = 0; half < scales; half++) {
                    __m256 scale, offset;
                    packed_scales(type, block, &header, g * scales + half, &scale, &offset);
                    __m256 dot = _mm256_cvtepi32_ps(
                        packed_dot(type, 8 / scales, steps + 4 * half, x->quants + 32 * (first + g) + 16 * half));
                    a = _mm256_fmadd_ps(dot, _mm256_mul_ps(scale, _mm256_broadcast_ss(x->scale + first + g)), a);
                    b = _mm256_fmadd_ps(offset, _mm256_broadcast_ss(sums + (first + g) * scales + half), b);
                }
            }
        }
        _mm256_storeu_ps(out, _mm256_add_ps(a, b));
    }
}

bool fv_product_packed_avx2(fv_packed_type type, size_t columns, size_t eights, const void *packed, const fv_q8_rows *x,
                            float *out) {
#define PRODUCT_CASE(NAME, name) \
    case FV_PACKED_##NAME: \
        product_packed(FV_PACKED_##NAME, columns, eights, packed, x, out); \
        return true;
    switch (type) {
        FV_PACKED_LIST(PRODUCT_CASE)
    case FV_PACKED_COUNT:
        break;
    }
#undef PRODUCT_CASE
    return false;
}
