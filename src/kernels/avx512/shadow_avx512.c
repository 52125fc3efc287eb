/* AVX-512 VNNI. Limit of means: dpbusd, one for 16 keys x four channels of a row. Of codes: byte shuffles, one for 16
 * keys x 16 channels of a row, whose table lies as it is loaded, and the additions behind them; rows share the nibbles
 * of a page. */
#include "kernels/avx2/score_avx2.h"
#include "kernels/kernels.h"
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* 2^16 as fv_power_of() has it, in f32: 256 times its exponent with the bias. */
#define POWER_ONE ((127 + 16) * 256)

INLINE __m512i broadcast4(const int8_t *x) {
    int32_t word;
    __builtin_memcpy(&word, x, 4);
    return _mm512_set1_epi32(word);
}

INLINE __m512i round_held(__m512 x, float most) {
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-most)), _mm512_set1_ps(most)); /* NaN: the second operand */
    return _mm512_cvtps_epi32(x);
}

/* ---- scores ---- */

/* `rows` rows x `panels` panels that lie `dim` * 16 bytes apart. */
INLINE void mean_dot(size_t rows, size_t panels, size_t dim, const int8_t *q, const uint8_t *mean, __m512i *dot) {
    for (size_t i = 0; i < rows * panels; i++) dot[i] = _mm512_setzero_si512();
    for (size_t j = 0; j < dim / 4; j++) {
        __m512i key[2];
        for (size_t p = 0; p < panels; p++) key[p] = _mm512_loadu_si512(mean + (p * dim + j * 4) * 16);
        for (size_t r = 0; r < rows; r++) {
            __m512i four = broadcast4(q + r * dim + 4 * j);
            for (size_t p = 0; p < panels; p++)
                dot[r * panels + p] = _mm512_dpbusd_epi32(dot[r * panels + p], key[p], four);
        }
    }
}

INLINE void mean_panels(size_t rows, size_t panels, size_t first, const fv_shadow_rows *query, size_t dim,
                        const uint8_t *mean, const float *step, int32_t *out, size_t out_stride) {
    __m512i dot[4 * 2];
    mean_dot(rows, panels, dim, query->query + first * dim, mean, dot);
    for (size_t r = 0; r < rows; r++)
        for (size_t p = 0; p < panels; p++) {
            __m512i whole = _mm512_sub_epi32(dot[r * panels + p], _mm512_set1_epi32(64 * query->sum[first + r]));
            __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(whole), _mm512_loadu_ps(step + p * 16));
            x = _mm512_mul_ps(x, _mm512_set1_ps(query->factor[first + r]));
            _mm512_storeu_si512(out + (first + r) * out_stride + p * 16, round_held(x, 0x1p28f));
        }
}

INLINE void mean_score(size_t rows, size_t first, const fv_shadow_rows *query, size_t dim, size_t panels,
                       const uint8_t *mean, const float *step, int32_t *out, size_t out_stride) {
    size_t p = 0;
    for (; p + 2 <= panels; p += 2)
        mean_panels(rows, 2, first, query, dim, mean + p * dim * 16, step + p * 16, out + p * 16, out_stride);
    if (p < panels)
        mean_panels(rows, 1, first, query, dim, mean + p * dim * 16, step + p * 16, out + p * 16, out_stride);
}

void fv_mean_score_avx512(const fv_shadow_rows *query, size_t panels, const uint8_t *mean, const float *step,
                          int32_t *out, size_t out_stride) {
    size_t r = 0, dim = query->dim;
    for (; r + 4 <= query->rows; r += 4) mean_score(4, r, query, dim, panels, mean, step, out, out_stride);
    for (; r + 3 <= query->rows; r += 3) mean_score(3, r, query, dim, panels, mean, step, out, out_stride);
    for (; r < query->rows; r++) mean_score(1, r, query, dim, panels, mean, step, out, out_stride);
}

