/* AVX2. Limit: maddubs and the addition behind it, one of each for eight keys x four channels of a row; up to four rows share
 * the unpacked codes of a page. */
#include "kernels/half.h"
#include "kernels/kernels.h"
#include <float.h>
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m256i broadcast4(const int8_t *x) {
    int32_t word;
    __builtin_memcpy(&word, x, 4);
    return _mm256_set1_epi32(word);
}

INLINE __m256i load(const void *x) { return _mm256_loadu_si256((const __m256i *)x); }
INLINE void store(void *x, __m256i y) { _mm256_storeu_si256((__m256i *)x, y); }

INLINE __m256i round_held(__m256 x, float most) {
    x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-most)), _mm256_set1_ps(most)); /* NaN: the second operand */
    return _mm256_cvtps_epi32(x);
}

/* The largest of eight, in every lane. */
INLINE __m256i spread_max(__m256i x) {
    x = _mm256_max_epi32(x, _mm256_permute2x128_si256(x, x, 1));
    x = _mm256_max_epi32(x, _mm256_shuffle_epi32(x, 0x4E));
    return _mm256_max_epi32(x, _mm256_shuffle_epi32(x, 0xB1));
}

/* ---- the rotation ---- */

static const float norm_of[11] = {1.0f,    0.70710678f, 0.5f,     0.35355339f,  0.25f,    0.17677670f,
                                  0.125f,  0.08838835f, 0.0625f,  0.044194174f, 0.03125f};

/* Signs of channels c..c+7, c a multiple of 8. */
INLINE __m256 signs8(size_t c) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i byte = _mm256_set1_epi32((int32_t)(fv_rotate_signs[c / 32] >> c % 32 & 255));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cmpeq_epi32(_mm256_and_si256(byte, bit), bit), 31));
}

/* The butterflies within eight channels: a + b in the lower place, a + (-b), which is a - b, in the upper one. */
INLINE __m256 butterfly8(__m256 x) {
    const __m256 odd = _mm256_castsi256_ps(_mm256_setr_epi32(0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN));
    const __m256 pair = _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, INT32_MIN, INT32_MIN, 0, 0, INT32_MIN, INT32_MIN));
    const __m256 half = _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, 0, 0, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN));
    x = _mm256_add_ps(_mm256_moveldup_ps(x), _mm256_xor_ps(_mm256_movehdup_ps(x), odd));
    x = _mm256_add_ps(_mm256_permute_ps(x, 0x44), _mm256_xor_ps(_mm256_permute_ps(x, 0xEE), pair));
    return _mm256_add_ps(_mm256_permute2f128_ps(x, x, 0x00), _mm256_xor_ps(_mm256_permute2f128_ps(x, x, 0x11), half));
}

/* dim a multiple of 8. */
INLINE void rotate_row(size_t dim, float *x) {
    for (size_t c = 0; c < dim; c += 8) _mm256_storeu_ps(x + c, butterfly8(_mm256_xor_ps(_mm256_loadu_ps(x + c), signs8(c))));
    for (size_t done = 0, piece = 1024, log = 10; done < dim; piece /= 2, log--) {
        if (piece > dim - done) continue;
        float *part = x + done;
        for (size_t half = 8; half < piece; half *= 2)
            for (size_t i = 0; i < piece; i += 2 * half)
                for (size_t c = i; c < i + half; c += 8) {
                    __m256 a = _mm256_loadu_ps(part + c), b = _mm256_loadu_ps(part + c + half);
                    _mm256_storeu_ps(part + c, _mm256_add_ps(a, b));
                    _mm256_storeu_ps(part + c + half, _mm256_sub_ps(a, b));
                }
        for (size_t c = 0; c < piece; c += 8)
            _mm256_storeu_ps(part + c, _mm256_mul_ps(_mm256_loadu_ps(part + c), _mm256_set1_ps(norm_of[log])));
        done += piece;
    }
}

