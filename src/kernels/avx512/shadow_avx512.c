/* AVX-512 VNNI. Limit: dpbusd, one of 64 products a cycle and load port for a query's broadcast; four rows share the
 * unpacked codes of a page. */
#include "kernels/kernels.h"
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m512i broadcast4(const int8_t *x) {
    int32_t word;
    __builtin_memcpy(&word, x, 4);
    return _mm512_set1_epi32(word);
}

INLINE void dot_rows(size_t rows, size_t dim, const int8_t *query, const uint8_t *key, int32_t *out, size_t out_stride) {
    __m512i sum[4];
    for (size_t r = 0; r < rows; r++) sum[r] = _mm512_setzero_si512();
    for (size_t j = 0; j < dim / 4; j++) {
        __m512i k = _mm512_loadu_si512(key + j * 64);
        for (size_t r = 0; r < rows; r++) sum[r] = _mm512_dpbusd_epi32(sum[r], k, broadcast4(query + r * dim + 4 * j));
    }
    for (size_t r = 0; r < rows; r++) _mm512_storeu_si512(out + r * out_stride, sum[r]);
}

void fv_dot_panel_u8_avx512(size_t rows, size_t panels, size_t dim, const int8_t *query, const uint8_t *key, int32_t *out,
                            size_t out_stride) {
    for (size_t p = 0; p < panels; p++, key += dim * 16, out += 16) {
        size_t r = 0;
        for (; r + 4 <= rows; r += 4) dot_rows(4, dim, query + r * dim, key, out + r * out_stride, out_stride);
        for (; r < rows; r++) dot_rows(1, dim, query + r * dim, key, out + r * out_stride, out_stride);
    }
}

/* The four planes of a page, [dim / 4] vectors of 16 keys x 4 channels. */
INLINE void page_unpack(size_t dim, const uint8_t *codes, __m512i *plane) {
    const __m512i mask = _mm512_set1_epi8(3);
    for (size_t j = 0; j < dim / 16; j++) {
        __m512i byte = _mm512_loadu_si512(codes + j * 64);
        plane[j] = _mm512_and_si512(byte, mask);
        plane[dim / 16 + j] = _mm512_and_si512(_mm512_srli_epi16(byte, 2), mask);
        plane[2 * (dim / 16) + j] = _mm512_and_si512(_mm512_srli_epi16(byte, 4), mask);
        plane[3 * (dim / 16) + j] = _mm512_and_si512(_mm512_srli_epi16(byte, 6), mask);
    }
}

/* Scores of 16 keys for rows first..first + rows - 1, [rows][64] into `score`; keys that are not `valid` are lowest. */
INLINE void page_scores(const fv_shadow_rows *query, size_t first, size_t rows, size_t dim, const __m512i *plane,
                        __m512 step, size_t block, __mmask16 valid, int32_t *score) {
    const __m512 most = _mm512_set1_ps(0x1p28f), least = _mm512_set1_ps(-0x1p28f);
    const int8_t *q = query->query + first * dim;
    __m512i dot[4];
    for (size_t r = 0; r < rows; r++) dot[r] = _mm512_setzero_si512();
    for (size_t j = 0; j < dim / 4; j++)
        for (size_t r = 0; r < rows; r++) dot[r] = _mm512_dpbusd_epi32(dot[r], plane[j], broadcast4(q + r * dim + 4 * j));
    for (size_t r = 0; r < rows; r++) {
        __m512 x = _mm512_sub_ps(_mm512_cvtepi32_ps(dot[r]), _mm512_set1_ps(query->half_sum[first + r]));
        x = _mm512_add_ps(_mm512_mul_ps(x, step), _mm512_set1_ps(query->base[(first + r) * query->base_stride + block]));
        x = _mm512_mul_ps(x, _mm512_set1_ps(query->factor[first + r]));
        x = _mm512_min_ps(_mm512_max_ps(x, least), most);
        __m512i whole = _mm512_mask_cvtps_epi32(_mm512_set1_epi32(INT32_MIN / 2), valid, x);
        _mm512_storeu_si512(score + r * 64, whole);
    }
}

INLINE __m512i power_of(__m512i e) {
    __m512i shift = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_srai_epi32(e, 8));
    __m512i mantissa = _mm512_or_si512(_mm512_and_si512(e, _mm512_set1_epi32(255)), _mm512_set1_epi32(256));
    return _mm512_srlv_epi32(_mm512_slli_epi32(mantissa, 8), shift);
}

/* Sums of four vectors of 16, as the four lanes of one. */
INLINE __m128i sum_four(__m512i a, __m512i b, __m512i c, __m512i d) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

INLINE void block_mass(const int32_t *score, size_t pages, int32_t *best, uint32_t *mass) {
    __m512i x[4];
    for (size_t p = 0; p < 4; p++) x[p] = _mm512_loadu_si512(score + 16 * p);
    __m512i top = _mm512_max_epi32(_mm512_max_epi32(x[0], x[1]), _mm512_max_epi32(x[2], x[3]));
    *best = _mm512_reduce_max_epi32(top);
    top = _mm512_set1_epi32(*best);
    for (size_t p = 0; p < 4; p++) x[p] = power_of(_mm512_sub_epi32(x[p], top));
    __m128i sums = sum_four(x[0], x[1], x[2], x[3]);
    _mm_mask_storeu_epi32(mass, (__mmask8)((1u << pages) - 1), sums);
}

enum { ROWS = 4, MOST_DIM = 1024 };

