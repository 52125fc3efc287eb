/* AVX2. Limit: a shuffle looks four channels up for 32 keys (or two times four for 16), and the additions after it:
 * table look-up as in Quicker ADC and fast scan (Andre, Kermarrec & Le Scouarnec 2019); up to four rows share a page's
 * nibbles. */
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/avx2/mean_avx2.h"
#include "kernels/avx2/score_avx2.h"
#include "kernels/avx2/shadow_tile_avx2.h"
#include "kernels/kernels.h"
#include <immintrin.h>
#include <stdbool.h>

/* `rows` rows x one panel. Two products of 127 x 127 fit 16 bits. */
INLINE void mean_rows(size_t rows, size_t dim, const int8_t *q, const uint8_t *mean, __m256i *dot) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (size_t i = 0; i < 2 * rows; i++) dot[i] = _mm256_setzero_si256();
    for (size_t j = 0; j < dim / 4; j++) {
        __m256i low = load(mean + j * 64), high = load(mean + j * 64 + 32);
        for (size_t r = 0; r < rows; r++) {
            __m256i four = query4(q + r * dim + 4 * j);
            dot[2 * r] = _mm256_add_epi32(dot[2 * r], _mm256_madd_epi16(_mm256_maddubs_epi16(low, four), ones));
            dot[2 * r + 1] =
                _mm256_add_epi32(dot[2 * r + 1], _mm256_madd_epi16(_mm256_maddubs_epi16(high, four), ones));
        }
    }
}

void fv_mean_score_avx2(const fv_shadow_rows *query, size_t panels, const uint8_t *mean, const float *step,
                        int32_t *out, size_t out_stride) {
    mean_scores(mean_rows, query, panels, mean, step, out, out_stride);
}

/* A plane's nibbles as places in tables, [dim / 16][2][32]: once for all rows. */
INLINE void plane_places(size_t dim, const uint8_t *plane, uint8_t *place) {
    const __m256i low = _mm256_set1_epi8(15);
    for (size_t j = 0; j < dim / 16; j++, plane += 32, place += 64) {
        __m256i bits = load(plane);
        store(place, _mm256_and_si256(bits, low));
        store(place + 32, _mm256_and_si256(_mm256_srli_epi16(bits, 4), low));
    }
}

/* Sums of a plane by key, 4 * FV_COARSE_MOST a nibble too large: of both keys of a word, the upper one's carried on,
 * and of the upper one. Four entries fit a byte. */
INLINE void plane_add(size_t dim, const uint8_t *table, const uint8_t *place, __m256i *all, __m256i *odd) {
    for (size_t j = 0; j < dim / 16; j += 2, table += 128, place += 128) {
        __m256i four = _mm256_add_epi8(_mm256_shuffle_epi8(load(table), load(place)),
                                       _mm256_shuffle_epi8(load(table + 32), load(place + 32)));
        if (j + 1 < dim / 16)
            four = _mm256_add_epi8(four, _mm256_add_epi8(_mm256_shuffle_epi8(load(table + 64), load(place + 64)),
                                                         _mm256_shuffle_epi8(load(table + 96), load(place + 96))));
        *all = _mm256_add_epi16(*all, four);
        *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16(four, 8));
    }
}

/* Even keys to the lower half, odd ones to the upper. */
INLINE __m256i keys_part(__m256i all, __m256i odd) {
    __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
    return _mm256_add_epi16(_mm256_permute2x128_si256(even, odd, 0x20), _mm256_permute2x128_si256(even, odd, 0x31));
}

/* (float)(times * sum - less) */
INLINE __m256 dots(__m128i sum, int times, int32_t less) {
    __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(sum), times);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(wide, _mm256_set1_epi32(less)));
}

/* The largest of four in each of four vectors. */
INLINE __m128 max_four(const __m128 *x) {
    __m128 a = _mm_max_ps(_mm_unpacklo_ps(x[0], x[1]), _mm_unpackhi_ps(x[0], x[1]));
    __m128 b = _mm_max_ps(_mm_unpacklo_ps(x[2], x[3]), _mm_unpackhi_ps(x[2], x[3]));
    return _mm_max_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
}