/* 16 lanes; the channels that a butterfly joins lie in different registers. */
void fv_rotate_page_avx2(size_t dim, size_t first, size_t end, float *x) {
    if (first != 0 || end != 16) {
        fv_rotate_page_scalar(dim, first, end, x);
        return;
    }
    for (size_t c = 0; c < dim; c++) {
        if (!(fv_rotate_signs[c / 32] >> c % 32 & 1)) continue;
        for (size_t t = 0; t < 16; t += 8)
            _mm256_storeu_ps(x + c * 16 + t, _mm256_xor_ps(_mm256_loadu_ps(x + c * 16 + t), _mm256_set1_ps(-0.0f)));
    }
    for (size_t done = 0, piece = 1024, log = 10; done < dim; piece /= 2, log--) {
        if (piece > dim - done) continue;
        float *part = x + done * 16;
        for (size_t half = 16; half < piece * 16; half *= 2) /* of all lanes */
            for (size_t i = 0; i < piece * 16; i += 2 * half)
                for (size_t c = i; c < i + half; c += 8) {
                    __m256 a = _mm256_loadu_ps(part + c), b = _mm256_loadu_ps(part + c + half);
                    _mm256_storeu_ps(part + c, _mm256_add_ps(a, b));
                    _mm256_storeu_ps(part + c + half, _mm256_sub_ps(a, b));
                }
        for (size_t c = 0; c < piece * 16; c += 8)
            _mm256_storeu_ps(part + c, _mm256_mul_ps(_mm256_loadu_ps(part + c), _mm256_set1_ps(norm_of[log])));
        done += piece;
    }
}

float fv_shadow_query_avx2(size_t dim, size_t padded, float *x, int8_t *out) {
    if (dim % 8 != 0) return fv_shadow_query_scalar(dim, padded, x, out);
    const __m256i magnitude = _mm256_set1_epi32(INT32_MAX);
    __m256i top = _mm256_setzero_si256();
    rotate_row(dim, x);
    for (size_t c = 0; c < dim; c += 8) /* as integers, so that a NaN is larger than all */
        top = _mm256_max_epi32(top, _mm256_and_si256(load(x + c), magnitude));
    float most = fv_f32_from_bits((uint32_t)_mm256_cvtsi256_si32(spread_max(top)));
    __builtin_memset(out, 0, padded);
    if (!(most > 0.0f && most <= FLT_MAX)) return 0.0f;
    __m256 inverse = _mm256_set1_ps(127.0f / most);
    for (size_t c = 0; c < dim; c += 8) {
        __m256i whole = round_held(_mm256_mul_ps(_mm256_loadu_ps(x + c), inverse), 127.0f);
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
        _mm_storel_epi64((__m128i *)(void *)(out + c), _mm_packs_epi16(words, words));
    }
    return most / 127.0f;
}

/* ---- scores ---- */

/* `rows` rows x one panel. Two products of 127 x 127 fit 16 bits. */
INLINE void mean_rows(size_t rows, size_t dim, const int8_t *q, const uint8_t *mean, __m256i *dot) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (size_t i = 0; i < 2 * rows; i++) dot[i] = _mm256_setzero_si256();
    for (size_t j = 0; j < dim / 4; j++) {
        __m256i low = load(mean + j * 64), high = load(mean + j * 64 + 32);
        for (size_t r = 0; r < rows; r++) {
            __m256i four = broadcast4(q + r * dim + 4 * j);
            dot[2 * r] = _mm256_add_epi32(dot[2 * r], _mm256_madd_epi16(_mm256_maddubs_epi16(low, four), ones));
            dot[2 * r + 1] = _mm256_add_epi32(dot[2 * r + 1], _mm256_madd_epi16(_mm256_maddubs_epi16(high, four), ones));
        }
    }
}

INLINE void mean_score(size_t rows, size_t first, const fv_shadow_rows *query, size_t dim, size_t panels,
                       const uint8_t *mean, const float *step, int32_t *out, size_t out_stride) {
    for (size_t p = 0; p < panels; p++) {
        __m256i dot[2 * 4];
        mean_rows(rows, dim, query->query + first * dim, mean + p * dim * 16, dot);
        for (size_t r = 0; r < rows; r++)
            for (size_t half = 0; half < 2; half++) {
                __m256i whole = _mm256_sub_epi32(dot[2 * r + half], _mm256_set1_epi32(64 * query->sum[first + r]));
                __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(whole), _mm256_loadu_ps(step + p * 16 + half * 8));
                x = _mm256_mul_ps(x, _mm256_set1_ps(query->factor[first + r]));
                store(out + (first + r) * out_stride + p * 16 + half * 8, round_held(x, 0x1p28f));
            }
    }
}

void fv_mean_score_avx2(const fv_shadow_rows *query, size_t panels, const uint8_t *mean, const float *step, int32_t *out,
                        size_t out_stride) {
    size_t r = 0, dim = query->dim;
    for (; r + 3 <= query->rows; r += 3) mean_score(3, r, query, dim, panels, mean, step, out, out_stride);
    for (; r < query->rows; r++) mean_score(1, r, query, dim, panels, mean, step, out, out_stride);
}