INLINE void block_scores(const fv_shadow_rows *query, size_t first, size_t rows, size_t dim, size_t block, size_t keys,
                         const uint8_t *codes, const uint16_t *steps, int32_t *score) {
    __m512i plane[MOST_DIM / 4];
    for (size_t p = 0; p < 4; p++) {
        size_t left = keys > 16 * p ? keys - 16 * p : 0;
        if (!left) {
            for (size_t r = 0; r < rows; r++)
                _mm512_storeu_si512(score + r * 64 + 16 * p, _mm512_set1_epi32(INT32_MIN / 2));
            continue;
        }
        __mmask16 valid = (__mmask16)(left < 16 ? (1u << left) - 1 : 0xFFFF);
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(steps + 16 * p)));
        __m512 step = _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
        page_unpack(dim, codes + p * dim * 4, plane);
        size_t r = 0;
        for (; r + ROWS <= rows; r += ROWS)
            page_scores(query, first + r, ROWS, dim, plane, step, block, valid, score + r * 64 + 16 * p);
        for (; r + 3 <= rows; r += 3)
            page_scores(query, first + r, 3, dim, plane, step, block, valid, score + r * 64 + 16 * p);
        for (; r < rows; r++) page_scores(query, first + r, 1, dim, plane, step, block, valid, score + r * 64 + 16 * p);
    }
}

enum { AHEAD = 256 }; /* keys */

enum { TILE = 48 }; /* rows whose scores of a block stay in the L1 cache */

INLINE void shadow_mass(const fv_shadow_rows *query, size_t dim, size_t keys, const uint8_t *codes, const uint16_t *steps,
                        int32_t *best, size_t best_stride, uint32_t *mass, size_t mass_stride) {
    int32_t score[TILE * 64];
    for (size_t first = 0; first < query->rows; first += TILE) {
        size_t rows = query->rows - first < TILE ? query->rows - first : TILE;
        for (size_t key = 0; key < keys; key += 64) {
            size_t count = keys - key < 64 ? keys - key : 64, block = key / 64;
            for (size_t i = 0; i < 16 * dim; i += 64)
                _mm_prefetch((const char *)codes + (key + AHEAD) * dim / 4 + i, _MM_HINT_T0); /* past the end: no harm */
            block_scores(query, first, rows, dim, block, count, codes + key * dim / 4, steps + key, score);
            for (size_t r = 0; r < rows; r++)
                block_mass(score + r * 64, (count + 15) / 16, best + (first + r) * best_stride + block,
                           mass + (first + r) * mass_stride + 4 * block);
        }
    }
}

void fv_shadow_mass_avx512(const fv_shadow_rows *query, size_t keys, const uint8_t *codes, const uint16_t *steps,
                           int32_t *best, size_t best_stride, uint32_t *mass, size_t mass_stride) {
    if (query->dim == 64)
        shadow_mass(query, 64, keys, codes, steps, best, best_stride, mass, mass_stride);
    else
        shadow_mass(query, query->dim, keys, codes, steps, best, best_stride, mass, mass_stride);
}

/* 16 pages of 4 blocks; those behind the last have mass 0. */
INLINE __m512i pages_own(const int32_t *best, const uint32_t *mass, size_t left, __m512i most, __mmask16 valid) {
    const __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    __mmask8 blocks = (__mmask8)(left < 16 ? (1u << (left + 3) / 4) - 1 : 15);
    __m512i top = _mm512_permutexvar_epi32(spread, _mm512_castsi128_si512(_mm_maskz_loadu_epi32(blocks, best)));
    __m512i x = _mm512_srli_epi32(_mm512_maskz_loadu_epi32(valid, mass), 5);
    return _mm512_srli_epi32(_mm512_mullo_epi32(x, power_of(_mm512_sub_epi32(top, most))), 8);
}

INLINE __mmask16 lanes(size_t left) { return (__mmask16)(left < 16 ? (1u << left) - 1 : 0xFFFF); }

void fv_page_share_avx512(size_t pages, const int32_t *best, const uint32_t *mass, uint32_t *share) {
    size_t blocks = (pages + 3) / 4;
    __m512i most = _mm512_set1_epi32(best[0]), sum = _mm512_setzero_si512();
    for (size_t b = 0; b < blocks; b += 16)
        most = _mm512_max_epi32(most, _mm512_mask_loadu_epi32(most, lanes(blocks - b), best + b));
    most = _mm512_set1_epi32(_mm512_reduce_max_epi32(most));
    for (size_t p = 0; p < pages; p += 16) {
        __m512i own = pages_own(best + p / 4, mass + p, pages - p, most, lanes(pages - p));
        sum = _mm512_add_epi64(sum, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(own)));
        sum = _mm512_add_epi64(sum, _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(own, 1)));
    }
    __m512 inverse = _mm512_set1_ps(fv_share_inverse((uint64_t)_mm512_reduce_add_epi64(sum)));
    for (size_t p = 0; p < pages; p += 16) {
        __mmask16 valid = lanes(pages - p);
        __m512i own = pages_own(best + p / 4, mass + p, pages - p, most, valid);
        __m512i part = _mm512_cvttps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(own), inverse));
        part = _mm512_add_epi32(part, _mm512_set1_epi32(1));
        part = _mm512_max_epi32(part, _mm512_maskz_loadu_epi32(valid, share + p));
        _mm512_mask_storeu_epi32(share + p, valid, part);
    }
}
