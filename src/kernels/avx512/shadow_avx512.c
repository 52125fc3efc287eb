/* AVX-512 VNNI. Limit of means: dpbusd, one for 16 keys x four channels of a row. Of codes: byte shuffles, one for 16
 * keys x 16 channels of a row and plane; rows share a page's nibbles. */
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

enum { PANELS_AHEAD = 4 }; /* of means, that are asked for before they are scored */

/* `rows` rows x `panels` panels that lie `dim` * 16 bytes apart. */
INLINE void mean_dot(size_t rows, size_t panels, size_t dim, const int8_t *q, const uint8_t *mean, __m512i *dot) {
    for (size_t i = 0; i < rows * panels; i++) dot[i] = _mm512_setzero_si512();
    for (size_t j = 0; j < dim / 4; j++) {
        __m512i key[2];
        for (size_t p = 0; p < panels; p++) {
            key[p] = _mm512_loadu_si512(mean + (p * dim + j * 4) * 16);
            _mm_prefetch((const char *)mean + ((p + PANELS_AHEAD) * dim + j * 4) * 16, _MM_HINT_T0);
        }
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

/* ---- codes ---- */

/* Bytes of tables that are made ready at once, most rows of them, vectors of tables or of places for 64 channels. */
enum { TABLE_BYTES = 16384, MOST_ROWS = 24, GROUP = 4, MOST_VECTORS = 64 };

INLINE size_t groups_of(size_t dim) { return (dim + 63) / 64; }

/* Of the vector of a plane that begins at channel c: it has 32 channels of a page, eight in each part. */
INLINE __mmask8 vector_there(size_t dim, size_t c) { return dim >= c + 32 ? 0xFF : dim > c ? 0x0F : 0; }

/* A row's tables in the order of a plane's parts: for low and for high nibbles of one vector, then of the next. */
INLINE void tables_make(size_t dim, const uint8_t *table, __m512i *out) {
    for (size_t c = 0; c < 64 * groups_of(dim); c += 32, table += 128, out += 2) {
        __m512i first = _mm512_setzero_si512(), second = first;
        if (c < dim) first = _mm512_loadu_si512(table);
        if (c + 16 < dim) second = _mm512_loadu_si512(table + 64);
        out[0] = _mm512_shuffle_i32x4(first, second, 0x44);
        out[1] = _mm512_shuffle_i32x4(first, second, 0xEE);
    }
}

/* Nibbles of a page's plane as places in tables, 64 channels from c on. */
INLINE void places_make(size_t dim, size_t c, const uint8_t *plane, __m512i *place) {
    const __m512i low = _mm512_set1_epi8(15);
    __m512i x = _mm512_maskz_loadu_epi64(vector_there(dim, c), plane + 2 * c);
    __m512i y = _mm512_maskz_loadu_epi64(vector_there(dim, c + 32), plane + 2 * c + 64);
    place[0] = _mm512_and_si512(x, low);
    place[1] = _mm512_and_si512(_mm512_srli_epi16(x, 4), low);
    place[2] = _mm512_and_si512(y, low);
    place[3] = _mm512_and_si512(_mm512_srli_epi16(y, 4), low);
}

/* Sums of 64 channels, four entries a byte, which they fit; a key's four parts side by side. */
INLINE __m512i entries_sum(const __m512i *table, const __m512i *place) {
    const __m512i parts = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i keys = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m512i low = _mm512_add_epi8(_mm512_shuffle_epi8(table[0], place[0]), _mm512_shuffle_epi8(table[1], place[1]));
    __m512i high = _mm512_add_epi8(_mm512_shuffle_epi8(table[2], place[2]), _mm512_shuffle_epi8(table[3], place[3]));
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(parts, _mm512_add_epi8(low, high)), keys);
}

/* weight * plane - less of a page's keys; every nibble is 4 * FV_COARSE_MOST too large. */
INLINE __m512i plane_add(size_t dim, const __m512i *table, const __m512i *place, char weight, __m512i dot) {
    for (size_t i = 0; i < GROUP * groups_of(dim); i += GROUP)
        dot = _mm512_dpbusd_epi32(dot, entries_sum(table + i, place + i), _mm512_set1_epi8(weight));
    return dot;
}

INLINE __m512 steps16(const uint16_t *steps) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)steps));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* The scores of the first `count` of a row's four pages, whose blocks' bases are added. */
INLINE void scores_put(const int32_t *base, const uint32_t *page, size_t count, __m128i score, int32_t *to) {
    int32_t held[4];
    if (count == 4 && page[0] % 4 == 0 && page[3] == page[0] + 3) { /* one block */
        _mm_storeu_si128((__m128i *)(void *)to, _mm_add_epi32(score, _mm_set1_epi32(base[page[0] / 4])));
        return;
    }
    _mm_storeu_si128((__m128i *)(void *)held, score);
    for (size_t i = 0; i < count; i++) to[i] = held[i] + base[page[i] / 4];
}