/* The low nibbles of half a vector of a plane, 32 bytes, and behind them the high ones: places in the table of 16
 * channels. */
INLINE __m512i nibbles(const uint8_t *plane) {
    const __m512i shift = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    __m512i twice = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)plane));
    return _mm512_and_si512(_mm512_srlv_epi16(twice, shift), _mm512_set1_epi8(15));
}

/* Adds to words: of both bytes into `all`, the upper one's carried on; of the upper ones into `odd`. */
INLINE void words_add(__m512i bytes, __m512i *all, __m512i *odd) {
    *all = _mm512_add_epi16(*all, bytes);
    *odd = _mm512_add_epi16(*odd, _mm512_srli_epi16(bytes, 8));
}

/* Sums of a plane's entries for `rows` rows, in four parts, words of the even and of the odd keys. */
INLINE void plane_sums(size_t rows, size_t dim, const uint8_t *table, const uint8_t *plane, __m512i *even,
                       __m512i *odd) {
    for (size_t r = 0; r < rows; r++) even[r] = odd[r] = _mm512_setzero_si512();
    for (size_t j = 0; j < dim / 16; j += 4) { /* four entries fit a byte */
        __m512i place[4];
        size_t here = dim / 16 - j < 4 ? dim / 16 - j : 4;
        for (size_t i = 0; i < here; i++) place[i] = nibbles(plane + 32 * (j + i));
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *from = table + r * 4 * dim + 64 * j;
            __m512i entries = _mm512_shuffle_epi8(_mm512_loadu_si512(from), place[0]);
            for (size_t i = 1; i < here; i++)
                entries = _mm512_add_epi8(entries, _mm512_shuffle_epi8(_mm512_loadu_si512(from + 64 * i), place[i]));
            words_add(entries, even + r, odd + r);
        }
    }
    for (size_t r = 0; r < rows; r++) even[r] = _mm512_sub_epi16(even[r], _mm512_slli_epi16(odd[r], 8));
}

/* The parts together: sums of the even keys, behind them those of the odd ones. */
INLINE __m512i parts_sum(__m512i even, __m512i odd) {
    __m256i x = _mm256_add_epi16(_mm512_castsi512_si256(even), _mm512_extracti64x4_epi64(even, 1));
    __m256i y = _mm256_add_epi16(_mm512_castsi512_si256(odd), _mm512_extracti64x4_epi64(odd, 1));
    return _mm512_cvtepu16_epi32(
        _mm256_add_epi16(_mm256_permute2x128_si256(x, y, 0x20), _mm256_permute2x128_si256(x, y, 0x31)));
}

/* Steps of the keys of a page in the same order. */
INLINE __m512 steps_of(const uint16_t *steps) {
    __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)steps);
    __m256i odd = _mm256_and_si256(both, _mm256_set1_epi32((int32_t)0xFFFF0000));
    return _mm512_castsi512_ps(_mm512_inserti64x4(_mm512_castsi256_si512(_mm256_slli_epi32(both, 16)), odd, 1));
}

enum { MOST_DIM = 512 }; /* 3 x 8 x FV_COARSE_MOST x 128 nibbles fit 16 bits */

