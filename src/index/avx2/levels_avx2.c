/* levels_avx2.c - sums of codes of 2 to 8 bits a channel, 32 channels in a register. */
#include "index/scan_kernels.h"
#include <immintrin.h>

/* Channels 0..31 and 32..63 of a group, a byte each. */
typedef struct group_levels {
    __m256i low, high;
} group_levels;

/* Adds a part of `width` bits a channel, to be moved up by `place`. */
static inline void add_part(size_t width, int place, const uint8_t *part, group_levels *levels) {
    __m256i all, shift, mask = _mm256_set1_epi8((char)((1 << width) - 1));
    if (width == 4) {
        all = _mm256_loadu_si256((const __m256i *)(const void *)part);
        shift = _mm256_setzero_si256();
    } else if (width == 2) {
        all = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)part));
        shift = _mm256_setr_epi64x(0, 0, 2, 2);
    } else {
        all = _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)part));
        shift = _mm256_setr_epi64x(0, 1, 2, 3);
    }
    all = _mm256_srlv_epi64(all, shift);
    __m256i low = _mm256_and_si256(all, mask);
    __m256i high = _mm256_and_si256(_mm256_srli_epi64(all, 4), mask);
    levels->low = _mm256_or_si256(levels->low, _mm256_slli_epi64(low, place));
    levels->high = _mm256_or_si256(levels->high, _mm256_slli_epi64(high, place));
}

static inline group_levels levels_of(size_t bits, const uint8_t *group) {
    if (bits == 8)
        return (group_levels){_mm256_loadu_si256((const __m256i *)(const void *)group),
                              _mm256_loadu_si256((const __m256i *)(const void *)(group + 32))};
    group_levels levels = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    int place = 0;
    if (bits & 4) add_part(4, 0, group, &levels);
    if (bits & 4) group += 32;
    place += (int)(bits & 4);
    if (bits & 2) add_part(2, place, group, &levels);
    if (bits & 2) group += 16;
    place += (int)(bits & 2);
    if (bits & 1) add_part(1, place, group, &levels);
    return levels;
}

static int32_t lanes_total(__m256i all) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}

static inline __m256i sixteen(__m256i levels, size_t half) {
    return _mm256_cvtepu8_epi16(half ? _mm256_extracti128_si256(levels, 1) : _mm256_castsi256_si128(levels));
}

static inline __m256i levels_step(__m256i own, const int16_t *level, __m256i sum) {
    for (size_t half = 0; half < 2; half++) {
        __m256i other = _mm256_loadu_si256((const __m256i *)(const void *)(level + 16 * half));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(sixteen(own, half), other));
    }
    return sum;
}

static inline int32_t levels_sum(size_t n, size_t bits, const uint8_t *code, const int16_t *level) {
    __m256i low = _mm256_setzero_si256(), high = low;
    for (size_t i = 0; i < n; i += 64, code += 8 * bits) {
        group_levels own = levels_of(bits, code);
        low = levels_step(own.low, level + i, low);
        high = levels_step(own.high, level + i + 32, high);
    }
    return lanes_total(_mm256_add_epi32(low, high));
}

/* The widths that are common have loops of their own. */
int32_t fv_scan_levels_avx2(size_t n, size_t bits, const uint8_t *code, const int16_t *level) {
    if (bits == 4) return levels_sum(n, 4, code, level);
    return bits == 8 ? levels_sum(n, 8, code, level) : levels_sum(n, bits, code, level);
}

static inline __m256i codes_step(__m256i x, __m256i y, __m256i most, __m256i sum) {
    for (size_t half = 0; half < 2; half++) {
        __m256i a = _mm256_sub_epi16(_mm256_slli_epi16(sixteen(x, half), 1), most);
        __m256i b = _mm256_sub_epi16(_mm256_slli_epi16(sixteen(y, half), 1), most);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    }
    return sum;
}

int32_t fv_scan_codes_avx2(size_t n, size_t bits, const uint8_t *x, const uint8_t *y) {
    const __m256i most = _mm256_set1_epi16((short)((1 << bits) - 1));
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 64, x += 8 * bits, y += 8 * bits) {
        group_levels a = levels_of(bits, x), b = levels_of(bits, y);
        sum = codes_step(a.low, b.low, most, sum);
        sum = codes_step(a.high, b.high, most, sum);
    }
    return lanes_total(sum);
}
