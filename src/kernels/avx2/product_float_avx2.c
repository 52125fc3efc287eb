/* Limit: FMA for many tokens (12 sums, 3 activations and one weight fill the registers), DRAM for one. Lanes run along
 * the columns, so weights are read as they lie in the file, and one token and many make the same sums. */
#include "kernels/avx2/packed_avx2.h"
#include "kernels/kernels.h"
#include "numeric/half.h"

enum { ROWS = 4, TOKENS = 3, AHEAD = 2048 /* bytes of each row that are asked for */ };

INLINE size_t value_bytes(uint32_t type) { return type == FV_WEIGHT_F32 ? 4 : 2; }

INLINE __m256 weights8(uint32_t type, const unsigned char *weight) {
    if (type == FV_WEIGHT_F32) return _mm256_loadu_ps((const float *)(const void *)weight);
    if (type == FV_WEIGHT_F16) return load_f16x8(weight);
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)weight));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

INLINE float weight1(uint32_t type, const unsigned char *weight) {
    float value;
    uint16_t half;
    if (type == FV_WEIGHT_F32) {
        __builtin_memcpy(&value, weight, sizeof value);
        return value;
    }
    __builtin_memcpy(&half, weight, sizeof half);
    return type == FV_WEIGHT_F16 ? _cvtsh_ss(half) : fv_f32_from_bf16(half);
}

/* Sums of the lanes of four registers. */
INLINE __m128 sums4(const __m256 *a) {
    __m256 sum = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
    return _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
}

/* Up to four rows, `apart` from each other, by `tokens`; missing rows repeat the last. */
INLINE void float_block(uint32_t type, size_t tokens, size_t columns, size_t rows, size_t apart,
                        const unsigned char *weight, const float *x, float *out, size_t out_stride) {
    const unsigned char *row[ROWS];
    __m256 sum[TOKENS][ROWS];
    size_t c = 0, bytes = value_bytes(type);
    for (size_t r = 0; r < ROWS; r++) {
        row[r] = weight + (r < rows ? r : rows - 1) * apart * columns * bytes;
        for (size_t t = 0; t < tokens; t++) sum[t][r] = _mm256_setzero_ps();
    }
    for (; c + 8 <= columns; c += 8) {
        if (tokens == 1 && bytes == 2 && c % 32 == 0) /* of f32 the hardware alone reads more */
            for (size_t r = 0; r < ROWS; r++) packed_ask(row[r] + c * bytes + AHEAD, 64);
        __m256 y[TOKENS];
        for (size_t t = 0; t < tokens; t++) y[t] = _mm256_loadu_ps(x + t * columns + c);
        for (size_t r = 0; r < ROWS; r++) {
            __m256 w = weights8(type, row[r] + c * bytes);
            for (size_t t = 0; t < tokens; t++) sum[t][r] = _mm256_fmadd_ps(w, y[t], sum[t][r]);
        }
    }
    for (size_t t = 0; t < tokens; t++) {
        float total[ROWS];
        _mm_storeu_ps(total, sums4(sum[t]));
        for (size_t r = 0; r < rows; r++) {
            for (size_t i = c; i < columns; i++) total[r] += weight1(type, row[r] + i * bytes) * x[t * columns + i];
            out[t * out_stride + r * apart] = total[r];
        }
    }
}

/* One token: four streams of rows that lie in different pages, for DRAM reads four in one page at half its speed, and
 * one row after the other would wait for its sums. */
INLINE void float_rows(uint32_t type, size_t columns, size_t rows, const unsigned char *weight, const float *x,
                       float *out) {
    size_t apart = (rows + ROWS - 1) / ROWS;
    for (size_t r = 0; r < apart; r++)
        float_block(type, 1, columns, (rows - r + apart - 1) / apart, apart, weight + r * columns * value_bytes(type),
                    x, out + r, 0);
}

/* Tokens outside: their rows stay in L1 while the weights pass by. */
INLINE void product_float(uint32_t type, size_t columns, size_t rows, size_t tokens, const unsigned char *weight,
                          const float *x, float *out, size_t out_stride) {
    size_t t = 0;
    for (; t + TOKENS <= tokens; t += TOKENS)
        for (size_t r = 0; r < rows; r += ROWS)
            float_block(type, TOKENS, columns, rows - r < ROWS ? rows - r : ROWS, 1,
                        weight + r * columns * value_bytes(type), x + t * columns, out + t * out_stride + r,
                        out_stride);
    for (; t < tokens; t++) float_rows(type, columns, rows, weight, x + t * columns, out + t * out_stride);
}

void fv_product_f32_avx2(size_t columns, size_t rows, size_t tokens, const void *weight, const float *x, float *out,
                         size_t out_stride) {
    product_float(FV_WEIGHT_F32, columns, rows, tokens, weight, x, out, out_stride);
}

void fv_product_f16_avx2(size_t columns, size_t rows, size_t tokens, const void *weight, const float *x, float *out,
                         size_t out_stride) {
    product_float(FV_WEIGHT_F16, columns, rows, tokens, weight, x, out, out_stride);
}

void fv_product_bf16_avx2(size_t columns, size_t rows, size_t tokens, const void *weight, const float *x, float *out,
                          size_t out_stride) {
    product_float(FV_WEIGHT_BF16, columns, rows, tokens, weight, x, out, out_stride);
}
