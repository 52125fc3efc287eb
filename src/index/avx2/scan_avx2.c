/* scan_avx2.c - two groups of four channels in a register. */
#include "index/scan_pairs.h"
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

enum { CHUNK = 256 }; /* groups whose entries fit 16 bits: 256 * 255 < 2^16 */

/* Eight sums of 16 bits in each half, added up and added to `sum`. */
static void add_halves(__m256i both, uint32_t *sum) {
    __m128i all = _mm_add_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    __m256i *place = (__m256i *)(void *)sum;
    _mm256_storeu_si256(place, _mm256_add_epi32(_mm256_loadu_si256(place), _mm256_cvtepu16_epi32(all)));
}

/* Limit: shuffles and adds. Entries are added as 16 bits without taking them apart; what the upper bytes added to the
 * lower ones is taken off at the end. */
void fv_scan_sums_avx2(size_t groups, const uint8_t *codes, const uint8_t *table, uint32_t *sum) {
    const __m256i mask = _mm256_set1_epi8(15);
    memset(sum, 0, 32 * sizeof *sum);
    for (size_t from = 0; from < groups; from += CHUNK) {
        size_t end = groups - from < CHUNK ? groups : from + CHUNK;
        __m256i low = _mm256_setzero_si256(), low_odd = low, high = low, high_odd = low;
        for (size_t group = from; group < end; group += 2) {
            __m256i code = _mm256_loadu_si256((const __m256i *)(const void *)(codes + group * 16));
            __m256i entry = _mm256_loadu_si256((const __m256i *)(const void *)(table + group * 16));
            __m256i a = _mm256_shuffle_epi8(entry, _mm256_and_si256(code, mask));
            __m256i b = _mm256_shuffle_epi8(entry, _mm256_and_si256(_mm256_srli_epi16(code, 4), mask));
            low = _mm256_add_epi16(low, a);
            low_odd = _mm256_add_epi16(low_odd, _mm256_srli_epi16(a, 8));
            high = _mm256_add_epi16(high, b);
            high_odd = _mm256_add_epi16(high_odd, _mm256_srli_epi16(b, 8));
        }
        add_halves(_mm256_sub_epi16(low, _mm256_slli_epi16(low_odd, 8)), sum);
        add_halves(low_odd, sum + 8);
        add_halves(_mm256_sub_epi16(high, _mm256_slli_epi16(high_odd, 8)), sum + 16);
        add_halves(high_odd, sum + 24);
    }
}

static __m256 sums_scaled(const uint32_t *sum, const fv_scan_query *query) {
    __m256i whole = _mm256_loadu_si256((const __m256i *)(const void *)sum);
    whole = _mm256_sub_epi32(whole, _mm256_set1_epi32(query->zero));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(whole), _mm256_set1_ps(query->step));
}

uint32_t fv_scan_bounds_avx2(const float *factors, const uint32_t *sum, const fv_scan_query *query, float limit,
                             float *low) {
    uint32_t under = 0;
    for (size_t t = 0; t < 32; t += 8) {
        __m256 add = _mm256_mul_ps(_mm256_loadu_ps(factors + t), _mm256_set1_ps(query->weight));
        __m256 product = _mm256_mul_ps(_mm256_loadu_ps(factors + 32 + t), sums_scaled(sum + t, query));
        __m256 error = _mm256_mul_ps(_mm256_loadu_ps(factors + 64 + t), _mm256_set1_ps(query->spread));
        __m256 near = _mm256_add_ps(_mm256_add_ps(add, _mm256_set1_ps(query->base)), product);
        __m256 bound = _mm256_sub_ps(near, error);
        _mm256_storeu_ps(low + t, bound);
        __m256 less = _mm256_cmp_ps(bound, _mm256_set1_ps(limit), _CMP_LT_OQ);
        under |= (uint32_t)_mm256_movemask_ps(less) << t;
    }
    return under;
}