/* Of one page: the largest of the keys 0 and 1, 8 and 9; of 2 and 3 and so on. */
INLINE __m128 key_max(__m256i sum, int32_t less, __m256 even, __m256 odd) {
    __m256 x = _mm256_mul_ps(dots(_mm256_castsi256_si128(sum), 1, less), even);
    x = _mm256_max_ps(x, _mm256_mul_ps(dots(_mm256_extracti128_si256(sum, 1), 1, less), odd));
    return _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
}

/* Four pages, of which `pages` are there, are a block: they share a base. */
INLINE void sign_block(const fv_shadow_rows *query, size_t dim, size_t page, size_t pages, const uint8_t *signs,
                       const uint16_t *steps, int32_t *out, size_t out_stride) {
    uint8_t place[16 * FV_AVX2_CODE_DIM]; /* [4][dim / 16][2][32] */
    __m256 even[4], odd[4];
    for (size_t i = 0; i < 4; i++) {
        size_t p = page + (i < pages ? i : 0);
        plane_places(dim, signs + p * 2 * dim, place + i * 4 * dim);
        even[i] = even_steps(steps + p * 16);
        odd[i] = odd_steps(steps + p * 16);
    }
    for (size_t r = 0; r < query->rows; r++) {
        __m128 best[4];
        for (size_t i = 0; i < 4; i++) {
            __m256i all = _mm256_setzero_si256(), upper = all;
            plane_add(dim, query->table + r * 4 * dim, place + i * 4 * dim, &all, &upper);
            best[i] = key_max(keys_part(all, upper), 2 * FV_COARSE_MOST * (int32_t)dim + query->coarse_sum[r], even[i],
                              odd[i]);
        }
        __m128 x = _mm_mul_ps(max_four(best), _mm_set1_ps(0.82f * query->coarse_factor[r]));
        x = _mm_min_ps(_mm_max_ps(x, _mm_set1_ps(-0x1p28f)), _mm_set1_ps(0x1p28f));
        __m128i base = _mm_set1_epi32(query->base[r * query->base_stride + page / 4]);
        int32_t *to = out + r * out_stride + page, scores[4];
        _mm_storeu_si128((__m128i *)(void *)scores, _mm_add_epi32(_mm_cvtps_epi32(x), base));
        for (size_t i = 0; i < pages; i++) to[i] = scores[i];
    }
}

INLINE void sign_score(const fv_shadow_rows *query, size_t dim, size_t pages, const uint8_t *signs,
                       const uint16_t *steps, int32_t *out, size_t out_stride) {
    size_t p = 0;
    for (; p + 4 <= pages; p += 4) sign_block(query, dim, p, 4, signs, steps, out, out_stride);
    if (p < pages) sign_block(query, dim, p, pages - p, signs, steps, out, out_stride);
}

/* A constant number of channels lets a row's tables stay in registers. */
void fv_sign_score_avx2(const fv_shadow_rows *query, size_t pages, const uint8_t *signs, const uint16_t *steps,
                        int32_t *out, size_t out_stride) {
    if (query->dim > FV_AVX2_CODE_DIM)
        fv_sign_score_scalar(query, pages, signs, steps, out, out_stride);
    else if (query->dim == 64)
        sign_score(query, 64, pages, signs, steps, out, out_stride);
    else
        sign_score(query, query->dim, pages, signs, steps, out, out_stride);
}

