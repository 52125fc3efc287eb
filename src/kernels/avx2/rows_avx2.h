/* rows_avx2.h - what the row products of AVX2 and AVX-512 share: quants and scales of eight file blocks at a time. */
#ifndef FV_ROWS_AVX2_H
#define FV_ROWS_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

typedef enum block_type { BLOCK_Q4_0, BLOCK_Q4_1, BLOCK_Q5_0, BLOCK_Q8_0 } block_type;

INLINE size_t block_bytes(block_type type) {
    return type == BLOCK_Q4_0 ? 18 : type == BLOCK_Q4_1 ? 20 : type == BLOCK_Q5_0 ? 22 : 34;
}

/* The 32 quants of a block in natural order, unsigned (Q8_0: plus 128). */
INLINE __m256i block_quants(block_type type, const uint8_t *block) {
    if (type == BLOCK_Q8_0)
        return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)(block + 2)), _mm256_set1_epi8((char)0x80));
    const uint8_t *nibbles = block + (type == BLOCK_Q4_0 ? 2 : type == BLOCK_Q4_1 ? 4 : 6);
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)nibbles);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(x), _mm_srli_epi16(x, 4), 1);
    __m256i quants = _mm256_and_si256(both, _mm256_set1_epi8(15));
    if (type != BLOCK_Q5_0) return quants;
    uint32_t bits; /* bit i is the fifth bit of quant i: spread byte i/8 to lane i, test bit i%8 */
    __builtin_memcpy(&bits, block + 2, sizeof bits);
    __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)bits),
                                         _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101, 0x0202020202020202,
                                                            0x0303030303030303));
    __m256i mask = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, mask), mask);
    return _mm256_or_si256(quants, _mm256_and_si256(set, _mm256_set1_epi8(16)));
}

/* Scale and offset of one block in each of eight rows. */
INLINE void block_scales(block_type type, const uint8_t *block, size_t row_bytes, __m256 *scale, __m256 *offset) {
    if (type == BLOCK_Q4_1) {
        int32_t pairs[8];
        for (size_t r = 0; r < 8; r++) __builtin_memcpy(&pairs[r], block + r * row_bytes, 4);
        __m256i both = _mm256_setr_epi32(pairs[0], pairs[1], pairs[2], pairs[3], pairs[4], pairs[5], pairs[6], pairs[7]);
        __m256i halves = _mm256_packus_epi32(_mm256_and_si256(both, _mm256_set1_epi32(0xFFFF)), _mm256_srli_epi32(both, 16));
        __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
        __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
        *scale = _mm256_permute2f128_ps(low, high, 0x20);
        *offset = _mm256_permute2f128_ps(low, high, 0x31);
        return;
    }
    int16_t d[8];
    for (size_t r = 0; r < 8; r++) __builtin_memcpy(&d[r], block + r * row_bytes, 2);
    *scale = _mm256_cvtph_ps(_mm_setr_epi16(d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]));
    *offset = _mm256_mul_ps(*scale, _mm256_set1_ps(type == BLOCK_Q4_0 ? -8.0f : type == BLOCK_Q5_0 ? -16.0f : -128.0f));
}

/* Lane r of the result is the sum of the eight lanes of v[r]. */
INLINE __m256i reduce8(const __m256i v[8]) {
    __m256i first = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    __m256i second = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(first, second, 0x20), _mm256_permute2x128_si256(first, second, 0x31));
}

#endif
