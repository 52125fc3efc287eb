/* packed_avx2.h - one packed group in registers: its eight steps of quants, its scales; shared by AVX2 and AVX-512. */
#ifndef FV_PACKED_AVX2_H
#define FV_PACKED_AVX2_H

#include "kernels/packed.h"
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m256i load32(const void *bytes) { return _mm256_loadu_si256((const __m256i *)bytes); }

INLINE __m256i broadcast4(const int8_t *x) {
    int32_t four;
    __builtin_memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Step k holds inputs 4k..4k+3 of the eight rows, unsigned. */
INLINE void packed_steps(fv_packed_type type, const uint8_t *group, __m256i steps[8]) {
    const uint8_t *bytes = group + fv_packed_quant_offset(type);
    const __m256i low = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
    if (type == FV_PACKED_Q8_0) {
        for (size_t k = 0; k < 8; k++) steps[k] = load32(bytes + 32 * k);
        return;
    }
    for (size_t k = 0; k < 4; k++) {
        __m256i both = load32(bytes + 32 * k);
        steps[k] = _mm256_and_si256(both, low);
        steps[k + 4] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
    }
    if (type != FV_PACKED_Q5_0) return;
    __m256i bits = load32(bytes + 128);
    for (int k = 0; k < 8; k++) {
        __m256i moved = k < 4 ? _mm256_slli_epi16(bits, 4 - k) : _mm256_srli_epi16(bits, k - 4);
        steps[k] = _mm256_or_si256(steps[k], _mm256_and_si256(moved, fifth));
    }
}

INLINE void packed_scales(fv_packed_type type, const uint8_t *group, __m256 *scale, __m256 *offset) {
    *scale = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)group));
    if (type == FV_PACKED_Q4_1)
        *offset = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(group + 16)));
    else
        *offset = _mm256_mul_ps(*scale, _mm256_set1_ps(fv_packed_bias(type)));
}

#endif