/* 4 * signs + 2 * sizes - 3 * coarse_sum, even keys in the lower half; place: of both planes. */
INLINE __m256i page_dots(const fv_shadow_rows *query, size_t r, size_t dim, const uint8_t *place) {
    const uint8_t *table = query->table + r * 4 * dim;
    __m256i all = _mm256_setzero_si256(), odd = all, size_all = all, size_odd = all;
    plane_add(dim, table, place, &all, &odd);
    plane_add(dim, table, place + 4 * dim, &size_all, &size_odd);
    all = _mm256_add_epi16(_mm256_add_epi16(all, all), size_all);
    odd = _mm256_add_epi16(_mm256_add_epi16(odd, odd), size_odd);
    int32_t less = 6 * FV_COARSE_MOST * (int32_t)dim + 3 * query->coarse_sum[r];
    return _mm256_sub_epi16(_mm256_slli_epi16(keys_part(all, odd), 1), _mm256_set1_epi16((int16_t)less));
}

/* Sums of the powers of the keys 2 i and 2 i + 1 of four pages. Stage by stage for all of them: a page's own stages
 * wait for each other. */
INLINE void powers(const __m256i *dot, const __m256 *even, const __m256 *odd, __m256 factor, __m256 *power) {
    const __m256 most = _mm256_set1_ps(FV_SCORE_MOST), least = _mm256_set1_ps(-FV_SCORE_MOST);
    const __m256 magic = _mm256_set1_ps(12582912.0f + 127 * 256); /* rounds; what it adds above bit 16 is shifted out */
    __m256 x[8];
    for (size_t i = 0; i < 4; i++) {
        x[2 * i] = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(dot[i])));
        x[2 * i + 1] = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(dot[i], 1)));
    }
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_mul_ps(x[i], i % 2 ? odd[i / 2] : even[i / 2]);
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_mul_ps(x[i], factor);
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_min_ps(x[i], most);
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_max_ps(x[i], least);
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_add_ps(x[i], magic);
    for (size_t i = 0; i < 8; i++) x[i] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x[i]), 15));
    for (size_t i = 0; i < 4; i++) power[i] = _mm256_add_ps(x[2 * i], x[2 * i + 1]);
}

/* Four pages, of which `count` are there. */
INLINE void shadow_block(const fv_shadow_rows *query, size_t dim, size_t count, const uint32_t *pages,
                         const uint8_t *signs, const uint8_t *sizes, const uint16_t *steps, int32_t *out,
                         size_t out_stride) {
    uint8_t place[32 * FV_AVX2_CODE_DIM]; /* [4][2][dim / 16][2][32] */
    __m256 even[4], odd[4];
    bool block = count == 4 && pages[0] % 4 == 0 && pages[3] == pages[0] + 3;
    for (size_t i = 0; i < 4; i++) {
        size_t page = pages[i < count ? i : 0];
        plane_places(dim, signs + page * 2 * dim, place + i * 8 * dim);
        plane_places(dim, sizes + page * 2 * dim, place + i * 8 * dim + 4 * dim);
        even[i] = even_steps(steps + page * 16);
        odd[i] = odd_steps(steps + page * 16);
    }
    for (size_t r = 0; r < query->rows; r++) {
        __m256i dot[4];
        __m256 power[4];
        for (size_t i = 0; i < 4; i++) dot[i] = page_dots(query, r, dim, place + i * 8 * dim);
        powers(dot, even, odd, _mm256_set1_ps(0.5f * query->coarse_factor[r]), power);
        masses_put(masses(power[0], power[1], power[2], power[3]), block, count, pages,
                   query->base + r * query->base_stride, out + r * out_stride);
    }
}

INLINE void shadow_score(const fv_shadow_rows *query, size_t dim, size_t count, const uint32_t *pages,
                         const uint8_t *signs, const uint8_t *sizes, const uint16_t *steps, int32_t *out,
                         size_t out_stride) {
    size_t n = 0;
    for (; n + 4 <= count; n += 4) {
        for (size_t i = n + PLANES_AHEAD; i < count && i < n + PLANES_AHEAD + 4; i++)
            prefetch_planes(dim, pages[i], signs, sizes);
        shadow_block(query, dim, 4, pages + n, signs, sizes, steps, out + n, out_stride);
    }
    if (n < count) shadow_block(query, dim, count - n, pages + n, signs, sizes, steps, out + n, out_stride);
}

