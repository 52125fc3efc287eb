/* packed_avx2.h - packed weights in registers: 32 inputs of eight rows, their scales; shared by AVX2 and AVX-512. */
#ifndef FV_PACKED_AVX2_H
#define FV_PACKED_AVX2_H

#include "kernels/kernels.h"
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

/* Inputs 4k..4k+3 of the eight rows, unsigned. */
INLINE __m256i packed_step(fv_packed_type type, const uint8_t *bytes, int k) {
    if (type == FV_PACKED_Q8_0) return load32(bytes + 32 * k);
    if (fv_packed_is_pairs(type)) {
        __m256i pair = moved(load32(bytes + 32 * (k / 4)), -2 * (k % 4), _mm256_set1_epi8(3));
        if (type == FV_PACKED_Q2_K) return pair;
        return _mm256_or_si256(pair, moved(load32(bytes + FV_PACKED_Q3_K_THIRDS), 2 - k, _mm256_set1_epi8(4)));
    }
    __m256i both = load32(bytes + 32 * (k % 4));
    __m256i step = _mm256_and_si256(k < 4 ? both : _mm256_srli_epi16(both, 4), _mm256_set1_epi8(15));
    if (fv_packed_has_fifths(type))
        step = _mm256_or_si256(step, moved(load32(bytes + 128), 4 - k, _mm256_set1_epi8(0x10)));
    if (fv_packed_lookup(type))
        step = _mm256_shuffle_epi8(
            _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)fv_packed_lookup(type))), step);
    if (type == FV_PACKED_Q6_K)
        step =
            _mm256_or_si256(step, moved(load32(bytes + 128 + 32 * (k / 4)), 4 - 2 * (k % 4), _mm256_set1_epi8(0x30)));
    return step;
}

INLINE void packed_steps(fv_packed_type type, const uint8_t *bytes, __m256i steps[8]) {
    for (int k = 0; k < 4; k++) {
        steps[k] = packed_step(type, bytes, k);
        steps[k + 4] = packed_step(type, bytes, k + 4);
    }
}

/* 128 times the sum of 32 inputs, in all lanes. */
INLINE __m256i packed_shift(const int8_t *x) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8((char)0x80), load32(x));
    __m256i sum = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    sum = _mm256_add_epi32(sum, _mm256_permute2x128_si256(sum, sum, 1));
    sum = _mm256_add_epi32(sum, _mm256_shuffle_epi32(sum, 0x4E));
    return _mm256_add_epi32(sum, _mm256_shuffle_epi32(sum, 0xB1));
}

/* A block's scales, as far as its groups share them. */
typedef struct packed_header {
    __m256 scale, minimum;           /* minimum: Q4_1's and Q5_1's as it is, that of K types negated */
    uint8_t scales[128], minima[64]; /* of Q4_K, Q5_K: [group][row]; scales of IQ4_XS and Q3_K, signed */
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

/* The same of 16 groups: four groups at a time, whose upper two bits lie in the same bytes. */
INLINE void q3_k_scales_load(const uint8_t *block, uint8_t scales[128]) {
    const __m256i low = _mm256_set1_epi8(15), top = _mm256_set1_epi8(0x30);
    __m256i tops = load32(block + FV_PACKED_Q3_K_TOPS);
    for (int quarter = 0; quarter < 4; quarter++) {
        __m256i both = load32(block + FV_PACKED_Q3_K_SCALES + 32 * (quarter % 2));
        __m256i six = _mm256_or_si256(moved(both, quarter < 2 ? 0 : -4, low), moved(tops, 4 - 2 * quarter, top));
        _mm256_storeu_si256((__m256i *)(void *)(scales + 32 * quarter), _mm256_sub_epi8(six, _mm256_set1_epi8(32)));
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
    if (type == FV_PACKED_Q3_K) q3_k_scales_load(block, header->scales);
    if (type == FV_PACKED_Q2_K)
        header->minimum = _mm256_xor_ps(load_f16x8(block + FV_PACKED_MINIMA), _mm256_set1_ps(-0.0f));
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

/* Scales of group `group`: of 16 inputs or of 32. */
INLINE void packed_scales(fv_packed_type type, const uint8_t *block, const packed_header *header, size_t group,
                          __m256 *scale, __m256 *offset) {
    *scale = header->scale;
    if (type == FV_PACKED_Q6_K)
        *scale = _mm256_mul_ps(header->scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(block + 16 + 8 * group))));
    if (type == FV_PACKED_IQ4_XS || type == FV_PACKED_Q3_K)
        *scale =
            _mm256_mul_ps(header->scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(header->scales + 8 * group))));
    if (type == FV_PACKED_Q2_K) {
        __m256i both = _mm256_cvtepu8_epi32(load8(block + FV_PACKED_Q2_K_SCALES + 8 * group));
        *scale = _mm256_mul_ps(header->scale, _mm256_cvtepi32_ps(_mm256_and_si256(both, _mm256_set1_epi32(15))));
        *offset = _mm256_mul_ps(header->minimum, _mm256_cvtepi32_ps(_mm256_srli_epi32(both, 4)));
    } else if (type == FV_PACKED_Q4_K || type == FV_PACKED_Q5_K) {
        __m256i scales = _mm256_cvtepu8_epi32(load8(header->scales + 8 * group));
        __m256i minima = _mm256_cvtepu8_epi32(load8(header->minima + 8 * group));
        *scale = _mm256_mul_ps(header->scale, _mm256_cvtepi32_ps(scales));
        *offset = _mm256_mul_ps(header->minimum, _mm256_cvtepi32_ps(minima));
    } else if (fv_packed_has_minima(type))
        *offset = header->minimum;
    else
        *offset = _mm256_mul_ps(*scale, _mm256_set1_ps(fv_packed_bias(type)));
}

