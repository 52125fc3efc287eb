/* AVX-512 VNNI. Limit of means: dpbusd, one for 16 keys x four channels of a row. Of codes: byte shuffles, one for 64
 * keys x four channels of a row; four pages go together, a quarter of a vector each, and rows share their nibbles. */
#include "kernels/avx2/score_avx2.h"
#include "kernels/kernels.h"
#include <immintrin.h>
#include <stdbool.h>

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

enum { MOST_DIM = 512 }; /* of the places on the stack */

/* Four vectors of four parts, each of 16 bytes: part i of all four in vector i. */
INLINE void parts_turn(__m512i *x) {
    __m512i low = _mm512_shuffle_i32x4(x[0], x[1], 0x44), next = _mm512_shuffle_i32x4(x[2], x[3], 0x44);
    __m512i high = _mm512_shuffle_i32x4(x[0], x[1], 0xEE), last = _mm512_shuffle_i32x4(x[2], x[3], 0xEE);
    x[0] = _mm512_shuffle_i32x4(low, next, 0x88);
    x[1] = _mm512_shuffle_i32x4(low, next, 0xDD);
    x[2] = _mm512_shuffle_i32x4(high, last, 0x88);
    x[3] = _mm512_shuffle_i32x4(high, last, 0xDD);
}

/* Four pages, of which `count` are there: a vector has a part for each. */
typedef struct pages4 {
    size_t count;
    uint32_t page[4];
    bool block; /* they are one block */
} pages4;

INLINE pages4 pages_of(const uint32_t *pages, size_t count) {
    pages4 four = {.count = count, .block = count == 4 && pages[0] % 4 == 0 && pages[3] == pages[0] + 3};
    for (size_t i = 0; i < 4; i++) four.page[i] = pages[i < count ? i : 0];
    return four;
}

/* A plane's nibbles as places in tables, [dim / 16][4 tables]. */
INLINE void plane_places(size_t dim, const pages4 *four, const uint8_t *plane, __m512i *place) {
    const __m512i low = _mm512_set1_epi8(15);
    for (size_t j = 0; j < dim / 16; j += 2) {
        bool both = dim / 16 - j >= 2;
        __m512i x[4];
        for (size_t i = 0; i < 4; i++)
            x[i] = _mm512_maskz_loadu_epi32(both ? 0xFFFF : 0xFF, plane + four->page[i] * 2 * dim + 32 * j);
        parts_turn(x);
        for (size_t i = 0; i < (both ? 4 : 2); i++) {
            __m512i *to = place + 4 * (j + i / 2) + i % 2;
            to[0] = _mm512_and_si512(x[i], low);
            to[2] = _mm512_and_si512(_mm512_srli_epi16(x[i], 4), low);
        }
    }
}

/* Of a page's 16 keys a part has four: vectors 0 and 1 the even and the odd ones of the first eight, 2 and 3 of the
 * rest. */
INLINE void steps_turn(const pages4 *four, const uint16_t *steps, __m512 *step) {
    const __m512i order = _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    __m512i x[4];
    for (size_t i = 0; i < 4; i++) {
        __m256i page = _mm256_loadu_si256((const __m256i *)(const void *)(steps + four->page[i] * 16));
        x[i] = _mm512_permutexvar_epi32(order, _mm512_slli_epi32(_mm512_cvtepu16_epi32(page), 16));
    }
    parts_turn(x);
    for (size_t i = 0; i < 4; i++) step[i] = _mm512_castsi512_ps(x[i]);
}

/* Sums of 16 channels of a plane by key; four entries fit a byte. */
INLINE __m512i entries_sum(const __m512i *table, const __m512i *place) {
    __m512i sum = _mm512_shuffle_epi8(table[0], place[0]);
    for (size_t i = 1; i < 4; i++) sum = _mm512_add_epi8(sum, _mm512_shuffle_epi8(table[i], place[i]));
    return sum;
}

/* dot[i] = 4 * signs + 2 * sizes - less, or, without sizes, 2 * signs - less, of the keys of steps_turn(); every nibble
 * is 4 * FV_COARSE_MOST too large. */
