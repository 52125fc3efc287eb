/* element_avx2.h - eight elements of a page in registers, as f32, whatever their type. */
#ifndef FV_ELEMENT_AVX2_H
#define FV_ELEMENT_AVX2_H

#include "kernels/element_kind.h"
#include "kernels/q4_layout.h"
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* A load of its own for each use: kept in registers over two pages, the queries would push a sum out to memory. */
INLINE __m256 broadcast(const float *x) {
    __m256 y;
    __asm__ volatile("vbroadcastss %1, %0" : "=x"(y) : "m"(*x));
    return y;
}

/* Of f32, f16 and q8, which lie one by one. */
INLINE __m256 load_alone8(element type, const void *data, size_t index) {
    if (type == ELEMENT_F32) return _mm256_loadu_ps((const float *)data + index);
    if (type == ELEMENT_F16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)((const uint16_t *)data + index)));
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)((const int8_t *)data + index))));
}

INLINE size_t element_size(element type) { return type == ELEMENT_F32 ? 4 : type == ELEMENT_F16 ? 2 : 1; }

INLINE float element_at(element type, const void *data, size_t index) {
    if (type == ELEMENT_F32) return ((const float *)data)[index];
    if (type == ELEMENT_F16) return _cvtsh_ss(((const uint16_t *)data)[index]);
    return (float)((const int8_t *)data)[index];
}

INLINE __m256 widen8(const unsigned char *x) {
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)x);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* The low (high: the upper) nibbles of eight bytes, minus 8. */
INLINE __m256 nibbles8(const unsigned char *x, bool high) {
    __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)x));
    __m256i quants = high ? _mm256_srli_epi32(bytes, 4) : _mm256_and_si256(bytes, _mm256_set1_epi32(15));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(quants, _mm256_set1_epi32(8)));
}

INLINE __m256 scales8(const unsigned char *scales) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)scales));
}

INLINE bool lies_alone(element type) { return type == ELEMENT_F32 || type == ELEMENT_F16 || type == ELEMENT_Q8; }

/* Keys 8 * half .. 8 * half + 7 of channel c. */
INLINE __m256 keys8(element type, const unsigned char *panel, size_t head_dim, size_t c, size_t half) {
    if (lies_alone(type)) return load_alone8(type, panel, c * 16 + half * 8);
    if (type == ELEMENT_BF16) return widen8(panel + c * 32 + half * 16);
    __m256 scale = scales8(panel + c / FV_Q4_VALUES * 32 + half * 16);
    return _mm256_mul_ps(nibbles8(panel + fv_q4_panel_quants(head_dim) + c / 2 * 16 + half * 8, c % 2), scale);
}

INLINE size_t row_bytes8(element type, size_t head_dim) {
    if (lies_alone(type)) return element_size(type) * head_dim;
    return type == ELEMENT_Q4 ? fv_q4_row_bytes(head_dim) : 2 * head_dim;
}

INLINE const unsigned char *block_of(const unsigned char *row, size_t c) {
    return row + c / FV_Q4_VALUES * FV_Q4_BYTES;
}

INLINE __m256 block_scale(const unsigned char *block) {
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(block[0] | block[1] << 8)));
}

/* Channels c..c+7 of a row; c a multiple of 8. */
INLINE __m256 values8(element type, const unsigned char *row, size_t c) {
    if (lies_alone(type)) return load_alone8(type, row, c);
    if (type == ELEMENT_BF16) return widen8(row + 2 * c);
    const unsigned char *block = block_of(row, c);
    return _mm256_mul_ps(nibbles8(block + 2 + c % 16, c % FV_Q4_VALUES >= 16), block_scale(block));
}

INLINE float one_value(element type, const unsigned char *row, size_t c) {
    if (lies_alone(type)) return element_at(type, row, c);
    if (type == ELEMENT_BF16)
        return _mm_cvtss_f32(_mm_castsi128_ps(_mm_slli_epi32(_mm_cvtsi32_si128(row[2 * c] | row[2 * c + 1] << 8), 16)));
    const unsigned char *block = block_of(row, c);
    int quant = block[2 + c % 16] >> (c % FV_Q4_VALUES < 16 ? 0 : 4) & 15;
    return (float)(quant - 8) * _mm256_cvtss_f32(block_scale(block));
}

#endif
