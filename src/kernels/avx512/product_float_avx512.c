/* Limit: FMA for many tokens (24 sums, 6 activations, a weight: 31 of 32 registers), DRAM for one. Lanes run along the
 * columns, so weights are read as they lie in the file, and one token and many make the same sums. */
#include "kernels/avx2/packed_avx2.h"
#include "kernels/kernels.h"

enum { ROWS = 4, TOKENS = 6 };

INLINE size_t value_bytes(uint32_t type) { return type == FV_WEIGHT_F32 ? 4 : 2; }

/* Lanes outside the mask are zero and not read. */
INLINE __m512 weights16(uint32_t type, const unsigned char *weight, __mmask16 mask) {
    if (type == FV_WEIGHT_F32) return _mm512_maskz_loadu_ps(mask, weight);
    __m256i half = _mm256_maskz_loadu_epi16(mask, weight);
    if (type == FV_WEIGHT_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* Sums of the lanes of four registers. */
INLINE __m128 sums4(const __m512 *a) {
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
    __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    __m512 all = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

INLINE void float_step(uint32_t type, size_t tokens, size_t columns, size_t c, __mmask16 mask,
                       const unsigned char *const *row, const float *x, __m512 sum[TOKENS][ROWS]) {
    __m512 y[TOKENS];
    for (size_t t = 0; t < tokens; t++) y[t] = _mm512_maskz_loadu_ps(mask, x + t * columns + c);
    for (size_t r = 0; r < ROWS; r++) {
        __m512 w = weights16(type, row[r] + c * value_bytes(type), mask);
        for (size_t t = 0; t < tokens; t++) sum[t][r] = _mm512_fmadd_ps(w, y[t], sum[t][r]);
    }
}

/* Four rows (missing ones repeat the last) by `tokens`. */
INLINE void float_block(uint32_t type, size_t tokens, size_t columns, size_t rows, const unsigned char *weight,
                        const float *x, float *out, size_t out_stride) {
    const unsigned char *row[ROWS];
    __m512 sum[TOKENS][ROWS];
    size_t c = 0;
    for (size_t r = 0; r < ROWS; r++) {
        row[r] = weight + (r < rows ? r : rows - 1) * columns * value_bytes(type);
        for (size_t t = 0; t < tokens; t++) sum[t][r] = _mm512_setzero_ps();
    }
    for (; c + 16 <= columns; c += 16) float_step(type, tokens, columns, c, 0xFFFF, row, x, sum);
    if (c < columns) float_step(type, tokens, columns, c, (__mmask16)((1u << (columns - c)) - 1u), row, x, sum);
    for (size_t t = 0; t < tokens; t++)
        _mm_mask_storeu_ps(out + t * out_stride, (__mmask8)((1u << rows) - 1u), sums4(sum[t]));
}

/* One token: row after row, for DRAM likes one stream (four at once read half as fast). The same sums as above. */
INLINE void float_rows(uint32_t type, size_t columns, size_t rows, const unsigned char *weight, const float *x,
                       float *out) {
    __m512 sum[ROWS];
    for (size_t r = 0; r < ROWS; r++) {
        const unsigned char *row = weight + (r < rows ? r : rows - 1) * columns * value_bytes(type);
        size_t c = 0;
        sum[r] = _mm512_setzero_ps();
        for (; c + 16 <= columns; c += 16) {
            packed_ask(row + c * value_bytes(type) + PACKED_AHEAD, 16 * value_bytes(type));
            sum[r] =
                _mm512_fmadd_ps(weights16(type, row + c * value_bytes(type), 0xFFFF), _mm512_loadu_ps(x + c), sum[r]);
        }
        __mmask16 mask = (__mmask16)((1u << (columns - c)) - 1u);
        if (mask)
            sum[r] = _mm512_fmadd_ps(weights16(type, row + c * value_bytes(type), mask),
                                     _mm512_maskz_loadu_ps(mask, x + c), sum[r]);
    }
    _mm_mask_storeu_ps(out, (__mmask8)((1u << rows) - 1u), sums4(sum));
}

/* Tokens outside: their rows stay in L1 while the weights pass by. */
INLINE void product_float(uint32_t type, size_t columns, size_t rows, size_t tokens, const unsigned char *weight,
                          const float *x, float *out, size_t out_stride) {
    size_t t = 0;
    for (; t + TOKENS <= tokens; t += TOKENS)
        for (size_t r = 0; r < rows; r += ROWS)
            float_block(type, TOKENS, columns, rows - r < ROWS ? rows - r : ROWS,
                        weight + r * columns * value_bytes(type), x + t * columns, out + t * out_stride + r,
                        out_stride);
    for (; t < tokens; t++)
        for (size_t r = 0; r < rows; r += ROWS)
            float_rows(type, columns, rows - r < ROWS ? rows - r : ROWS, weight + r * columns * value_bytes(type),
                       x + t * columns, out + t * out_stride + r);
}

void fv_product_f32_avx512(size_t columns, size_t rows, size_t tokens, const void *weight, const float *x, float *out,
                           size_t out_stride) {
    product_float(FV_WEIGHT_F32, columns, rows, tokens, weight, x, out, out_stride);
}

void fv_product_f16_avx512(size_t columns, size_t rows, size_t tokens, const void *weight, const float *x, float *out,
                           size_t out_stride) {
    product_float(FV_WEIGHT_F16, columns, rows, tokens, weight, x, out, out_stride);
}

void fv_product_bf16_avx512(size_t columns, size_t rows, size_t tokens, const void *weight, const float *x, float *out,
                            size_t out_stride) {
    product_float(FV_WEIGHT_BF16, columns, rows, tokens, weight, x, out, out_stride);
}