INLINE void page_dots(size_t dim, const uint8_t *table, const __m512i *signs, const __m512i *sizes, int32_t less,
                      __m512i *dot) {
    const __m512i even = _mm512_set1_epi32(sizes ? 0x0204 : 0x0002), odd = _mm512_slli_epi32(even, 16);
    for (size_t i = 0; i < 4; i++) dot[i] = _mm512_set1_epi32(-less);
    for (size_t j = 0; j < dim / 16; j++, table += 64) {
        __m512i tables[4];
        for (size_t i = 0; i < 4; i++)
            tables[i] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(table + 16 * i)));
        __m512i sign = entries_sum(tables, signs + 4 * j);
        __m512i size = sizes ? entries_sum(tables, sizes + 4 * j) : _mm512_setzero_si512();
        __m512i low = _mm512_unpacklo_epi8(sign, size), high = _mm512_unpackhi_epi8(sign, size);
        dot[0] = _mm512_dpbusd_epi32(dot[0], low, even);
        dot[1] = _mm512_dpbusd_epi32(dot[1], low, odd);
        dot[2] = _mm512_dpbusd_epi32(dot[2], high, even);
        dot[3] = _mm512_dpbusd_epi32(dot[3], high, odd);
    }
}

/* One float of each page, the same in all of its part. */
INLINE __m128 of_pages(__m512 x) {
    const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(first, x));
}

/* The scores of a row's pages, whose blocks' bases are added. */
INLINE void scores_put(const fv_shadow_rows *query, size_t row, const pages4 *four, __m128i score, int32_t *to) {
    const int32_t *base = query->base + row * query->base_stride;
    int32_t held[4];
    if (four->block) {
        _mm_storeu_si128((__m128i *)(void *)to, _mm_add_epi32(score, _mm_set1_epi32(base[four->page[0] / 4])));
        return;
    }
    _mm_storeu_si128((__m128i *)(void *)held, score);
    for (size_t i = 0; i < four->count; i++) to[i] = held[i] + base[four->page[i] / 4];
}

INLINE void sign_block(const fv_shadow_rows *query, size_t dim, const pages4 *four, const uint8_t *signs,
                       const uint16_t *steps, int32_t *out, size_t out_stride) {
    __m512i place[MOST_DIM / 4];
    __m512 step[4];
    plane_places(dim, four, signs, place);
    steps_turn(four, steps, step);
    for (size_t r = 0; r < query->rows; r++) {
        __m512i dot[4];
        int32_t less = 2 * FV_COARSE_MOST * (int32_t)dim + query->coarse_sum[r];
        page_dots(dim, query->table + r * 4 * dim, place, NULL, less, dot);
        __m512 most = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[0]), step[0]);
        for (size_t i = 1; i < 4; i++) most = _mm512_max_ps(most, _mm512_mul_ps(_mm512_cvtepi32_ps(dot[i]), step[i]));
        most = _mm512_max_ps(most, _mm512_shuffle_ps(most, most, 0xB1));
        most = _mm512_max_ps(most, _mm512_shuffle_ps(most, most, 0x4E));
        __m128 best = _mm_mul_ps(of_pages(most), _mm_set1_ps(0.82f * query->coarse_factor[r]));
        best = _mm_min_ps(_mm_max_ps(best, _mm_set1_ps(-0x1p28f)), _mm_set1_ps(0x1p28f));
        scores_put(query, r, four, _mm_cvtps_epi32(best), out + r * out_stride);
    }
}

INLINE void sign_score(const fv_shadow_rows *query, size_t dim, size_t pages, const uint8_t *signs,
                       const uint16_t *steps, int32_t *out, size_t out_stride) {
    for (size_t p = 0; p < pages; p += 4) {
        const uint32_t list[4] = {(uint32_t)p, (uint32_t)p + 1, (uint32_t)p + 2, (uint32_t)p + 3};
        pages4 four = pages_of(list, pages - p < 4 ? pages - p : 4);
        sign_block(query, dim, &four, signs, steps, out + p, out_stride);
    }
}

/* A constant number of channels lets the compiler unroll the sums. */
void fv_sign_score_avx512(const fv_shadow_rows *query, size_t pages, const uint8_t *signs, const uint16_t *steps,
                          int32_t *out, size_t out_stride) {
    if (query->dim > MOST_DIM)
        fv_sign_score_scalar(query, pages, signs, steps, out, out_stride);
    else if (query->dim == 64)
        sign_score(query, 64, pages, signs, steps, out, out_stride);
    else
        sign_score(query, query->dim, pages, signs, steps, out, out_stride);
}

/* fv_power_score() of the masses of four pages by their keys' powers, in the order of masses() in score_avx2.h. */
INLINE __m128i masses4(const __m512 *power) {
    __m512 low = _mm512_add_ps(power[0], power[1]), high = _mm512_add_ps(power[2], power[3]);
    __m512 all = _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x88), _mm512_shuffle_ps(low, high, 0xDD));
    all = _mm512_add_ps(all, _mm512_shuffle_ps(all, all, 0xB1));
    all = _mm512_add_ps(all, _mm512_shuffle_ps(all, all, 0x4E));
    return _mm_sub_epi32(_mm_srli_epi32(_mm_castps_si128(of_pages(all)), 15), _mm_set1_epi32(127 * 256));
}

