/* packed_rows_avx2.h - a few tokens with sixteen packed rows: each weight that is unpacked serves all tokens, each
 * activation that is loaded both eights. */
#ifndef FV_PACKED_ROWS_AVX2_H
#define FV_PACKED_ROWS_AVX2_H

#include "kernels/avx2/packed_avx2.h"

enum { ROWS_TOKENS = 4, ROWS_EIGHTS = 2 }; /* sums of 4 x 2 take half of the registers */

/* Sums stay in the order that they are written in: else gcc keeps products waiting, for a balanced tree, and spills. */
INLINE void rows_add(__m256i *sum, __m256i word) {
    *sum = _mm256_add_epi16(*sum, word);
    __asm__("" : "+x"(*sum));
}

INLINE void rows_add32(__m256i *sum, __m256i product) {
    *sum = _mm256_add_epi32(*sum, product);
    __asm__("" : "+x"(*sum));
}

/* There are too few registers for these: kept in memory, they are read and written once a group. */
INLINE void rows_in_memory(__m256 sums[ROWS_TOKENS * ROWS_EIGHTS]) {
    __asm__("" : "+m"(*(__m256(*)[ROWS_TOKENS * ROWS_EIGHTS]) sums));
}

/* Step `i`: those that share bytes follow each other. */
INLINE int rows_step(size_t i) { return (int)(i % 2 * 4 + i / 2); }

/* `deep` steps are summed in 16 bits (packed_avx2.c). */
INLINE void rows_dot_words(fv_packed_type type, size_t tokens, size_t columns, const uint8_t *const bytes[ROWS_EIGHTS],
                           const int8_t *x, __m256i *dot) {
    const __m256i ones = _mm256_set1_epi16(1);
    const size_t deep = fv_packed_has_fifths(type) || fv_packed_is_mxfp4(type) ? 4 : 8;
    __m256i words[ROWS_TOKENS * ROWS_EIGHTS];
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        int k = rows_step(i);
        __m256i step[ROWS_EIGHTS];
        for (size_t e = 0; e < ROWS_EIGHTS; e++) step[e] = packed_step(type, bytes[e], k);
        for (size_t t = 0; t < tokens; t++) {
            __m256i four = broadcast4(x + t * columns + 4 * k);
            for (size_t e = 0; e < ROWS_EIGHTS; e++) {
                __m256i product = _mm256_maddubs_epi16(step[e], four);
                if (i % deep == 0)
                    words[t * ROWS_EIGHTS + e] = product;
                else
                    rows_add(&words[t * ROWS_EIGHTS + e], product);
            }
        }
        if (i % deep == deep - 1)
            for (size_t s = 0; s < tokens * ROWS_EIGHTS; s++) {
                __m256i wide = _mm256_madd_epi16(words[s], ones);
                dot[s] = i < deep ? wide : _mm256_add_epi32(dot[s], wide);
            }
    }
}

/* Two steps deep: their sum is widened at once, so there is no register that waits for it. */
INLINE void rows_dot_pairs(fv_packed_type type, size_t tokens, size_t first, size_t columns,
                           const uint8_t *const bytes[ROWS_EIGHTS], const int8_t *x, __m256i *dot) {
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 2
    for (size_t pair = 0; pair < 2; pair++) {
        int k = (int)(first + 2 * pair);
        __m256i step[ROWS_EIGHTS][2];
        for (size_t e = 0; e < ROWS_EIGHTS; e++)
            for (int i = 0; i < 2; i++) step[e][i] = packed_step(type, bytes[e], k + i);
        for (size_t t = 0; t < tokens; t++) {
            __m256i four = broadcast4(x + t * columns + 4 * k), next = broadcast4(x + t * columns + 4 * k + 4);
            for (size_t e = 0; e < ROWS_EIGHTS; e++) {
                __m256i words = _mm256_maddubs_epi16(step[e][0], four);
                rows_add(&words, _mm256_maddubs_epi16(step[e][1], next));
                __m256i wide = _mm256_madd_epi16(words, ones);
                if (pair == 0)
                    dot[t * ROWS_EIGHTS + e] = wide;
                else
                    rows_add32(&dot[t * ROWS_EIGHTS + e], wide);
            }
        }
    }
}

