/* packed_avx2.h - packed weights in registers: 32 inputs of eight rows, their scales; shared by AVX2 and AVX-512. */
#ifndef FV_PACKED_AVX2_H
#define FV_PACKED_AVX2_H

#include "kernels/packed.h"
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m256i load32(const void *bytes) { return _mm256_loadu_si256((const __m256i *)bytes); }

INLINE __m256 load_f16x8(const void *bytes) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)bytes)); }

INLINE __m256i broadcast4(const int8_t *x) {
    int32_t four;
    __builtin_memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Puts the bits of `mask` that lie `left` places further down (or, negative, further up) into a byte. */
INLINE __m256i moved(__m256i bytes, int left, __m256i mask) {
    return _mm256_and_si256(left >= 0 ? _mm256_slli_epi16(bytes, left) : _mm256_srli_epi16(bytes, -left), mask);
}

/* Step k holds inputs 4k..4k+3 of the eight rows, unsigned. */
INLINE void packed_steps(fv_packed_type type, const uint8_t *bytes, __m256i steps[8]) {
    const __m256i low = _mm256_set1_epi8(15);
    if (type == FV_PACKED_Q8_0) {
        for (size_t k = 0; k < 8; k++) steps[k] = load32(bytes + 32 * k);
        return;
    }
    for (size_t k = 0; k < 4; k++) {
        __m256i both = load32(bytes + 32 * k);
        steps[k] = _mm256_and_si256(both, low);
        steps[k + 4] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
    }
    if (fv_packed_has_fifths(type)) {
        __m256i bits = load32(bytes + 128);
        for (int k = 0; k < 8; k++) steps[k] = _mm256_or_si256(steps[k], moved(bits, 4 - k, _mm256_set1_epi8(0x10)));
    }
    if (fv_packed_lookup(type)) {
        __m256i values =
            _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)fv_packed_lookup(type)));
        for (size_t k = 0; k < 8; k++) steps[k] = _mm256_shuffle_epi8(values, steps[k]);
    }
    if (type == FV_PACKED_Q6_K)
        for (size_t half = 0; half < 2; half++) {
            __m256i pairs = load32(bytes + 128 + 32 * half);
            for (int k = 0; k < 4; k++)
                steps[4 * half + (size_t)k] =
                    _mm256_or_si256(steps[4 * half + (size_t)k], moved(pairs, 4 - 2 * k, _mm256_set1_epi8(0x30)));
        }
}

/* A block's scales, as far as its groups share them. */
typedef struct packed_header {
    __m256 scale, minimum;          /* minimum: Q4_1's and Q5_1's as it is, Q4_K's and Q5_K's negated */
    uint8_t scales[64], minima[64]; /* of Q4_K, Q5_K: [group][row]; scales of IQ4_XS, signed */
} packed_header;

/* Six bits less 32 of 8 groups of 8 rows: four groups at a time. */
INLINE void xs_scales_load(const uint8_t *block, uint8_t scales[64]) {
    const __m256i low = _mm256_set1_epi8(15), top = _mm256_set1_epi8(0x30);
    __m256i both = load32(block + FV_PACKED_XS_SCALES);
    __m256i pairs = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(block + FV_PACKED_XS_TOPS)));
    for (int half = 0; half < 2; half++) {
        __m256i first = moved(pairs, half ? 0 : 4, top), second = moved(pairs, half ? -2 : 2, top);
        __m256i six = _mm256_or_si256(half ? moved(both, -4, low) : _mm256_and_si256(both, low),
                                      _mm256_blend_epi32(first, second, 0xF0));
        _mm256_storeu_si256((__m256i *)(void *)(scales + 32 * half), _mm256_sub_epi8(six, _mm256_set1_epi8(32)));
    }
}

INLINE __m128i load8(const uint8_t *bytes) { return _mm_loadl_epi64((const __m128i *)(const void *)bytes); }

/* fv_half_e8m0() of eight exponents. */
INLINE __m256 load_e8m0x8(const uint8_t *bytes) {
    const __m256i one = _mm256_set1_epi32(1);
    __m256i exponent = _mm256_cvtepu8_epi32(load8(bytes));
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(exponent, one), 23);
    __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x200000), exponent);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(small, normal, _mm256_cmpgt_epi32(exponent, one)));
}

INLINE void packed_header_load(fv_packed_type type, const uint8_t *block, packed_header *header) {
    header->scale = fv_packed_is_mxfp4(type) ? load_e8m0x8(block) : load_f16x8(block);
    if (fv_packed_has_minima(type)) header->minimum = load_f16x8(block + FV_PACKED_MINIMA);
    if (type == FV_PACKED_IQ4_XS) xs_scales_load(block, header->scales);
    if (type != FV_PACKED_Q4_K && type != FV_PACKED_Q5_K) return;
    const __m256i low = _mm256_set1_epi8(15), top = _mm256_set1_epi8(0x30);
    __m256i tops = load32(block + FV_PACKED_SUPER_TOPS);
    header->minimum = _mm256_xor_ps(load_f16x8(block + FV_PACKED_MINIMA), _mm256_set1_ps(-0.0f));
    for (int half = 0; half < 2; half++) {
        __m256i both = load32(block + FV_PACKED_SUPER_SCALES + 32 * half);
        __m256i scales = _mm256_or_si256(_mm256_and_si256(both, low), moved(tops, half ? 0 : 4, top));
        __m256i minima = _mm256_or_si256(moved(both, -4, low), moved(tops, half ? -2 : 2, top));
        _mm256_storeu_si256((__m256i *)(void *)(header->scales + 32 * half), scales);
        _mm256_storeu_si256((__m256i *)(void *)(header->minima + 32 * half), minima);
    }
}

/* Scales of group `group`: of 16 inputs for Q6_K, else of 32. */
INLINE void packed_scales(fv_packed_type type, const uint8_t *block, const packed_header *header, size_t group,
                          __m256 *scale, __m256 *offset) {
    *scale = header->scale;
    if (type == FV_PACKED_Q6_K)
        *scale = _mm256_mul_ps(header->scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(block + 16 + 8 * group))));
    if (type == FV_PACKED_IQ4_XS)
        *scale =
            _mm256_mul_ps(header->scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(header->scales + 8 * group))));
    if (type == FV_PACKED_Q4_K || type == FV_PACKED_Q5_K) {
        __m256i scales = _mm256_cvtepu8_epi32(load8(header->scales + 8 * group));
        __m256i minima = _mm256_cvtepu8_epi32(load8(header->minima + 8 * group));
        *scale = _mm256_mul_ps(header->scale, _mm256_cvtepi32_ps(scales));
        *offset = _mm256_mul_ps(header->minimum, _mm256_cvtepi32_ps(minima));
    } else if (fv_packed_has_minima(type))
        *offset = header->minimum;
    else
        *offset = _mm256_mul_ps(*scale, _mm256_set1_ps(fv_packed_bias(type)));
}

#endif
