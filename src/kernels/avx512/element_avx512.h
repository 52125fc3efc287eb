/* element_avx512.h - sixteen elements of a page in a register, as f32, whatever their type. */
#ifndef FV_ELEMENT_AVX512_H
#define FV_ELEMENT_AVX512_H

#include "kernels/avx512/lanes_avx512.h"
#include "kernels/element_kind.h"
#include "kernels/q4_layout.h"
#include <stddef.h>
#include <stdint.h>

enum { LINE_BYTES = 64 };

/* Bytes of 16 elements. */
INLINE size_t lane_bytes(element type) {
    return type == ELEMENT_F32 ? 64 : type == ELEMENT_Q8 ? 16 : type == ELEMENT_Q4 ? 8 : 32;
}

INLINE size_t row_bytes16(element type, size_t head_dim) {
    return type == ELEMENT_Q4 ? fv_q4_row_bytes(head_dim) : head_dim * lane_bytes(type) / 16;
}

/* -8..7, for a permutation that looks at the low four bits alone. */
INLINE __m512 q4_table(void) { return _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7); }

INLINE __m512 widen_i8(__m128i x) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x)); }

INLINE __m512 widen_bf16(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }

/* Sixteen elements, of which those that `some` masks exist. */
INLINE __m512 widen16(element type, __mmask16 some, const unsigned char *x) {
    if (type == ELEMENT_F32) return _mm512_maskz_loadu_ps(some, x);
    if (type == ELEMENT_Q8) return widen_i8(_mm_maskz_loadu_epi8(some, x));
    __m256i halves = _mm256_maskz_loadu_epi16(some, x);
    return type == ELEMENT_F16 ? _mm512_cvtph_ps(halves) : widen_bf16(halves);
}

/* The same without a mask: a plain load. */
INLINE __m512 load16(element type, const unsigned char *x) {
    if (type == ELEMENT_F32) return _mm512_loadu_ps(x);
    if (type == ELEMENT_Q8) return widen_i8(_mm_loadu_si128((const __m128i *)(const void *)x));
    __m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)x);
    return type == ELEMENT_F16 ? _mm512_cvtph_ps(halves) : widen_bf16(halves);
}

/* Few rows are a decode: what is read next comes from memory, and is asked for line by line while this is read. Into
 * L2, since L1 is too small to hold it until then. */
INLINE void prefetch_line(size_t rows, const unsigned char *next, size_t offset) {
    if (rows <= 8 && next && offset % LINE_BYTES == 0) _mm_prefetch((const char *)next + offset, _MM_HINT_T1);
}

/* Channel c of sixteen keys. */
INLINE __m512 keys16(element type, const unsigned char *key, size_t head_dim, size_t c) {
    if (type != ELEMENT_Q4) return load16(type, key + c * lane_bytes(type));
    const unsigned char *at = key + fv_q4_panel_quants(head_dim) + c / 2 * 16;
    __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at));
    if (c % 2) both = _mm512_srli_epi32(both, 4);
    return _mm512_mul_ps(_mm512_permutexvar_ps(both, q4_table()),
                         load16(ELEMENT_F16, key + c / FV_Q4_VALUES * FV_Q4_VALUES));
}

/* Two vectors of a block of Q4_0 from its 18 bytes. */
INLINE void q4_block(const unsigned char *block, __m512 *low, __m512 *high) {
    const __m512 table = q4_table();
    __m512 scale = _mm512_cvtph_ps(_mm256_set1_epi16((short)(block[0] | block[1] << 8)));
    __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(block + 2)));
    *low = _mm512_mul_ps(_mm512_permutexvar_ps(both, table), scale);
    *high = _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), table), scale);
}

/* `vectors` vectors of a row from channel `first` on; `last` masks the last one's channels. */
INLINE void row_widen(element type, size_t vectors, const unsigned char *row, size_t first, __mmask16 last,
                      __m512 *value) {
    if (type == ELEMENT_Q4) {
        for (size_t j = 0; j < vectors; j += 2) {
            __m512 beyond, *high = j + 1 < vectors ? value + j + 1 : &beyond;
            q4_block(row + (first + 16 * j) / FV_Q4_VALUES * FV_Q4_BYTES, value + j, high);
        }
        return;
    }
    for (size_t j = 0; j < vectors; j++) {
        const unsigned char *at = row + (first + 16 * j) / 16 * lane_bytes(type);
        value[j] = j + 1 < vectors || last == 0xFFFF ? load16(type, at) : widen16(type, last, at);
    }
}

#endif