/* Wide types: their bias is taken off. */
INLINE void rows_dot_bytes(fv_packed_type type, size_t tokens, size_t columns, const uint8_t *const bytes[ROWS_EIGHTS],
                           const int8_t *x, __m256i *dot) {
    const __m256i ones = _mm256_set1_epi16(1), bias = _mm256_set1_epi8((char)0x80);
    for (size_t t = 0; t < tokens; t++)
        for (size_t e = 0; e < ROWS_EIGHTS; e++) dot[t * ROWS_EIGHTS + e] = packed_shift(x + t * columns);
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        int k = rows_step(i);
        __m256i w[ROWS_EIGHTS], magnitude[ROWS_EIGHTS];
        for (size_t e = 0; e < ROWS_EIGHTS; e++) {
            w[e] = _mm256_xor_si256(packed_step(type, bytes[e], k), bias);
            magnitude[e] = _mm256_abs_epi8(w[e]);
        }
        for (size_t t = 0; t < tokens; t++) {
            __m256i four = broadcast4(x + t * columns + 4 * k);
            for (size_t e = 0; e < ROWS_EIGHTS; e++) {
                __m256i product = _mm256_maddubs_epi16(magnitude[e], _mm256_sign_epi8(four, w[e]));
                rows_add32(&dot[t * ROWS_EIGHTS + e], _mm256_madd_epi16(product, ones));
            }
        }
    }
}

/* A group's sums of all tokens and eights, added to a and b. */
INLINE void rows_group(fv_packed_type type, size_t tokens, size_t columns, size_t group, size_t half,
                       const uint8_t *const block[ROWS_EIGHTS], const packed_header *header, size_t in_block,
                       const fv_q8_rows *x, __m256 *a, __m256 *b) {
    const size_t scales = fv_packed_by_16(type) ? 2 : 1;
    const float *sums = fv_packed_by_16(type) ? x->sum16 : x->sum32;
    const uint8_t *bytes[ROWS_EIGHTS];
    __m256i dot[ROWS_TOKENS * ROWS_EIGHTS];
    for (size_t e = 0; e < ROWS_EIGHTS; e++)
        bytes[e] = block[e] + fv_packed_header_bytes(type) + in_block * fv_packed_group_bytes(type);
    if (fv_packed_is_wide(type))
        rows_dot_bytes(type, tokens, columns, bytes, x->quants + 32 * group, dot);
    else if (scales == 2)
        rows_dot_pairs(type, tokens, 4 * half, columns, bytes, x->quants + 32 * group, dot);
    else
        rows_dot_words(type, tokens, columns, bytes, x->quants + 32 * group, dot);
    for (size_t e = 0; e < ROWS_EIGHTS; e++) {
        __m256 scale, offset;
        packed_scales(type, block[e], &header[e], in_block * scales + half, &scale, &offset);
        for (size_t t = 0; t < tokens; t++) {
            size_t i = t * (columns / 32) + group, s = t * ROWS_EIGHTS + e;
            a[s] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[s]), _mm256_mul_ps(scale, _mm256_broadcast_ss(x->scale + i)),
                                   a[s]);
            b[s] = _mm256_fmadd_ps(offset, _mm256_broadcast_ss(sums + i * scales + half), b[s]);
        }
    }
}

/* `tokens` rows with two eights, `bytes` apart. */
INLINE void rows_product(fv_packed_type type, size_t tokens, size_t columns, const uint8_t *eight, size_t bytes,
                         const fv_q8_rows *x, float *out, size_t out_stride) {
    const size_t groups = fv_packed_block_values(type) / 32, scales = fv_packed_by_16(type) ? 2 : 1;
    __m256 a[ROWS_TOKENS * ROWS_EIGHTS], b[ROWS_TOKENS * ROWS_EIGHTS];
    for (size_t s = 0; s < tokens * ROWS_EIGHTS; s++) a[s] = b[s] = _mm256_setzero_ps();
    for (size_t first = 0; first < columns / 32; first += groups, eight += fv_packed_block_bytes(type)) {
        const uint8_t *const block[ROWS_EIGHTS] = {eight, eight + bytes};
        packed_header header[ROWS_EIGHTS];
        for (size_t e = 0; e < ROWS_EIGHTS; e++) packed_header_load(type, block[e], &header[e]);
#pragma GCC unroll 1
        for (size_t g = 0; g < groups; g++)
            for (size_t half = 0; half < scales; half++) {
                if (tokens > 2) rows_in_memory(a), rows_in_memory(b);
                rows_group(type, tokens, columns, first + g, half, block, header, g, x, a, b);
            }
    }
    for (size_t t = 0; t < tokens; t++)
        for (size_t e = 0; e < ROWS_EIGHTS; e++)
            _mm256_storeu_ps(out + t * out_stride + e * FV_PACKED_ROWS,
                             _mm256_add_ps(a[t * ROWS_EIGHTS + e], b[t * ROWS_EIGHTS + e]));
}

#endif