/* The largest of each of four vectors. */
INLINE __m128 largest_ps(const __m512 *x) {
    __m512 ab = _mm512_max_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
    __m512 cd = _mm512_max_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
    __m512 all = _mm512_max_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
    __m256 half = _mm256_max_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* Four pages, of which `pages` are there, are a block: they share a base. */
INLINE void sign_block(size_t rows, size_t first, const fv_shadow_rows *query, size_t dim, size_t page, size_t pages,
                       const uint8_t *signs, const uint16_t *steps, int32_t *out, size_t out_stride) {
    __m512 x[4][4]; /* [row][page] */
    for (size_t i = 0; i < 4; i++) {
        size_t p = page + (i < pages ? i : 0);
        __m512i even[4], odd[4];
        plane_sums(rows, dim, query->table + first * 4 * dim, signs + p * 2 * dim, even, odd);
        for (size_t r = 0; r < rows; r++) {
            __m512i less = _mm512_set1_epi32(2 * FV_COARSE_MOST * (int32_t)dim + query->coarse_sum[first + r]);
            __m512i dot = _mm512_sub_epi32(_mm512_slli_epi32(parts_sum(even[r], odd[r]), 1), less);
            x[r][i] = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), steps_of(steps + p * 16));
        }
    }
    for (size_t r = 0; r < rows; r++) {
        __m128 best = _mm_mul_ps(largest_ps(x[r]), _mm_set1_ps(0.82f * query->coarse_factor[first + r]));
        best = _mm_min_ps(_mm_max_ps(best, _mm_set1_ps(-0x1p28f)), _mm_set1_ps(0x1p28f));
        int32_t score[4], base = query->base[(first + r) * query->base_stride + page / 4];
        _mm_storeu_si128((__m128i *)(void *)score, _mm_add_epi32(_mm_cvtps_epi32(best), _mm_set1_epi32(base)));
        for (size_t i = 0; i < pages; i++) out[(first + r) * out_stride + page + i] = score[i];
    }
}

INLINE void sign_score(size_t rows, size_t first, const fv_shadow_rows *query, size_t dim, size_t pages,
                       const uint8_t *signs, const uint16_t *steps, int32_t *out, size_t out_stride) {
    size_t p = 0;
    for (; p + 4 <= pages; p += 4) sign_block(rows, first, query, dim, p, 4, signs, steps, out, out_stride);
    if (p < pages) sign_block(rows, first, query, dim, p, pages - p, signs, steps, out, out_stride);
}

void fv_sign_score_avx512(const fv_shadow_rows *query, size_t pages, const uint8_t *signs, const uint16_t *steps,
                          int32_t *out, size_t out_stride) {
    size_t r = 0, dim = query->dim;
    if (dim > MOST_DIM) {
        fv_sign_score_scalar(query, pages, signs, steps, out, out_stride);
        return;
    }
    if (dim == 64)
        for (; r + 3 <= query->rows; r += 3) sign_score(3, r, query, 64, pages, signs, steps, out, out_stride);
    for (; r + 4 <= query->rows; r += 4) sign_score(4, r, query, dim, pages, signs, steps, out, out_stride);
    for (; r + 2 <= query->rows; r += 2) sign_score(2, r, query, dim, pages, signs, steps, out, out_stride);
    for (; r < query->rows; r++) sign_score(1, r, query, dim, pages, signs, steps, out, out_stride);
}

/* Powers of the keys of one page, in pairs: of keys 2 i and 2 i + 1. */
INLINE void page_powers(size_t rows, size_t first, const fv_shadow_rows *query, size_t dim, const uint8_t *signs,
                        const uint8_t *sizes, const uint16_t *steps, __m256 *power) {
    const __m512 most = _mm512_set1_ps(FV_SCORE_MOST), least = _mm512_set1_ps(-FV_SCORE_MOST);
    const __m512 magic = _mm512_set1_ps(12582912.0f + 127 * 256); /* rounds; what it adds above bit 16 is shifted out */
    __m512i even[2][4], odd[2][4];
    __m512 step = steps_of(steps);
    plane_sums(rows, dim, query->table + first * 4 * dim, signs, even[0], odd[0]);
    plane_sums(rows, dim, query->table + first * 4 * dim, sizes, even[1], odd[1]);
    for (size_t r = 0; r < rows; r++) {
        __m512i sum = parts_sum(_mm512_add_epi16(_mm512_slli_epi16(even[0][r], 1), even[1][r]),
                                _mm512_add_epi16(_mm512_slli_epi16(odd[0][r], 1), odd[1][r]));
        __m512i less = _mm512_set1_epi32(6 * FV_COARSE_MOST * (int32_t)dim + 3 * query->coarse_sum[first + r]);
        __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_slli_epi32(sum, 1), less)), step);
        x = _mm512_mul_ps(x, _mm512_set1_ps(0.5f * query->coarse_factor[first + r]));
        x = _mm512_add_ps(_mm512_max_ps(_mm512_min_ps(x, most), least), magic);
        x = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 15));
        power[r] = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    }
}

