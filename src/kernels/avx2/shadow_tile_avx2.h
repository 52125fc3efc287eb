/* shadow_tile_avx2.h - pages by their codes for the many rows of a tile; few rows are better off in shadow_avx2.c.
 * Signs and sizes of a key lie side by side, so that one product adds both; the sums of all rows of a block come first
 * and their powers after, since a block's body is longer than the processor looks ahead. Limit: shuffles, then the
 * powers. */
#ifndef FV_SHADOW_TILE_AVX2_H
#define FV_SHADOW_TILE_AVX2_H

#include "kernels/avx2/exp_avx2.h"
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/avx2/score_avx2.h"
#include "kernels/kernels.h"
#include <immintrin.h>
#include <stdbool.h>

/* The nibbles of both planes of a page as places in tables, once for all rows: [dim / 16][2][2][32], of each nibble the
 * keys 0..7, then 8..15, of each eight the even keys first; a key's sign comes before its size. */
INLINE void page_places(size_t dim, const uint8_t *signs, const uint8_t *sizes, uint8_t *place) {
    const __m256i low = _mm256_set1_epi8(15),
                  order = _mm256_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15, 0, 2, 4, 6, 1, 3, 5, 7,
                                           8, 10, 12, 14, 9, 11, 13, 15);
    for (size_t j = 0; j < dim / 16; j++, signs += 32, sizes += 32, place += 128) {
        __m256i sign = _mm256_shuffle_epi8(load(signs), order), size = _mm256_shuffle_epi8(load(sizes), order);
        __m256i eights[2] = {_mm256_unpacklo_epi8(sign, size), _mm256_unpackhi_epi8(sign, size)};
        for (size_t e = 0; e < 2; e++) {
            store(place + 32 * e, _mm256_and_si256(eights[e], low));
            store(place + 64 + 32 * e, _mm256_and_si256(_mm256_srli_epi16(eights[e], 4), low));
        }
    }
}

/* 4 * signs + 2 * sizes of eight keys, 24 * FV_COARSE_MOST a nibble too large; a quarter of the channels in each half.
 * Four entries fit a byte, and signs and sizes meet in one product. */
INLINE __m256i eight_sums(size_t dim, const uint8_t *table, const uint8_t *place) {
    const __m256i times = _mm256_set1_epi16(2 << 8 | 4);
    __m256i sum = _mm256_setzero_si256();
    for (size_t j = 0; j < dim / 16; j += 2, table += 128, place += 256) {
        __m256i four = _mm256_add_epi8(_mm256_shuffle_epi8(load(table), load(place)),
                                       _mm256_shuffle_epi8(load(table + 32), load(place + 64)));
        if (j + 1 < dim / 16)
            four = _mm256_add_epi8(four, _mm256_add_epi8(_mm256_shuffle_epi8(load(table + 64), load(place + 128)),
                                                         _mm256_shuffle_epi8(load(table + 96), load(place + 192))));
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(four, times));
    }
    return sum;
}

/* Of the sixteen keys of a page: 0, 2, 4, 6, 1, 3, 5, 7 in the lower half, and 8 more in the upper. */
INLINE __m256i page_sums(size_t dim, const uint8_t *table, const uint8_t *place) {
    __m256i low = eight_sums(dim, table, place), high = eight_sums(dim, table, place + 32);
    return _mm256_add_epi16(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

/* The sum of |coarse[c]|, from the entries of single channels: 1, 2, 4 and 8. */
INLINE int32_t coarse_reach(size_t dim, const uint8_t *table) {
    const __m256i single = _mm256_set_epi64x(0xFF, 0x000000FF00FFFF00, 0xFF, 0x000000FF00FFFF00);
    const __m256i none = _mm256_and_si256(single, _mm256_set1_epi8(4 * FV_COARSE_MOST));
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < 4 * dim; i += 32)
        sum = _mm256_add_epi64(sum, _mm256_sad_epu8(_mm256_and_si256(load(table + i), single), none));
    int64_t sums[4];
    store(sums, sum);
    return (int32_t)(sums[0] + sums[1] + sums[2] + sums[3]);
}

/* Sums of the powers of the keys 2 i and 2 i + 1 of four pages. Stage by stage for all of them: a page's own stages
 * wait for each other. A sum, which is a whole number below 2^16, is made a float by the upper half of 2^23. */
INLINE void row_powers(bool held, const __m256i *sum, __m256 above, const __m256 *step, __m256 factor, __m256 *power) {
    const __m256 most = _mm256_set1_ps(FV_SCORE_MOST), least = _mm256_set1_ps(-FV_SCORE_MOST);
    const __m256 magic = _mm256_set1_ps(12582912.0f + 127 * 256); /* rounds; what it adds above bit 16 is shifted out */
    const __m256i upper = _mm256_set1_epi16(0x4B00);
    __m256 x[8];
    for (size_t i = 0; i < 4; i++) { /* even keys, and odd ones */
        x[2 * i] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(sum[i], upper));
        x[2 * i + 1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(sum[i], upper));
    }
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_sub_ps(x[i], above);
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_mul_ps(x[i], step[i]);
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_mul_ps(x[i], factor);
    for (size_t i = 0; held && i < 8; i++) x[i] = _mm256_max_ps(_mm256_min_ps(x[i], most), least);
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_add_ps(x[i], magic);
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x[i]), 15));
    for (size_t i = 0; i < 4; i++) power[i] = _mm256_add_ps(x[2 * i], x[2 * i + 1]);
}