/* Eight integer dot products over `count` steps, exact, as floats. */
typedef __m256 packed_dot_fn(fv_packed_type type, size_t count, const __m256i *steps, const int8_t *x);

enum { PACKED_TOKENS = 4 }; /* that share unpacked weights */

/* How far ahead bytes of weights are asked for: further, L1 loses them again; nearer, the hardware alone is as fast. */
enum { PACKED_AHEAD = 8192 };

/* Asks for `bytes` that lie ahead of a group's. There need not be any. */
INLINE void packed_ask(const uint8_t *ahead, size_t bytes) {
    for (size_t line = 0; line < bytes; line += 64) _mm_prefetch((const char *)ahead + line, _MM_HINT_T0);
}

/* `tokens` rows with eight packed ones; `dot_of` is inlined. */
INLINE void packed_eight(fv_packed_type type, packed_dot_fn *dot_of, size_t tokens, size_t columns,
                         const uint8_t *block, const fv_q8_rows *x, float *out, size_t out_stride) {
    const size_t groups = fv_packed_block_values(type) / 32, scales = fv_packed_by_16(type) ? 2 : 1;
    const size_t share = fv_packed_block_bytes(type) / groups; /* of a block, per group */
    const float *sums = fv_packed_by_16(type) ? x->sum16 : x->sum32;
    __m256 a[PACKED_TOKENS], b[PACKED_TOKENS];
    for (size_t t = 0; t < tokens; t++) a[t] = b[t] = _mm256_setzero_ps();
    for (size_t first = 0; first < columns / 32; first += groups, block += fv_packed_block_bytes(type)) {
        packed_header header;
        packed_header_load(type, block, &header);
        for (size_t g = 0; g < groups; g++) {
            if (tokens == 1) packed_ask(block + g * share + PACKED_AHEAD, share);
            __m256i steps[8];
            packed_steps(type, block + fv_packed_header_bytes(type) + g * fv_packed_group_bytes(type), steps);
            for (size_t half = 0; half < scales; half++) {
                __m256 scale, offset;
                packed_scales(type, block, &header, g * scales + half, &scale, &offset);
                for (size_t t = 0; t < tokens; t++) {
                    size_t i = t * (columns / 32) + first + g;
                    __m256 dot = dot_of(type, 8 / scales, steps + 4 * half, x->quants + 32 * i + 16 * half);
                    a[t] = _mm256_fmadd_ps(dot, _mm256_mul_ps(scale, _mm256_broadcast_ss(x->scale + i)), a[t]);
                    b[t] = _mm256_fmadd_ps(offset, _mm256_broadcast_ss(sums + i * scales + half), b[t]);
                }
            }
        }
    }
    for (size_t t = 0; t < tokens; t++) _mm256_storeu_ps(out + t * out_stride, _mm256_add_ps(a[t], b[t]));
}

/* One row with all the packed ones. */
INLINE void packed_single(fv_packed_type type, packed_dot_fn *dot_of, size_t columns, size_t eights, const void *packed,
                          const fv_q8_rows *x, float *out) {
    const size_t bytes = columns / fv_packed_block_values(type) * fv_packed_block_bytes(type);
    const uint8_t *eight = (const uint8_t *)packed;
    for (size_t e = 0; e < eights; e++, eight += bytes, out += FV_PACKED_ROWS)
        packed_eight(type, dot_of, 1, columns, eight, x, out, 0);
}

/* How many of `left` tokens are next: blocks are as even as can be, so that none is left alone. */
INLINE size_t packed_some(size_t left) {
    size_t blocks = (left + PACKED_TOKENS - 1) / PACKED_TOKENS;
    return (left + blocks - 1) / blocks;
}

/* Two rows and more with all the packed ones; each size of block is compiled by itself. */
INLINE void packed_product(fv_packed_type type, packed_dot_fn *dot_of, size_t columns, size_t eights,
                           const void *packed, size_t tokens, const fv_q8_rows *x, float *out, size_t out_stride) {
    const size_t bytes = columns / fv_packed_block_values(type) * fv_packed_block_bytes(type);
    const uint8_t *eight = (const uint8_t *)packed;
    for (size_t e = 0; e < eights; e++, eight += bytes, out += FV_PACKED_ROWS)
        for (size_t t = 0, some; t < tokens; t += some) {
            fv_q8_rows from = fv_q8_rows_from(x, columns, t);
            some = packed_some(tokens - t);
            if (some == 4)
                packed_eight(type, dot_of, 4, columns, eight, &from, out + t * out_stride, out_stride);
            else if (some == 3)
                packed_eight(type, dot_of, 3, columns, eight, &from, out + t * out_stride, out_stride);
            else
                packed_eight(type, dot_of, 2, columns, eight, &from, out + t * out_stride, out_stride);
        }
}

#endif