enum { AHEAD = 16 }; /* pages of the list */

INLINE void shadow_score(size_t rows, size_t first, const fv_shadow_rows *query, size_t dim, size_t count,
                         const uint32_t *pages, const uint8_t *signs, const uint8_t *sizes, const uint16_t *steps,
                         int32_t *out, size_t out_stride) {
    __m256 power[4][4]; /* [page][row] */
    for (size_t n = 0; n < count; n += 4) {
        size_t here = count - n < 4 ? count - n : 4;
        for (size_t i = 0; i < 4; i++) {
            size_t page = pages[n + (i < here ? i : 0)];
            if (n + i + AHEAD < count)
                for (size_t line = 0; line < 2 * dim; line += 64) {
                    _mm_prefetch((const char *)signs + pages[n + i + AHEAD] * 2 * dim + line, _MM_HINT_T0);
                    _mm_prefetch((const char *)sizes + pages[n + i + AHEAD] * 2 * dim + line, _MM_HINT_T0);
                }
            page_powers(rows, first, query, dim, signs + page * 2 * dim, sizes + page * 2 * dim, steps + page * 16, power[i]);
        }
        for (size_t r = 0; r < rows; r++) {
            int32_t mass[4], *to = out + (first + r) * out_stride + n;
            _mm_storeu_si128((__m128i *)(void *)mass, masses(power[0][r], power[1][r], power[2][r], power[3][r]));
            for (size_t i = 0; i < here; i++)
                to[i] = mass[i] + query->base[(first + r) * query->base_stride + pages[n + i] / 4];
        }
    }
}

/* Constant numbers of rows and channels let the compiler keep sums in registers. */
#define ROWS(count, dim) shadow_score(count, r, query, dim, listed, pages, signs, sizes, steps, out, out_stride)
void fv_shadow_score_avx512(const fv_shadow_rows *query, size_t listed, const uint32_t *pages, const uint8_t *signs,
                            const uint8_t *sizes, const uint16_t *steps, int32_t *out, size_t out_stride) {
    size_t r = 0;
    if (query->dim > MOST_DIM) {
        fv_shadow_score_scalar(query, listed, pages, signs, sizes, steps, out, out_stride);
        return;
    }
    if (query->dim == 64)
        for (; r + 3 <= query->rows; r += 3) ROWS(3, 64);
    for (; r + 4 <= query->rows; r += 4) ROWS(4, query->dim);
    for (; r + 2 <= query->rows; r += 2) ROWS(2, query->dim);
    for (; r < query->rows; r++) ROWS(1, query->dim);
}

/* ---- weights ---- */

/* fv_power_of(x - best), level = best - POWER_ONE: the bits of the f32 (1 + fraction) * 2^(16 + whole part), as a whole
 * number. What is below 2^-4 is 0. */
INLINE __m512i power_above(__m512i x, __m512i level) {
    __m512i held = _mm512_max_epi32(_mm512_sub_epi32(x, level), _mm512_set1_epi32(POWER_ONE - 20 * 256));
    return _mm512_cvttps_epi32(_mm512_castsi512_ps(_mm512_slli_epi32(held, 15)));
}

/* Lanes of the pages from p on. */
INLINE __mmask16 lanes(size_t left) { return (__mmask16)(left < 16 ? (1u << left) - 1 : 0xFFFF); }