/* Dot products of eight keys, `half` 0 or 1 of the page, with `rows` rows. */
INLINE void codes_dot(size_t rows, size_t dim, const int8_t *q, const uint8_t *codes, size_t half, __m256i *total) {
    const __m256i mask = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
    __m256i part[4];
    size_t plane = dim / 4;
    for (size_t r = 0; r < rows; r++) total[r] = part[r] = _mm256_setzero_si256();
    for (size_t j = 0; j < plane / 4; j++) {
        __m256i byte = load(codes + j * 64 + half * 32);
        for (int p = 0; p < 4; p++) {
            __m256i code = _mm256_and_si256(_mm256_srli_epi16(byte, 2 * p), mask);
            for (size_t r = 0; r < rows; r++) {
                __m256i four = broadcast4(q + r * dim + (size_t)p * plane + 4 * j);
                part[r] = _mm256_add_epi16(part[r], _mm256_maddubs_epi16(code, four));
            }
        }
        if (j % 8 < 7 && j + 1 < plane / 4) continue;
        for (size_t r = 0; r < rows; r++) { /* 32 sums of at most 762 */
            total[r] = _mm256_add_epi32(total[r], _mm256_madd_epi16(part[r], ones));
            part[r] = _mm256_setzero_si256();
        }
    }
}

/* Scores of the keys of one page: score[64 * r + t]. */
INLINE void page_scores(size_t rows, size_t first, const fv_shadow_rows *query, size_t dim, const uint8_t *codes,
                        const uint16_t *steps, int32_t *score) {
    for (size_t half = 0; half < 2; half++) {
        __m256i dot[4];
        codes_dot(rows, dim, query->query + first * dim, codes, half, dot);
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(steps + 8 * half)));
        __m256 step = _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
        for (size_t r = 0; r < rows; r++) {
            __m256 x = _mm256_sub_ps(_mm256_cvtepi32_ps(dot[r]), _mm256_set1_ps(1.5f * (float)query->sum[first + r]));
            x = _mm256_mul_ps(_mm256_mul_ps(x, step), _mm256_set1_ps(query->factor[first + r]));
            store(score + 64 * r + 8 * half, round_held(x, 0x1p28f));
        }
    }
}

/* fv_power_of(e): the bits of the f32 (1 + fraction) * 2^(16 + whole part), as a whole number. */
INLINE __m256i power_of(__m256i e) {
    __m256i held = _mm256_max_epi32(e, _mm256_set1_epi32(-20 * 256));
    __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(held, _mm256_set1_epi32((127 + 16) * 256)), 15);
    return _mm256_cvttps_epi32(_mm256_castsi256_ps(bits));
}

/* Logarithms of the masses of four pages, score [64]. */
INLINE __m128i masses(const int32_t *score) {
    __m256i best[4], sum[4];
    for (size_t p = 0; p < 4; p++) {
        __m256i low = load(score + 16 * p), high = load(score + 16 * p + 8);
        best[p] = spread_max(_mm256_max_epi32(low, high));
        sum[p] = _mm256_add_epi32(power_of(_mm256_sub_epi32(low, best[p])), power_of(_mm256_sub_epi32(high, best[p])));
    }
    __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(sum[0], sum[1]), _mm256_hadd_epi32(sum[2], sum[3]));
    __m128i mass = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    __m256i tops = _mm256_unpacklo_epi64(_mm256_unpacklo_epi32(best[0], best[1]), _mm256_unpacklo_epi32(best[2], best[3]));
    __m128i power = _mm_srli_epi32(_mm_castps_si128(_mm_cvtepi32_ps(mass)), 15); /* at most 2^20: exact */
    return _mm_add_epi32(_mm256_castsi256_si128(tops), _mm_sub_epi32(power, _mm_set1_epi32((127 + 16) * 256)));
}

enum { AHEAD = 16 }; /* pages of the list */