INLINE void powers4(const __m512i *dot, const __m512 *step, __m512 factor, __m512 *power) {
    const __m512 most = _mm512_set1_ps(FV_SCORE_MOST), least = _mm512_set1_ps(-FV_SCORE_MOST);
    const __m512 magic = _mm512_set1_ps(12582912.0f + 127 * 256); /* rounds; what it adds above bit 16 is shifted out */
    for (size_t i = 0; i < 4; i++) {
        __m512 x = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot[i]), step[i]), factor);
        x = _mm512_add_ps(_mm512_max_ps(_mm512_min_ps(x, most), least), magic);
        power[i] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 15));
    }
}

INLINE void shadow_block(const fv_shadow_rows *query, size_t dim, const pages4 *four, const uint8_t *signs,
                         const uint8_t *sizes, const uint16_t *steps, int32_t *out, size_t out_stride) {
    __m512i sign[MOST_DIM / 4], size[MOST_DIM / 4];
    __m512 step[4];
    plane_places(dim, four, signs, sign);
    plane_places(dim, four, sizes, size);
    steps_turn(four, steps, step);
    for (size_t r = 0; r < query->rows; r++) {
        __m512i dot[4];
        __m512 power[4];
        int32_t less = 6 * FV_COARSE_MOST * (int32_t)dim + 3 * query->coarse_sum[r];
        page_dots(dim, query->table + r * 4 * dim, sign, size, less, dot);
        powers4(dot, step, _mm512_set1_ps(0.5f * query->coarse_factor[r]), power);
        scores_put(query, r, four, masses4(power), out + r * out_stride);
    }
}

INLINE void shadow_score(const fv_shadow_rows *query, size_t dim, size_t count, const uint32_t *pages,
                         const uint8_t *signs, const uint8_t *sizes, const uint16_t *steps, int32_t *out,
                         size_t out_stride) {
    for (size_t n = 0; n < count; n += 4) {
        for (size_t i = n + PLANES_AHEAD; i < count && i < n + PLANES_AHEAD + 4; i++)
            prefetch_planes(dim, pages[i], signs, sizes);
        pages4 four = pages_of(pages + n, count - n < 4 ? count - n : 4);
        shadow_block(query, dim, &four, signs, sizes, steps, out + n, out_stride);
    }
}

void fv_shadow_score_avx512(const fv_shadow_rows *query, size_t listed, const uint32_t *pages, const uint8_t *signs,
                            const uint8_t *sizes, const uint16_t *steps, int32_t *out, size_t out_stride) {
    if (query->dim > MOST_DIM)
        fv_shadow_score_scalar(query, listed, pages, signs, sizes, steps, out, out_stride);
    else if (query->dim == 64)
        shadow_score(query, 64, listed, pages, signs, sizes, steps, out, out_stride);
    else
        shadow_score(query, query->dim, listed, pages, signs, sizes, steps, out, out_stride);
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

/* Of at most 16,384 pages: below 2^31. */
INLINE uint32_t powers(size_t pages, const int32_t *score, __m512i level) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t p = 0; p < pages; p += 16) {
        __mmask16 valid = lanes(pages - p);
        sum = _mm512_mask_add_epi32(sum, valid, sum, power_above(_mm512_maskz_loadu_epi32(valid, score + p), level));
    }
    return (uint32_t)_mm512_reduce_add_epi32(sum);
}

void fv_page_weight_avx512(size_t pages, const int32_t *score, uint32_t *weight) {
    enum { TOGETHER = 16384 };
    __m512i most = _mm512_set1_epi32(INT32_MIN);
    uint64_t total = 0;
    for (size_t p = 0; p < pages; p += 16) {
        __mmask16 valid = lanes(pages - p);
        most = _mm512_mask_max_epi32(most, valid, most, _mm512_maskz_loadu_epi32(valid, score + p));
    }
    int32_t best = _mm512_reduce_max_epi32(most);
    __m512i level = _mm512_set1_epi32(best - POWER_ONE);
    for (size_t p = 0; p < pages; p += TOGETHER)
        total += powers(pages - p < TOGETHER ? pages - p : TOGETHER, score + p, level);
    uint32_t whole = (uint32_t)(best + fv_log2_of(total) - 16 * 256);
    __m512i shift = _mm512_set1_epi32((int32_t)(FV_WEIGHT_WHOLE - whole));
    for (size_t p = 0; p < pages; p += 16) {
        __mmask16 valid = lanes(pages - p);
        __m512i x = _mm512_add_epi32(_mm512_maskz_loadu_epi32(valid, score + p), shift);
        _mm512_mask_storeu_epi32(weight + p, valid, _mm512_max_epu32(x, _mm512_maskz_loadu_epi32(valid, weight + p)));
    }
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