enum { TILE_ROWS = 8 }; /* from which on it pays to unpack codes for many */

void fv_shadow_score_avx2(const fv_shadow_rows *query, size_t listed, const uint32_t *pages, const uint8_t *signs,
                          const uint8_t *sizes, const uint16_t *steps, int32_t *out, size_t out_stride) {
    if (query->dim > FV_AVX2_CODE_DIM)
        fv_shadow_score_scalar(query, listed, pages, signs, sizes, steps, out, out_stride);
    else if (query->rows >= TILE_ROWS && query->dim == 64)
        tile_score(query, 64, listed, pages, signs, sizes, steps, out, out_stride);
    else if (query->rows >= TILE_ROWS)
        tile_score(query, query->dim, listed, pages, signs, sizes, steps, out, out_stride);
    else if (query->dim == 64)
        shadow_score(query, 64, listed, pages, signs, sizes, steps, out, out_stride);
    else
        shadow_score(query, query->dim, listed, pages, signs, sizes, steps, out, out_stride);
}

INLINE void key_score(const fv_shadow_rows *query, size_t dim, size_t count, const uint32_t *pages,
                      const uint8_t *signs, const uint8_t *sizes, const uint16_t *steps, const float *noise,
                      int32_t *out, size_t out_stride) {
    uint8_t place[8 * FV_AVX2_CODE_DIM]; /* [2][dim / 16][2][32] */
    for (size_t n = 0; n < count; n++) {
        size_t page = pages[n];
        __m256 step[2] = {even_steps(steps + page * 16), odd_steps(steps + page * 16)};
        plane_places(dim, signs + page * 2 * dim, place);
        plane_places(dim, sizes + page * 2 * dim, place + 4 * dim);
        for (size_t r = 0; r < query->rows; r++) {
            __m256i dot = page_dots(query, r, dim, place), x[2];
            __m256 part = _mm256_set1_ps(noise[r]), factor = _mm256_set1_ps(0.5f * query->coarse_factor[r]);
            __m256i base = _mm256_set1_epi32(query->base[r * query->base_stride + page / 4]);
            for (size_t i = 0; i < 2; i++) {
                __m128i half = i ? _mm256_extracti128_si256(dot, 1) : _mm256_castsi256_si128(dot);
                __m256 score =
                    _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(half)), step[i]), factor);
                __m256i added = round_held(_mm256_mul_ps(_mm256_mul_ps(part, step[i]), step[i]), FV_KEY_NOISE);
                x[i] = _mm256_add_epi32(_mm256_add_epi32(round_held(score, FV_SCORE_MOST), base), added);
            }
            __m256i low = _mm256_unpacklo_epi32(x[0], x[1]), high = _mm256_unpackhi_epi32(x[0], x[1]);
            int32_t *to = out + r * out_stride + n * 16;
            store(to, _mm256_permute2x128_si256(low, high, 0x20));
            store(to + 8, _mm256_permute2x128_si256(low, high, 0x31));
        }
    }
}

void fv_key_score_avx2(const fv_shadow_rows *query, size_t listed, const uint32_t *pages, const uint8_t *signs,
                       const uint8_t *sizes, const uint16_t *steps, const float *noise, int32_t *out,
                       size_t out_stride) {
    if (query->dim > FV_AVX2_CODE_DIM)
        fv_key_score_scalar(query, listed, pages, signs, sizes, steps, noise, out, out_stride);
    else if (query->dim == 64)
        key_score(query, 64, listed, pages, signs, sizes, steps, noise, out, out_stride);
    else
        key_score(query, query->dim, listed, pages, signs, sizes, steps, noise, out, out_stride);
}

/* ---- weights ---- */

