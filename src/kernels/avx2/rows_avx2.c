/* Limit: unpacking and the reduction of eight rows (about 80 operations for 256 products), then DRAM. */
#include "kernels/avx2/rows_avx2.h"
#include "kernels/kernels.h"

/* Integer dot products of one block of eight rows with x, exact. */
INLINE __m256i dot8(block_type type, const uint8_t *block, size_t row_bytes, __m256i x) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i v[8];
    if (type == BLOCK_Q8_0) { /* |w| and sign(x, w): 16 bits hold two products; the panel's bias of 128 is added back */
        __m256i bias = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8((char)0x80), x), ones);
        for (size_t r = 0; r < 8; r++) {
            __m256i w = _mm256_loadu_si256((const __m256i *)(const void *)(block + r * row_bytes + 2));
            __m256i words = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
            v[r] = _mm256_add_epi32(_mm256_madd_epi16(words, ones), bias);
        }
        return reduce8(v);
    }
    for (size_t r = 0; r < 8; r++) v[r] = _mm256_maddubs_epi16(block_quants(type, block + r * row_bytes), x);
    /* two levels of 16-bit sums hold 4 * 2 * 31 * 127 = 31,496; the third widens */
    __m256i first = _mm256_hadd_epi16(_mm256_hadd_epi16(v[0], v[1]), _mm256_hadd_epi16(v[2], v[3]));
    __m256i second = _mm256_hadd_epi16(_mm256_hadd_epi16(v[4], v[5]), _mm256_hadd_epi16(v[6], v[7]));
    first = _mm256_madd_epi16(first, ones);
    second = _mm256_madd_epi16(second, ones);
    return _mm256_add_epi32(_mm256_permute2x128_si256(first, second, 0x20), _mm256_permute2x128_si256(first, second, 0x31));
}

INLINE void product_rows(block_type type, size_t columns, size_t panels, const void *weights, size_t row_bytes,
                         const fv_q8_rows *x, float *out) {
    const uint8_t *rows = weights;
    for (size_t p = 0; p < panels; p++, rows += 8 * row_bytes, out += 8) {
        __m256 a = _mm256_setzero_ps(), b = _mm256_setzero_ps();
        const uint8_t *block = rows;
        for (size_t g = 0; g < columns / 32; g++, block += block_bytes(type)) {
            __m256 scale, offset;
            block_scales(type, block, row_bytes, &scale, &offset);
            __m256i quants = _mm256_loadu_si256((const __m256i *)(const void *)(x->quants + 32 * g));
            __m256 dot = _mm256_cvtepi32_ps(dot8(type, block, row_bytes, quants));
            a = _mm256_fmadd_ps(dot, _mm256_mul_ps(scale, _mm256_broadcast_ss(x->scale + g)), a);
            b = _mm256_fmadd_ps(offset, _mm256_broadcast_ss(x->sum32 + g), b);
        }
        _mm256_storeu_ps(out, _mm256_add_ps(a, b));
    }
}

void fv_product_rows_q4_0_avx2(size_t columns, size_t panels, const void *weights, size_t row_bytes, const fv_q8_rows *x,
                               float *out) {
    product_rows(BLOCK_Q4_0, columns, panels, weights, row_bytes, x, out);
}

void fv_product_rows_q4_1_avx2(size_t columns, size_t panels, const void *weights, size_t row_bytes, const fv_q8_rows *x,
                               float *out) {
    product_rows(BLOCK_Q4_1, columns, panels, weights, row_bytes, x, out);
}

void fv_product_rows_q5_0_avx2(size_t columns, size_t panels, const void *weights, size_t row_bytes, const fv_q8_rows *x,
                               float *out) {
    product_rows(BLOCK_Q5_0, columns, panels, weights, row_bytes, x, out);
}

void fv_product_rows_q8_0_avx2(size_t columns, size_t panels, const void *weights, size_t row_bytes, const fv_q8_rows *x,
                               float *out) {
    product_rows(BLOCK_Q8_0, columns, panels, weights, row_bytes, x, out);
}