INLINE void shadow_score(size_t rows, size_t first, const fv_shadow_rows *query, size_t dim, size_t count,
                         const uint32_t *pages, const uint8_t *codes, const uint16_t *steps, int32_t *out,
                         size_t out_stride) {
    int32_t score[4 * 64];
    for (size_t n = 0; n < count; n += 4) {
        size_t here = count - n < 4 ? count - n : 4;
        for (size_t i = 0; i < here; i++) {
            size_t page = pages[n + i];
            if (n + i + AHEAD < count)
                for (size_t line = 0; line < 4 * dim; line += 64)
                    _mm_prefetch((const char *)codes + pages[n + i + AHEAD] * dim * 4 + line, _MM_HINT_T0);
            page_scores(rows, first, query, dim, codes + page * dim * 4, steps + page * 16, score + 16 * i);
        }
        for (size_t r = 0; r < rows; r++) {
            if (here < 4) /* what is not there weighs something, but goes nowhere */
                for (size_t i = 16 * here; i < 64; i++) score[64 * r + i] = 0;
            int32_t mass[4], *to = out + (first + r) * out_stride + n;
            _mm_storeu_si128((__m128i *)(void *)mass, masses(score + 64 * r));
            for (size_t i = 0; i < here; i++) to[i] = mass[i] + query->base[(first + r) * query->base_stride + pages[n + i] / 4];
        }
    }
}

/* Constant numbers of rows and channels let the compiler keep sums in registers. */
#define ROWS(count, dim) shadow_score(count, r, query, dim, listed, pages, codes, steps, out, out_stride)
void fv_shadow_score_avx2(const fv_shadow_rows *query, size_t listed, const uint32_t *pages, const uint8_t *codes,
                          const uint16_t *steps, int32_t *out, size_t out_stride) {
    size_t r = 0;
    if (query->dim == 64)
        for (; r + 3 <= query->rows; r += 3) ROWS(3, 64);
    for (; r + 4 <= query->rows; r += 4) ROWS(4, query->dim);
    for (; r + 3 <= query->rows; r += 3) ROWS(3, query->dim);
    for (; r < query->rows; r++) ROWS(1, query->dim);
}

/* ---- weights ---- */

/* Lanes of the pages from p on. */
INLINE __m256i lanes(size_t left) {
    __m256i count = _mm256_set1_epi32(left < 8 ? (int32_t)left : 8);
    return _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE __m256i reached(const int32_t *score, const float *radius, __m256 reach, size_t p, __m256i valid) {
    __m256i x = _mm256_maskload_epi32(score + p, valid);
    if (!radius) return x;
    return _mm256_add_epi32(x, round_held(_mm256_mul_ps(_mm256_maskload_ps(radius + p, valid), reach), 0x1p28f));
}

/* Of at most 32,768 pages. */
INLINE uint64_t powers(size_t pages, const int32_t *score, const float *radius, __m256 reach, __m256i best) {
    __m256i sum = _mm256_setzero_si256();
    uint32_t sums[8];
    uint64_t total = 0;
    for (size_t p = 0; p < pages; p += 8) {
        __m256i valid = lanes(pages - p);
        __m256i power = power_of(_mm256_sub_epi32(reached(score, radius, reach, p, valid), best));
        sum = _mm256_add_epi32(sum, _mm256_and_si256(power, valid));
    }
    store(sums, sum);
    for (size_t i = 0; i < 8; i++) total += sums[i];
    return total;
}

INLINE void page_weight(size_t pages, const int32_t *score, const float *radius, __m256 reach, uint32_t *weight) {
    enum { TOGETHER = 32768 };
    const __m256i lowest = _mm256_set1_epi32(INT32_MIN);
    __m256i best = lowest;
    uint64_t total = 0;
    for (size_t p = 0; p < pages; p += 8) {
        __m256i valid = lanes(pages - p), x = reached(score, radius, reach, p, valid);
        best = _mm256_max_epi32(best, _mm256_blendv_epi8(lowest, x, valid));
    }
    best = spread_max(best);
    for (size_t p = 0; p < pages; p += TOGETHER)
        total += powers(pages - p < TOGETHER ? pages - p : TOGETHER, score + p, radius ? radius + p : NULL, reach, best);
    int32_t level = _mm256_cvtsi256_si32(best) + fv_log2_of(total) - 16 * 256;
    __m256i shift = _mm256_set1_epi32((int32_t)(FV_WEIGHT_WHOLE - (uint32_t)level));
    for (size_t p = 0; p < pages; p += 8) {
        __m256i valid = lanes(pages - p), x = _mm256_add_epi32(reached(score, radius, reach, p, valid), shift);
        int *to = (int *)(void *)(weight + p);
        _mm256_maskstore_epi32(to, valid, _mm256_max_epu32(x, _mm256_maskload_epi32(to, valid)));
    }
}

void fv_page_weight_avx2(size_t pages, const int32_t *score, const float *radius, float reach, uint32_t *weight) {
    if (radius)
        page_weight(pages, score, radius, _mm256_set1_ps(reach), weight);
    else
        page_weight(pages, score, NULL, _mm256_setzero_ps(), weight);
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