INLINE __m512i reached(const int32_t *score, const float *radius, __m512 reach, size_t p, __mmask16 valid) {
    __m512i x = _mm512_maskz_loadu_epi32(valid, score + p);
    if (!radius) return x;
    return _mm512_add_epi32(x, round_held(_mm512_mul_ps(_mm512_maskz_loadu_ps(valid, radius + p), reach), 0x1p28f));
}

/* Of at most 16,384 pages: below 2^31. */
INLINE uint32_t powers(size_t pages, const int32_t *score, const float *radius, __m512 reach, __m512i level) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t p = 0; p < pages; p += 16) {
        __mmask16 valid = lanes(pages - p);
        sum = _mm512_mask_add_epi32(sum, valid, sum, power_above(reached(score, radius, reach, p, valid), level));
    }
    return (uint32_t)_mm512_reduce_add_epi32(sum);
}

INLINE void page_weight(size_t pages, const int32_t *score, const float *radius, __m512 reach, uint32_t *weight) {
    enum { TOGETHER = 16384 };
    __m512i most = _mm512_set1_epi32(INT32_MIN);
    uint64_t total = 0;
    for (size_t p = 0; p < pages; p += 16) {
        __mmask16 valid = lanes(pages - p);
        most = _mm512_mask_max_epi32(most, valid, most, reached(score, radius, reach, p, valid));
    }
    int32_t best = _mm512_reduce_max_epi32(most);
    __m512i level = _mm512_set1_epi32(best - POWER_ONE);
    for (size_t p = 0; p < pages; p += TOGETHER)
        total +=
            powers(pages - p < TOGETHER ? pages - p : TOGETHER, score + p, radius ? radius + p : NULL, reach, level);
    uint32_t whole = (uint32_t)(best + fv_log2_of(total) - 16 * 256);
    __m512i shift = _mm512_set1_epi32((int32_t)(FV_WEIGHT_WHOLE - whole));
    for (size_t p = 0; p < pages; p += 16) {
        __mmask16 valid = lanes(pages - p);
        __m512i x = _mm512_add_epi32(reached(score, radius, reach, p, valid), shift);
        _mm512_mask_storeu_epi32(weight + p, valid, _mm512_max_epu32(x, _mm512_maskz_loadu_epi32(valid, weight + p)));
    }
}

void fv_page_weight_avx512(size_t pages, const int32_t *score, const float *radius, float reach, uint32_t *weight) {
    if (radius)
        page_weight(pages, score, radius, _mm512_set1_ps(reach), weight);
    else
        page_weight(pages, score, NULL, _mm512_setzero_ps(), weight);
}

size_t fv_count_least_avx512(size_t n, const uint32_t *x, uint32_t least) {
    const __m512i low = _mm512_set1_epi32((int32_t)least), one = _mm512_set1_epi32(1);
    __m512i found = _mm512_setzero_si512(); /* a lane counts to 2^32: more than there are pages */
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 valid = lanes(n - i);
        __mmask16 reached_low = _mm512_mask_cmpge_epu32_mask(valid, _mm512_maskz_loadu_epi32(valid, x + i), low);
        found = _mm512_mask_add_epi32(found, reached_low, found, one);
    }
    return (uint32_t)_mm512_reduce_add_epi32(found);
}

size_t fv_list_least_avx512(size_t n, const uint32_t *x, uint32_t least, uint32_t *place) {
    const __m512i low = _mm512_set1_epi32((int32_t)least);
    const __m512i count16 = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    size_t count = 0;
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 valid = lanes(n - i);
        __mmask16 found = _mm512_mask_cmpge_epu32_mask(valid, _mm512_maskz_loadu_epi32(valid, x + i), low);
        __m512i here = _mm512_maskz_compress_epi32(found, _mm512_add_epi32(count16, _mm512_set1_epi32((int32_t)i)));
        size_t some = (size_t)__builtin_popcount(found); /* a store that packs by itself is slow on AMD's Zen 4 */
        _mm512_mask_storeu_epi32(place + count, lanes(some), here);
        count += some;
    }
    return count;
}