enum { ROWS_TOGETHER = 16 };

/* Of rows: what their dots are above, and how large a score can be for each step. */
typedef struct row_numbers {
    float above[ROWS_TOGETHER], factor[ROWS_TOGETHER], reach[ROWS_TOGETHER];
} row_numbers;

INLINE void row_numbers_make(const fv_shadow_rows *query, size_t dim, size_t first, size_t rows, row_numbers *out) {
    for (size_t i = 0; i < rows; i++) {
        size_t r = first + i;
        out->above[i] = 0x1p23f + (float)(6 * FV_COARSE_MOST * (int32_t)dim + 3 * query->coarse_sum[r]);
        out->factor[i] = 0.5f * query->coarse_factor[r];
        out->reach[i] = 3.0f * (float)coarse_reach(dim, query->table + r * 4 * dim) * out->factor[i];
    }
}

/* Four pages, of which `count` are there, for the rows first..first+rows-1. */
INLINE void tile_block(const fv_shadow_rows *query, size_t dim, size_t first, size_t rows, const row_numbers *numbers,
                       size_t count, const uint32_t *pages, const uint8_t *signs, const uint8_t *sizes,
                       const uint16_t *steps, int32_t *out, size_t out_stride) {
    uint8_t place[32 * FV_AVX2_CODE_DIM]; /* [4][dim / 16][2][2][32] */
    __m256i sums[ROWS_TOGETHER][4];
    __m256 step[8], largest = _mm256_setzero_ps();
    bool block = count == 4 && pages[0] % 4 == 0 && pages[3] == pages[0] + 3;
    for (size_t i = 0; i < 4; i++) {
        size_t page = pages[i < count ? i : 0];
        page_places(dim, signs + page * 2 * dim, sizes + page * 2 * dim, place + i * 8 * dim);
        step[2 * i] = even_steps(steps + page * 16);
        step[2 * i + 1] = odd_steps(steps + page * 16);
        largest = _mm256_max_ps(largest, _mm256_max_ps(step[2 * i], step[2 * i + 1]));
    }
    float most = max8(largest);
    for (size_t i = 0; i < rows; i++) {
        const uint8_t *table = query->table + (first + i) * 4 * dim;
        __m256i sum[4];
        for (size_t p = 0; p < 4; p++) sum[p] = page_sums(dim, table, place + p * 8 * dim);
        for (size_t p = 0; p < 4; p++) sums[i][p] = sum[p];
    }
    for (size_t i = 0; i < rows; i++) {
        size_t r = first + i;
        __m256 power[4], above = _mm256_set1_ps(numbers->above[i]), factor = _mm256_set1_ps(numbers->factor[i]);
        if (numbers->reach[i] * most < 0.99f * FV_SCORE_MOST)
            row_powers(false, sums[i], above, step, factor, power);
        else
            row_powers(true, sums[i], above, step, factor, power);
        masses_put(masses(power[0], power[1], power[2], power[3]), block, count, pages,
                   query->base + r * query->base_stride, out + r * out_stride);
    }
}

INLINE void tile_score(const fv_shadow_rows *query, size_t dim, size_t count, const uint32_t *pages,
                       const uint8_t *signs, const uint8_t *sizes, const uint16_t *steps, int32_t *out,
                       size_t out_stride) {
    row_numbers numbers;
    for (size_t first = 0; first < query->rows; first += ROWS_TOGETHER) {
        size_t left = query->rows - first, rows = left < ROWS_TOGETHER ? left : ROWS_TOGETHER;
        row_numbers_make(query, dim, first, rows, &numbers);
        for (size_t n = 0; n < count; n += 4) {
            for (size_t i = n + PLANES_AHEAD; i < count && i < n + PLANES_AHEAD + 4; i++)
                prefetch_planes(dim, pages[i], signs, sizes);
            tile_block(query, dim, first, rows, &numbers, count - n < 4 ? count - n : 4, pages + n, signs, sizes, steps,
                       out + n, out_stride);
        }
    }
}

#endif