/* A whole number of few bits that is added to this one's bits is the f32 of their sum. */
#define WHOLE_BITS 0x4B400000
#define WHOLE 12582912.0f

/* fv_score_power() of a page's keys; dot: with WHOLE_BITS; held: some may be beyond FV_SCORE_MOST. Whole number times
 * step is exact, so that one FMA may take WHOLE away again. */
INLINE __m512 powers(bool held, __m512i dot, __m512 step, __m512 factor) {
    const __m512 most = _mm512_set1_ps(FV_SCORE_MOST), least = _mm512_set1_ps(-FV_SCORE_MOST);
    const __m512 magic = _mm512_set1_ps(WHOLE + 127 * 256); /* rounds; what it adds above bit 16 is shifted out */
    __m512 none = _mm512_mul_ps(step, _mm512_set1_ps(-WHOLE));
    __m512 x = _mm512_mul_ps(_mm512_fmadd_ps(_mm512_castsi512_ps(dot), step, none), factor);
    if (held) x = _mm512_max_ps(_mm512_min_ps(x, most), least);
    x = _mm512_add_ps(x, magic);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 15));
}

/* Neighbours of two vectors added, by part. */
INLINE __m512 neighbours_add(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
}

/* Of four pages, by part: the powers of four keys, of what powers_make() has made. */
INLINE __m512 fours_add(size_t together, const __m512 *power) {
    if (together == 2) return neighbours_add(power[0], power[1]);
    return neighbours_add(neighbours_add(power[0], power[1]), neighbours_add(power[2], power[3]));
}

/* The masses of four pages, in the order of masses() in score_avx2.h: pairs, fours, eights, all. */
INLINE __m128i masses4(size_t together, const __m512 *power) {
    __m512 all = fours_add(together, power);
    all = _mm512_add_ps(all, _mm512_shuffle_f32x4(all, all, 0xB1));
    all = _mm512_add_ps(all, _mm512_shuffle_f32x4(all, all, 0x4E));
    return _mm_sub_epi32(_mm_srli_epi32(_mm_castps_si128(_mm512_castps512_ps128(all)), 15), _mm_set1_epi32(127 * 256));
}

/* The parts of two vectors added, those of the first and then those of the second. */
INLINE __m512 parts_add(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}

/* Of four rows; a row's are one part. */
INLINE __m512i masses16(size_t together, __m512 (*power)[4]) {
    __m512 first = parts_add(fours_add(together, power[0]), fours_add(together, power[1]));
    __m512 second = parts_add(fours_add(together, power[2]), fours_add(together, power[3]));
    __m512i mass = _mm512_castps_si512(parts_add(first, second));
    return _mm512_sub_epi32(_mm512_srli_epi32(mass, 15), _mm512_set1_epi32(127 * 256));
}

/* What rows are scored with and against. */
typedef struct code_rows {
    size_t rows;
    __m512i table[TABLE_BYTES / 64];
    int32_t less[MOST_ROWS]; /* what the sums of tables are too large by, negative; by both planes with WHOLE_BITS */
    float factor[MOST_ROWS];
    float step_most; /* no key of a smaller step has a score beyond FV_SCORE_MOST, for none of the rows */
    const uint8_t *signs, *sizes;
    const uint16_t *steps;
} code_rows;

/* Sum of the magnitudes of a coarse query: of the entries of single channels. */
INLINE float coarse_size(size_t dim, const uint8_t *table) {
    const __m512i none = _mm512_set1_epi8(4 * FV_COARSE_MOST);
    __m512i size = _mm512_setzero_si512();
    for (size_t c = 0; c < dim; c += 16, table += 64) {
        __m512i entries = _mm512_maskz_sub_epi8(0x0116011601160116, _mm512_loadu_si512(table), none);
        size = _mm512_dpbusd_epi32(size, _mm512_abs_epi8(entries), _mm512_set1_epi8(1));
    }
    return (float)_mm512_reduce_add_epi32(size);
}

