/* AVX2. Limit: maddubs and its widening; codes up to 3 times 127 let 16 bits hold 40 sums of two. */
#include "kernels/kernels.h"
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m256i broadcast4(const int8_t *x) {
    int32_t word;
    __builtin_memcpy(&word, x, 4);
    return _mm256_set1_epi32(word);
}

INLINE __m256i load(const void *x) { return _mm256_loadu_si256((const __m256i *)x); }

/* Eight keys x 4 channels: bytes to words, so that no sum saturates. */
INLINE __m256i dot_eight(__m256i keys, __m256i query) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i low = _mm256_unpacklo_epi8(keys, zero), high = _mm256_unpackhi_epi8(keys, zero);
    __m256i sign = _mm256_cmpgt_epi8(zero, query);
    __m256i q = _mm256_unpacklo_epi8(query, sign); /* the same four in every lane */
    __m256i a = _mm256_madd_epi16(low, q), b = _mm256_madd_epi16(high, q);
    return _mm256_hadd_epi32(a, b);
}

void fv_dot_panel_u8_avx2(size_t rows, size_t panels, size_t dim, const int8_t *query, const uint8_t *key, int32_t *out,
                          size_t out_stride) {
    for (size_t p = 0; p < panels; p++, key += dim * 16, out += 16)
        for (size_t r = 0; r < rows; r++) {
            __m256i a = _mm256_setzero_si256(), b = a;
            for (size_t j = 0; j < dim / 4; j++) {
                __m256i q = broadcast4(query + r * dim + 4 * j);
                a = _mm256_add_epi32(a, dot_eight(load(key + j * 64), q));
                b = _mm256_add_epi32(b, dot_eight(load(key + j * 64 + 32), q));
            }
            _mm256_storeu_si256((__m256i *)(void *)(out + r * out_stride), a);
            _mm256_storeu_si256((__m256i *)(void *)(out + r * out_stride + 8), b);
        }
}

/* Dot products of eight keys, `half` 0 or 1 of the page. */
INLINE __m256i codes_dot(size_t dim, const int8_t *q, const uint8_t *codes, size_t half) {
    const __m256i mask = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
    __m256i total = _mm256_setzero_si256(), part = total;
    size_t plane = dim / 4;
    for (size_t j = 0; j < plane / 4; j++) {
        __m256i byte = load(codes + j * 64 + half * 32);
        for (int p = 0; p < 4; p++) {
            __m256i code = _mm256_and_si256(_mm256_srli_epi16(byte, 2 * p), mask);
            part = _mm256_add_epi16(part, _mm256_maddubs_epi16(code, broadcast4(q + (size_t)p * plane + 4 * j)));
        }
        if (j % 8 < 7 && j + 1 < plane / 4) continue;
        total = _mm256_add_epi32(total, _mm256_madd_epi16(part, ones)); /* 32 sums of at most 762 */
        part = _mm256_setzero_si256();
    }
    return total;
}

/* Scores of the keys of one page, of which `count` exist. */
INLINE void page_scores(const fv_shadow_rows *query, size_t r, size_t dim, size_t block, const uint8_t *codes,
                        const uint16_t *steps, int32_t *score) {
    const __m256 most = _mm256_set1_ps(0x1p28f), least = _mm256_set1_ps(-0x1p28f);
    for (size_t half = 0; half < 2; half++) {
        __m256i dot = codes_dot(dim, query->query + r * dim, codes, half);
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(steps + 8 * half)));
        __m256 step = _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
        __m256 x = _mm256_sub_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(query->half_sum[r]));
        x = _mm256_add_ps(_mm256_mul_ps(x, step), _mm256_set1_ps(query->base[r * query->base_stride + block]));
        x = _mm256_mul_ps(x, _mm256_set1_ps(query->factor[r]));
        x = _mm256_min_ps(_mm256_max_ps(x, least), most);
        _mm256_storeu_si256((__m256i *)(void *)(score + 8 * half), _mm256_cvtps_epi32(x));
    }
}

INLINE __m256i power_of(__m256i e) {
    __m256i shift = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_srai_epi32(e, 8));
    __m256i mantissa = _mm256_or_si256(_mm256_and_si256(e, _mm256_set1_epi32(255)), _mm256_set1_epi32(256));
    return _mm256_srlv_epi32(_mm256_slli_epi32(mantissa, 8), shift);
}

INLINE int32_t reduce_max(__m256i x) {
    __m128i a = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    a = _mm_max_epi32(a, _mm_shuffle_epi32(a, 0x4E));
    a = _mm_max_epi32(a, _mm_shuffle_epi32(a, 0xB1));
    return _mm_cvtsi128_si32(a);
}

