/* scan_avx512.c - four groups of four channels in a register. */
#include "index/scan_pairs.h"
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

enum { CHUNK = 256 }; /* groups whose entries fit 16 bits: 256 * 255 < 2^16 */

/* Eight sums of 16 bits in each quarter, added up and added to `sum`. */
static void add_quarters(__m512i all, uint32_t *sum) {
    __m256i two = _mm256_add_epi16(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    __m128i one = _mm_add_epi16(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
    __m256i *place = (__m256i *)(void *)sum;
    _mm256_storeu_si256(place, _mm256_add_epi32(_mm256_loadu_si256(place), _mm256_cvtepu16_epi32(one)));
}

/* Limit: shuffles and adds; see the twin of AVX2. */
void fv_scan_sums_avx512(size_t groups, const uint8_t *codes, const uint8_t *table, uint32_t *sum) {
    const __m512i mask = _mm512_set1_epi8(15);
    memset(sum, 0, 32 * sizeof *sum);
    for (size_t from = 0; from < groups; from += CHUNK) {
        size_t end = groups - from < CHUNK ? groups : from + CHUNK;
        __m512i low = _mm512_setzero_si512(), low_odd = low, high = low, high_odd = low;
        for (size_t group = from; group < end; group += 4) {
            __m512i code = _mm512_loadu_si512(codes + group * 16);
            __m512i entry = _mm512_loadu_si512(table + group * 16);
            __m512i a = _mm512_shuffle_epi8(entry, _mm512_and_si512(code, mask));
            __m512i b = _mm512_shuffle_epi8(entry, _mm512_and_si512(_mm512_srli_epi16(code, 4), mask));
            low = _mm512_add_epi16(low, a);
            low_odd = _mm512_add_epi16(low_odd, _mm512_srli_epi16(a, 8));
            high = _mm512_add_epi16(high, b);
            high_odd = _mm512_add_epi16(high_odd, _mm512_srli_epi16(b, 8));
        }
        add_quarters(_mm512_sub_epi16(low, _mm512_slli_epi16(low_odd, 8)), sum);
        add_quarters(low_odd, sum + 8);
        add_quarters(_mm512_sub_epi16(high, _mm512_slli_epi16(high_odd, 8)), sum + 16);
        add_quarters(high_odd, sum + 24);
    }
}

static __m512 sums_scaled(const uint32_t *sum, const fv_scan_query *query) {
    __m512i whole = _mm512_sub_epi32(_mm512_loadu_si512(sum), _mm512_set1_epi32(query->zero));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(whole), _mm512_set1_ps(query->step));
}

uint32_t fv_scan_bounds_avx512(const float *factors, const uint32_t *sum, const fv_scan_query *query, float limit,
                               float *low) {
    uint32_t under = 0;
    for (size_t t = 0; t < 32; t += 16) {
        __m512 add = _mm512_mul_ps(_mm512_loadu_ps(factors + t), _mm512_set1_ps(query->weight));
        __m512 product = _mm512_mul_ps(_mm512_loadu_ps(factors + 32 + t), sums_scaled(sum + t, query));
        __m512 error = _mm512_mul_ps(_mm512_loadu_ps(factors + 64 + t), _mm512_set1_ps(query->spread));
        __m512 near = _mm512_add_ps(_mm512_add_ps(add, _mm512_set1_ps(query->base)), product);
        __m512 bound = _mm512_sub_ps(near, error);
        _mm512_storeu_ps(low + t, bound);
        under |= (uint32_t)_mm512_cmp_ps_mask(bound, _mm512_set1_ps(limit), _CMP_LT_OQ) << t;
    }
    return under;
}

uint32_t fv_scan_estimates_avx512(const float *factors, const uint32_t *sum, const fv_scan_query *query, float limit,
                                  float *near) {
    uint32_t under = 0;
    for (size_t t = 0; t < 32; t += 16) {
        __m512 add = _mm512_add_ps(_mm512_loadu_ps(factors + t), _mm512_set1_ps(query->base));
        __m512 product = _mm512_mul_ps(_mm512_loadu_ps(factors + 32 + t), sums_scaled(sum + t, query));
        __m512 all = _mm512_add_ps(add, product);
        _mm512_storeu_ps(near + t, all);
        under |= (uint32_t)_mm512_cmp_ps_mask(all, _mm512_set1_ps(limit), _CMP_LT_OQ) << t;
    }
    return under;
}

void fv_scan_fetch_avx512(const void *bytes, size_t count) {
    for (size_t i = 0; i < count; i += 64) _mm_prefetch((const char *)bytes + i, _MM_HINT_T0);
}

static float lanes_total(__m512 low, __m512 high) {
    __m512 all = _mm512_add_ps(low, high);
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static __mmask16 code_step(const float *self, const float *other, __m512 *square, __m512 *size, __m512 *known) {
    __m512 own = _mm512_loadu_ps(self), r = _mm512_sub_ps(_mm512_loadu_ps(other), own);
    __mmask16 above = _mm512_cmp_ps_mask(r, _mm512_setzero_ps(), _CMP_GT_OQ);
    __m512 turn = _mm512_castsi512_ps(_mm512_maskz_set1_epi32((__mmask16)~above, INT32_MIN));
    *square = _mm512_add_ps(*square, _mm512_mul_ps(r, r));
    *size = _mm512_add_ps(*size, _mm512_xor_ps(r, turn));
    *known = _mm512_add_ps(*known, _mm512_xor_ps(own, turn));
    return above;
}

void fv_scan_code_avx512(size_t n, const float *self, const float *other, uint8_t *bits, fv_scan_code *code) {
    __m512 square[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}, size[2] = {square[0], square[0]};
    __m512 known[2] = {square[0], square[0]};
    for (size_t i = 0; i < n; i += 32)
        for (size_t j = 0; j < 2; j++) {
            uint32_t above = code_step(self + i + 16 * j, other + i + 16 * j, square + j, size + j, known + j);
            bits[i / 8 + 2 * j] = (uint8_t)above;
            bits[i / 8 + 2 * j + 1] = (uint8_t)(above >> 8);
        }
    *code = (fv_scan_code){lanes_total(square[0], square[1]), lanes_total(size[0], size[1]),
                           lanes_total(known[0], known[1])};
}

/* ---- pairs ---- */

static inline __m512 load_sixteen(element type, const void *x, size_t i) {
    if (type == F32) return _mm512_loadu_ps((const float *)x + i);
    __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)((const uint16_t *)x + i));
    return type == F16 ? _mm512_cvtph_ps(half)
                       : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* Of differences with themselves, or of x with y. */
static inline __m512 pair_step(bool is_product, element x_type, element y_type, const void *x, const void *y, size_t i,
                               __m512 lane) {
    __m512 a = load_sixteen(x_type, x, i), b = load_sixteen(y_type, y, i), d = _mm512_sub_ps(a, b);
    return _mm512_add_ps(lane, is_product ? _mm512_mul_ps(a, b) : _mm512_mul_ps(d, d));
}

static inline float pair_sum(bool is_product, element x_type, element y_type, size_t n, const void *x, const void *y) {
    __m512 low = _mm512_setzero_ps(), high = low;
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        low = pair_step(is_product, x_type, y_type, x, y, i, low);
        high = pair_step(is_product, x_type, y_type, x, y, i + 16, high);
    }
    if (i < n) {
        float rest[2][32];
        pair_rest(x_type, y_type, n, x, y, i, rest);
        low = pair_step(is_product, x_type, y_type, rest[0], rest[1], 0, low);
        high = pair_step(is_product, x_type, y_type, rest[0], rest[1], 16, high);
    }
    return lanes_total(low, high);
}

FV_SCAN_PAIRS(avx512)