INLINE void rows_make(size_t dim, bool whole, const fv_shadow_rows *query, size_t first, code_rows *out) {
    const size_t vectors = GROUP * groups_of(dim), left = query->rows - first, room = TABLE_BYTES / 64 / vectors;
    const int32_t weight = whole ? 3 : 1;
    float most = 1.0f;
    out->rows = left < room ? left : room;
    if (out->rows > MOST_ROWS) out->rows = MOST_ROWS;
    for (size_t r = 0; r < out->rows; r++) {
        tables_make(dim, query->table + (first + r) * 4 * dim, out->table + r * vectors);
        out->less[r] =
            -weight * (2 * FV_COARSE_MOST * (int32_t)dim + query->coarse_sum[first + r]) + (whole ? WHOLE_BITS : 0);
        out->factor[r] = (whole ? 0.5f : 0.82f) * query->coarse_factor[first + r];
        float reach = 3.0f * coarse_size(dim, query->table + (first + r) * 4 * dim) * out->factor[r];
        if (reach > most) most = reach;
    }
    out->step_most = 0.999f * FV_SCORE_MOST / most; /* rounding is far less */
}

INLINE bool steps_are_small(const code_rows *rows, const uint32_t *pages) {
    __m512 most = steps16(rows->steps + (size_t)pages[0] * 16);
    for (size_t i = 1; i < 4; i++) most = _mm512_max_ps(most, steps16(rows->steps + (size_t)pages[i] * 16));
    return !_mm512_cmp_ps_mask(most, _mm512_set1_ps(rows->step_most), _CMP_NLT_UQ);
}

INLINE size_t pages_together(size_t dim) { return dim == 64 ? 2 : 1; } /* whose places fit the registers */

/* Of four pages; two pages that go together are one vector, of keys 2 i and 2 i + 1 added. */
INLINE void powers_make(size_t dim, bool held, const code_rows *rows, const uint32_t *pages, __m512 (*power)[4]) {
    const size_t together = pages_together(dim);
    for (size_t i = 0; i < 4; i += together) {
        __m512i place[2][2][MOST_VECTORS];
        __m512 step[2];
        for (size_t p = 0; p < together; p++) {
            const size_t page = pages[i + p];
            step[p] = steps16(rows->steps + page * 16);
            for (size_t c = 0; c < dim; c += 64) {
                places_make(dim, c, rows->signs + page * 2 * dim, place[p][0] + c / 64 * GROUP);
                places_make(dim, c, rows->sizes + page * 2 * dim, place[p][1] + c / 64 * GROUP);
            }
        }
        for (size_t r = 0; r < rows->rows; r++) {
            const __m512i *table = rows->table + r * GROUP * groups_of(dim);
            __m512 made[2];
            for (size_t p = 0; p < together; p++) {
                __m512i dot = plane_add(dim, table, place[p][0], 4, _mm512_set1_epi32(rows->less[r]));
                dot = plane_add(dim, table, place[p][1], 2, dot);
                made[p] = powers(held, dot, step[p], _mm512_set1_ps(rows->factor[r]));
            }
            power[r][i / together] = together == 2 ? neighbours_add(made[0], made[1]) : made[0];
        }
    }
}

/* By signs: the best keys of four pages. */
INLINE void bests_make(size_t dim, const code_rows *rows, const uint32_t *pages, float (*best)[4]) {
    for (size_t i = 0; i < 4; i++) {
        const size_t page = pages[i];
        const __m512 step = steps16(rows->steps + page * 16);
        __m512i sign[MOST_VECTORS];
        for (size_t c = 0; c < dim; c += 64) places_make(dim, c, rows->signs + page * 2 * dim, sign + c / 64 * GROUP);
        for (size_t r = 0; r < rows->rows; r++) {
            const __m512i *table = rows->table + r * GROUP * groups_of(dim);
            __m512i dot = plane_add(dim, table, sign, 2, _mm512_set1_epi32(rows->less[r]));
            best[r][i] = _mm512_reduce_max_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot), step));
        }
    }
}