uint32_t fv_scan_estimates_avx2(const float *factors, const uint32_t *sum, const fv_scan_query *query, float limit,
                                float *near) {
    uint32_t under = 0;
    for (size_t t = 0; t < 32; t += 8) {
        __m256 add = _mm256_add_ps(_mm256_loadu_ps(factors + t), _mm256_set1_ps(query->base));
        __m256 product = _mm256_mul_ps(_mm256_loadu_ps(factors + 32 + t), sums_scaled(sum + t, query));
        __m256 all = _mm256_add_ps(add, product);
        _mm256_storeu_ps(near + t, all);
        __m256 less = _mm256_cmp_ps(all, _mm256_set1_ps(limit), _CMP_LT_OQ);
        under |= (uint32_t)_mm256_movemask_ps(less) << t;
    }
    return under;
}

void fv_scan_fetch_avx2(const void *bytes, size_t count) {
    for (size_t i = 0; i < count; i += 64) _mm_prefetch((const char *)bytes + i, _MM_HINT_T0);
}

static float lanes_total(const __m256 *lane) {
    __m256 low = _mm256_add_ps(lane[0], lane[2]), high = _mm256_add_ps(lane[1], lane[3]);
    __m256 eight = _mm256_add_ps(low, high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

void fv_scan_code_avx2(size_t n, const float *self, const float *other, uint8_t *bits, fv_scan_code *code) {
    const __m256 zero = _mm256_setzero_ps(), sign = _mm256_set1_ps(-0.0f);
    __m256 square[4] = {zero, zero, zero, zero}, size[4] = {zero, zero, zero, zero},
           known[4] = {zero, zero, zero, zero};
    for (size_t i = 0; i < n; i += 32)
        for (size_t j = 0; j < 4; j++) {
            __m256 own = _mm256_loadu_ps(self + i + 8 * j);
            __m256 r = _mm256_sub_ps(_mm256_loadu_ps(other + i + 8 * j), own);
            __m256 above = _mm256_cmp_ps(r, zero, _CMP_GT_OQ), turn = _mm256_andnot_ps(above, sign);
            bits[i / 8 + j] = (uint8_t)_mm256_movemask_ps(above);
            square[j] = _mm256_add_ps(square[j], _mm256_mul_ps(r, r));
            size[j] = _mm256_add_ps(size[j], _mm256_xor_ps(r, turn));
            known[j] = _mm256_add_ps(known[j], _mm256_xor_ps(own, turn));
        }
    *code = (fv_scan_code){lanes_total(square), lanes_total(size), lanes_total(known)};
}

/* ---- pairs ---- */

static inline __m256 load_eight(element type, const void *x, size_t i) {
    if (type == F32) return _mm256_loadu_ps((const float *)x + i);
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)((const uint16_t *)x + i));
    return type == F16 ? _mm256_cvtph_ps(half)
                       : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* Of differences with themselves, or of x with y. */
static inline void pair_step(bool is_product, element x_type, element y_type, const void *x, const void *y, size_t i,
                             __m256 *lane) {
    for (size_t j = 0; j < 4; j++) {
        __m256 a = load_eight(x_type, x, i + 8 * j), b = load_eight(y_type, y, i + 8 * j), d = _mm256_sub_ps(a, b);
        lane[j] = _mm256_add_ps(lane[j], is_product ? _mm256_mul_ps(a, b) : _mm256_mul_ps(d, d));
    }
}

static inline float pair_sum(bool is_product, element x_type, element y_type, size_t n, const void *x, const void *y) {
    __m256 lane[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t i = 0;
    for (; n - i >= 32; i += 32) pair_step(is_product, x_type, y_type, x, y, i, lane);
    if (i < n) {
        float rest[2][32];
        pair_rest(x_type, y_type, n, x, y, i, rest);
        pair_step(is_product, x_type, y_type, rest[0], rest[1], 0, lane);
    }
    return lanes_total(lane);
}

FV_SCAN_PAIRS(avx2)
