/* levels_avx512.c - sums of codes of 2 to 8 bits a channel, a group of 64 channels in a register. */
#include "index/scan_kernels.h"
#include <immintrin.h>

/* A part of `width` bits a channel, moved up by `place`. */
static inline __m512i part_of(size_t width, unsigned place, const uint8_t *part) {
    __m512i all, shift, mask = _mm512_set1_epi8((char)((1 << width) - 1));
    if (width == 4) {
        all = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)part));
        shift = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4);
    } else if (width == 2) {
        all = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)part));
        shift = _mm512_setr_epi64(0, 0, 2, 2, 4, 4, 6, 6);
    } else {
        all = _mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)part));
        shift = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    }
    return _mm512_slli_epi64(_mm512_and_si512(_mm512_srlv_epi64(all, shift), mask), place);
}

static inline __m512i levels_of(size_t bits, const uint8_t *group) {
    if (bits == 8) return _mm512_loadu_si512(group);
    __m512i levels = _mm512_setzero_si512();
    if (bits & 4) levels = part_of(4, 0, group);
    if (bits & 2) levels = _mm512_or_si512(levels, part_of(2, bits & 4, group + 8 * (bits & 4)));
    if (bits & 1) levels = _mm512_or_si512(levels, part_of(1, bits & 6, group + 8 * (bits & 6)));
    return levels;
}

static inline __m512i thirty_two(__m512i levels, size_t half) {
    return _mm512_cvtepu8_epi16(half ? _mm512_extracti64x4_epi64(levels, 1) : _mm512_castsi512_si256(levels));
}

static int32_t lanes_total(__m512i all) {
    __m256i eight = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}

static inline int32_t levels_sum(size_t n, size_t bits, const uint8_t *code, const int16_t *level) {
    __m512i low = _mm512_setzero_si512(), high = low;
    for (size_t i = 0; i < n; i += 64, code += 8 * bits) {
        __m512i own = levels_of(bits, code);
        low = _mm512_add_epi32(low, _mm512_madd_epi16(thirty_two(own, 0), _mm512_loadu_si512(level + i)));
        high = _mm512_add_epi32(high, _mm512_madd_epi16(thirty_two(own, 1), _mm512_loadu_si512(level + i + 32)));
    }
    return lanes_total(_mm512_add_epi32(low, high));
}

/* The widths that are common have loops of their own. */
int32_t fv_scan_levels_avx512(size_t n, size_t bits, const uint8_t *code, const int16_t *level) {
    if (bits == 4) return levels_sum(n, 4, code, level);
    return bits == 8 ? levels_sum(n, 8, code, level) : levels_sum(n, bits, code, level);
}

static inline __m512i codes_step(__m512i x, __m512i y, size_t half, __m512i most, __m512i sum) {
    __m512i a = _mm512_sub_epi16(_mm512_slli_epi16(thirty_two(x, half), 1), most);
    __m512i b = _mm512_sub_epi16(_mm512_slli_epi16(thirty_two(y, half), 1), most);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
}

int32_t fv_scan_codes_avx512(size_t n, size_t bits, const uint8_t *x, const uint8_t *y) {
    const __m512i most = _mm512_set1_epi16((short)((1 << bits) - 1));
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 64, x += 8 * bits, y += 8 * bits) {
        __m512i a = levels_of(bits, x), b = levels_of(bits, y);
        sum = codes_step(a, b, 0, most, sum);
        sum = codes_step(a, b, 1, most, sum);
    }
    return lanes_total(sum);
}