INLINE __m128i bests_round(const float *best, float factor) {
    __m128 x = _mm_mul_ps(_mm_loadu_ps(best), _mm_set1_ps(factor));
    return _mm_cvtps_epi32(_mm_min_ps(_mm_max_ps(x, _mm_set1_ps(-0x1p28f)), _mm_set1_ps(0x1p28f)));
}

/* `count` of four pages, by both planes or by signs; base, out: of the first row. */
INLINE void block_score(size_t dim, bool whole, const code_rows *rows, const uint32_t *pages, size_t count,
                        const int32_t *base, size_t base_stride, int32_t *out, size_t out_stride) {
    union {
        __m512 power[MOST_ROWS][4];
        float best[MOST_ROWS][4];
    } made;
    size_t r = 0;
    if (whole && steps_are_small(rows, pages))
        powers_make(dim, false, rows, pages, made.power);
    else if (whole)
        powers_make(dim, true, rows, pages, made.power);
    else
        bests_make(dim, rows, pages, made.best);
    for (; whole && r + 4 <= rows->rows; r += 4) {
        __m512i score = masses16(pages_together(dim), made.power + r);
        scores_put(base + r * base_stride, pages, count, _mm512_castsi512_si128(score), out + r * out_stride);
        scores_put(base + (r + 1) * base_stride, pages, count, _mm512_extracti32x4_epi32(score, 1),
                   out + (r + 1) * out_stride);
        scores_put(base + (r + 2) * base_stride, pages, count, _mm512_extracti32x4_epi32(score, 2),
                   out + (r + 2) * out_stride);
        scores_put(base + (r + 3) * base_stride, pages, count, _mm512_extracti32x4_epi32(score, 3),
                   out + (r + 3) * out_stride);
    }
    for (; r < rows->rows; r++)
        scores_put(base + r * base_stride, pages, count,
                   whole ? masses4(pages_together(dim), made.power[r]) : bests_round(made.best[r], rows->factor[r]),
                   out + r * out_stride);
}

/* Of listed pages, or, by signs, of the first `count`. */
INLINE void codes_score(size_t dim, bool whole, const fv_shadow_rows *query, code_rows *rows, size_t count,
                        const uint32_t *pages, int32_t *out, size_t out_stride) {
    for (size_t first = 0; first < query->rows; first += rows->rows) {
        const int32_t *base = query->base + first * query->base_stride;
        rows_make(dim, whole, query, first, rows);
        for (size_t n = 0; n < count; n += 4) {
            uint32_t four[4];
            size_t left = count - n < 4 ? count - n : 4;
            for (size_t i = n + PLANES_AHEAD; whole && i < count && i < n + PLANES_AHEAD + 4; i++)
                prefetch_planes(dim, pages[i], rows->signs, rows->sizes);
            for (size_t i = 0; i < 4; i++) {
                size_t place = n + (i < left ? i : 0);
                four[i] = whole ? pages[place] : (uint32_t)place;
            }
            block_score(dim, whole, rows, four, left, base, query->base_stride, out + first * out_stride + n,
                        out_stride);
        }
    }
}

void fv_sign_score_avx512(const fv_shadow_rows *query, size_t pages, const uint8_t *signs, const uint16_t *steps,
                          int32_t *out, size_t out_stride) {
    code_rows rows;
    rows.signs = signs, rows.steps = steps;
    codes_score(query->dim, false, query, &rows, pages, NULL, out, out_stride);
}

/* A constant number of channels lets the compiler unroll the sums. */
void fv_shadow_score_avx512(const fv_shadow_rows *query, size_t listed, const uint32_t *pages, const uint8_t *signs,
                            const uint8_t *sizes, const uint16_t *steps, int32_t *out, size_t out_stride) {
    code_rows rows;
    rows.signs = signs, rows.sizes = sizes, rows.steps = steps;
    if (query->dim == 64)
        codes_score(64, true, query, &rows, listed, pages, out, out_stride);
    else if (query->dim == 128)
        codes_score(128, true, query, &rows, listed, pages, out, out_stride);
    else
        codes_score(query->dim, true, query, &rows, listed, pages, out, out_stride);
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
INLINE uint32_t powers_sum(size_t pages, const int32_t *score, __m512i level) {
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
        total += powers_sum(pages - p < TOGETHER ? pages - p : TOGETHER, score + p, level);
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