/* The first `left` lanes, if they are fewer than eight. */
INLINE __m256i lanes(size_t left) {
    __m256i count = _mm256_set1_epi32(left < 8 ? (int32_t)left : 8);
    return _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Eight pages' scores from p on, or what is left of them: a masked load is slow. */
INLINE __m256i scores(size_t pages, const int32_t *score, size_t p) {
    return p + 8 <= pages ? load(score + p) : _mm256_maskload_epi32(score + p, lanes(pages - p));
}

/* Of at most 32,768 pages. */
INLINE uint64_t powers_sum(size_t pages, const int32_t *score, __m256i best) {
    __m256i sum = _mm256_setzero_si256();
    uint32_t sums[8];
    uint64_t total = 0;
    size_t p = 0;
    for (; p + 8 <= pages; p += 8)
        sum = _mm256_add_epi32(sum, power_of(_mm256_sub_epi32(scores(pages, score, p), best)));
    if (p < pages) {
        __m256i power = power_of(_mm256_sub_epi32(scores(pages, score, p), best));
        sum = _mm256_add_epi32(sum, _mm256_and_si256(power, lanes(pages - p)));
    }
    store(sums, sum);
    for (size_t i = 0; i < 8; i++) total += sums[i];
    return total;
}

INLINE __m256i best_score(size_t pages, const int32_t *score) {
    const __m256i lowest = _mm256_set1_epi32(INT32_MIN);
    __m256i best = lowest;
    size_t p = 0;
    for (; p + 8 <= pages; p += 8) best = _mm256_max_epi32(best, scores(pages, score, p));
    if (p < pages) best = _mm256_max_epi32(best, _mm256_blendv_epi8(lowest, scores(pages, score, p), lanes(pages - p)));
    return spread_max(best);
}

void fv_page_weight_avx2(size_t pages, const int32_t *score, uint32_t *weight) {
    enum { TOGETHER = 32768 };
    __m256i best = best_score(pages, score);
    uint64_t total = 0;
    size_t p = 0;
    for (; p < pages; p += TOGETHER) total += powers_sum(pages - p < TOGETHER ? pages - p : TOGETHER, score + p, best);
    int32_t level = _mm256_cvtsi256_si32(best) + fv_log2_of(total) - 16 * 256;
    __m256i shift = _mm256_set1_epi32((int32_t)(FV_WEIGHT_WHOLE - (uint32_t)level));
    for (p = 0; p + 8 <= pages; p += 8)
        store(weight + p, _mm256_max_epu32(_mm256_add_epi32(scores(pages, score, p), shift), load(weight + p)));
    if (p < pages) {
        __m256i valid = lanes(pages - p), x = _mm256_add_epi32(scores(pages, score, p), shift);
        int *to = (int *)(void *)(weight + p);
        _mm256_maskstore_epi32(to, valid, _mm256_max_epu32(x, _mm256_maskload_epi32(to, valid)));
    }
}

size_t fv_count_least_avx2(size_t n, const uint32_t *x, uint32_t least) {
    const __m256i low = _mm256_set1_epi32((int32_t)least);
    __m256i found = _mm256_setzero_si256(); /* a lane counts to 2^32: more than there are pages */
    uint32_t counts[8];
    size_t i = 0, count = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i y = load(x + i);
        found = _mm256_sub_epi32(found, _mm256_cmpeq_epi32(_mm256_max_epu32(y, low), y));
    }
    store(counts, found);
    for (size_t j = 0; j < 8; j++) count += counts[j];
    for (; i < n; i++) count += x[i] >= least;
    return count;
}

size_t fv_list_least_avx2(size_t n, const uint32_t *x, uint32_t least, uint32_t *place) {
    const __m256i low = _mm256_set1_epi32((int32_t)least);
    size_t i = 0, count = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i y = load(x + i), found = _mm256_cmpeq_epi32(_mm256_max_epu32(y, low), y);
        uint32_t bits = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(found));
        for (; bits; bits &= bits - 1) place[count++] = (uint32_t)i + (uint32_t)__builtin_ctz(bits);
    }
    for (; i < n; i++)
        if (x[i] >= least) place[count++] = (uint32_t)i;
    return count;
}