/* score [64] whose keys behind `count` are lowest. */
INLINE int32_t block_best(const int32_t *score) {
    __m256i top = load(score);
    for (size_t i = 1; i < 8; i++) top = _mm256_max_epi32(top, load(score + 8 * i));
    return reduce_max(top);
}

INLINE void block_mass(const int32_t *score, size_t pages, int32_t most, uint32_t *mass) {
    const __m256i best = _mm256_set1_epi32(most);
    __m256i sum[4];
    for (size_t p = 0; p < 4; p++)
        sum[p] = _mm256_add_epi32(power_of(_mm256_sub_epi32(load(score + 16 * p), best)),
                                  power_of(_mm256_sub_epi32(load(score + 16 * p + 8), best)));
    __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(sum[0], sum[1]), _mm256_hadd_epi32(sum[2], sum[3]));
    uint32_t sums[4];
    _mm_storeu_si128((__m128i *)(void *)sums,
                     _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
    for (size_t p = 0; p < pages; p++) mass[p] = sums[p];
}

INLINE void shadow_mass(const fv_shadow_rows *query, size_t dim, size_t keys, const uint8_t *codes, const uint16_t *steps,
                        int32_t *best, size_t best_stride, uint32_t *mass, size_t mass_stride) {
    int32_t score[64];
    for (size_t key = 0; key < keys; key += 64) {
        size_t count = keys - key < 64 ? keys - key : 64, pages = (count + 15) / 16, block = key / 64;
        for (size_t r = 0; r < query->rows; r++) {
            for (size_t p = 0; p < pages; p++)
                page_scores(query, r, dim, block, codes + (key / 16 + p) * dim * 4, steps + key + 16 * p, score + 16 * p);
            for (size_t t = count; t < 64; t++) score[t] = INT32_MIN / 2;
            int32_t most = block_best(score);
            best[r * best_stride + block] = most;
            block_mass(score, pages, most, mass + r * mass_stride + 4 * block);
        }
    }
}

void fv_shadow_mass_avx2(const fv_shadow_rows *query, size_t keys, const uint8_t *codes, const uint16_t *steps,
                         int32_t *best, size_t best_stride, uint32_t *mass, size_t mass_stride) {
    if (query->dim == 64)
        shadow_mass(query, 64, keys, codes, steps, best, best_stride, mass, mass_stride);
    else
        shadow_mass(query, query->dim, keys, codes, steps, best, best_stride, mass, mass_stride);
}

/* 8 pages of 2 blocks; those behind the last have mass 0. */
INLINE __m256i pages_own(const int32_t *best, const uint32_t *mass, size_t left, __m256i most, __m256i valid) {
    int32_t second = left > 4 ? best[1] : best[0];
    __m256i top = _mm256_setr_epi32(best[0], best[0], best[0], best[0], second, second, second, second);
    __m256i x = _mm256_srli_epi32(_mm256_maskload_epi32((const int *)(const void *)mass, valid), 5);
    return _mm256_srli_epi32(_mm256_mullo_epi32(x, power_of(_mm256_sub_epi32(top, most))), 8);
}

INLINE __m256i lanes(size_t left) {
    __m256i count = _mm256_set1_epi32(left < 8 ? (int32_t)left : 8);
    return _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

void fv_page_share_avx2(size_t pages, const int32_t *best, const uint32_t *mass, uint32_t *share) {
    int32_t top = best[0];
    for (size_t b = 1; b < (pages + 3) / 4; b++) top = best[b] > top ? best[b] : top;
    __m256i most = _mm256_set1_epi32(top), sum = _mm256_setzero_si256();
    for (size_t p = 0; p < pages; p += 8) {
        __m256i own = pages_own(best + p / 4, mass + p, pages - p, most, lanes(pages - p));
        sum = _mm256_add_epi64(sum, _mm256_cvtepu32_epi64(_mm256_castsi256_si128(own)));
        sum = _mm256_add_epi64(sum, _mm256_cvtepu32_epi64(_mm256_extracti128_si256(own, 1)));
    }
    uint64_t sums[4];
    _mm256_storeu_si256((__m256i *)(void *)sums, sum);
    __m256 inverse = _mm256_set1_ps(fv_share_inverse(sums[0] + sums[1] + sums[2] + sums[3]));
    for (size_t p = 0; p < pages; p += 8) {
        __m256i valid = lanes(pages - p);
        __m256i own = pages_own(best + p / 4, mass + p, pages - p, most, valid);
        __m256i part = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(own), inverse));
        part = _mm256_add_epi32(part, _mm256_set1_epi32(1));
        int *out = (int *)(void *)(share + p);
        _mm256_maskstore_epi32(out, valid, _mm256_max_epi32(part, _mm256_maskload_epi32(out, valid)));
    }
}
