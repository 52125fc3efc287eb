/* packed_sixteen_avx512.h - a few tokens with sixteen packed rows, two eights side by side. A register holds two steps
 * of an eight: half as many loads and operations for a weight as with eight lanes. The next two eights are asked for
 * while these are multiplied; by itself the hardware follows two short streams badly. */
#ifndef FV_PACKED_SIXTEEN_AVX512_H
#define FV_PACKED_SIXTEEN_AVX512_H

#include "kernels/avx2/packed_avx2.h"

enum { SIXTEEN_EIGHTS = 2, SIXTEEN_STEPS = 4 /* registers of a group */ };

INLINE __m512i halves(int low, int high) {
    return _mm512_inserti64x4(_mm512_set1_epi32(low), _mm256_set1_epi32(high), 1);
}

INLINE __m512i twice(const uint8_t *bytes) { return _mm512_broadcast_i64x4(load32(bytes)); }

/* Bits of `mask` that lie `left` places further down, and one step on `left - less`; or'ed to `step`. */
INLINE __m512i bits_added(__m512i step, __m512i bytes, int left, int less, int mask) {
    __m512i turned = _mm512_rolv_epi32(bytes, halves(left & 31, (left - less) & 31));
    return _mm512_or_si512(step, _mm512_and_si512(turned, _mm512_set1_epi8((char)mask)));
}

/* Steps 2 j and 2 j + 1 of the eight rows, unsigned. */
INLINE __m512i sixteen_step(fv_packed_type type, const uint8_t *bytes, int j) {
    if (type == FV_PACKED_Q8_0) return _mm512_loadu_si512(bytes + 64 * j);
    if (fv_packed_is_pairs(type)) {
        __m512i pair = bits_added(_mm512_setzero_si512(), twice(bytes + 32 * (j / 2)), -4 * (j % 2), 2, 3);
        if (type == FV_PACKED_Q2_K) return pair;
        return bits_added(pair, twice(bytes + FV_PACKED_Q3_K_THIRDS), 2 - 2 * j, 1, 4);
    }
    __m512i both = _mm512_loadu_si512(bytes + 64 * (j % 2));
    __m512i step = _mm512_and_si512(j < 2 ? both : _mm512_srli_epi16(both, 4), _mm512_set1_epi8(15));
    if (fv_packed_lookup(type))
        step = _mm512_shuffle_epi8(
            _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)fv_packed_lookup(type))), step);
    if (fv_packed_has_fifths(type)) step = bits_added(step, twice(bytes + 128), 4 - 2 * j, 1, 0x10);
    if (type == FV_PACKED_Q6_K) step = bits_added(step, twice(bytes + 128 + 32 * (j / 2)), 4 - 4 * (j % 2), 2, 0x30);
    return step;
}

/* Four inputs in each lane: those of step 2 j, then of 2 j + 1. */
INLINE void sixteen_inputs(const int8_t *x, __m512i four[SIXTEEN_STEPS]) {
    __m512i all = _mm512_castsi256_si512(load32(x));
    for (int j = 0; j < SIXTEEN_STEPS; j++) four[j] = _mm512_permutexvar_epi32(halves(2 * j, 2 * j + 1), all);
}

/* Steps first .. first + count - 1 of both eights, in one register of sixteen rows. */
INLINE __m512 sixteen_dot(size_t first, size_t count, __m512i step[SIXTEEN_EIGHTS][SIXTEEN_STEPS],
                          const __m512i four[SIXTEEN_STEPS]) {
    __m512i dot[SIXTEEN_EIGHTS];
    for (size_t e = 0; e < SIXTEEN_EIGHTS; e++) {
        dot[e] = _mm512_setzero_si512();
        for (size_t j = first; j < first + count; j++) dot[e] = _mm512_dpbusd_epi32(dot[e], step[e][j], four[j]);
    }
    __m512 first_eight = _mm512_castsi512_ps(dot[0]), second_eight = _mm512_castsi512_ps(dot[1]);
    __m512i low = _mm512_castps_si512(_mm512_shuffle_f32x4(first_eight, second_eight, 0x44));
    __m512i high = _mm512_castps_si512(_mm512_shuffle_f32x4(first_eight, second_eight, 0xEE));
    return _mm512_cvtepi32_ps(_mm512_add_epi32(low, high));
}

INLINE __m512 sixteen_floats(__m256 first, __m256 second) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(first), second, 1);
}

INLINE __m128i bytes_of_both(const uint8_t *first, const uint8_t *second) {
    return _mm_unpacklo_epi64(load8(first), load8(second));
}

typedef struct sixteen_header {
    packed_header eight[SIXTEEN_EIGHTS];
    __m512 scale, minimum;
} sixteen_header;

INLINE void sixteen_header_load(fv_packed_type type, const uint8_t *const block[SIXTEEN_EIGHTS],
                                sixteen_header *header) {
    for (size_t e = 0; e < SIXTEEN_EIGHTS; e++) packed_header_load(type, block[e], &header->eight[e]);
    header->scale = sixteen_floats(header->eight[0].scale, header->eight[1].scale);
    if (fv_packed_has_minima(type) || type == FV_PACKED_Q2_K || type == FV_PACKED_Q4_K || type == FV_PACKED_Q5_K)
        header->minimum = sixteen_floats(header->eight[0].minimum, header->eight[1].minimum);
}

/* packed_scales() of both eights. */
INLINE void sixteen_scales(fv_packed_type type, const uint8_t *const block[SIXTEEN_EIGHTS],
                           const sixteen_header *header, size_t group, __m512 *scale, __m512 *offset) {
    const packed_header *eight = header->eight;
    *scale = header->scale;
    if (type == FV_PACKED_Q6_K || type == FV_PACKED_IQ4_XS || type == FV_PACKED_Q3_K) {
        __m128i steps = type == FV_PACKED_Q6_K
                            ? bytes_of_both(block[0] + 16 + 8 * group, block[1] + 16 + 8 * group)
                            : bytes_of_both(eight[0].scales + 8 * group, eight[1].scales + 8 * group);
        *scale = _mm512_mul_ps(header->scale, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(steps)));
    }
    if (type == FV_PACKED_Q2_K) {
        size_t place = FV_PACKED_Q2_K_SCALES + 8 * group;
        __m512i both = _mm512_cvtepu8_epi32(bytes_of_both(block[0] + place, block[1] + place));
        *scale = _mm512_mul_ps(header->scale, _mm512_cvtepi32_ps(_mm512_and_si512(both, _mm512_set1_epi32(15))));
        *offset = _mm512_mul_ps(header->minimum, _mm512_cvtepi32_ps(_mm512_srli_epi32(both, 4)));
    } else if (type == FV_PACKED_Q4_K || type == FV_PACKED_Q5_K) {
        __m128i scales = bytes_of_both(eight[0].scales + 8 * group, eight[1].scales + 8 * group);
        __m128i minima = bytes_of_both(eight[0].minima + 8 * group, eight[1].minima + 8 * group);
        *scale = _mm512_mul_ps(header->scale, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(scales)));
        *offset = _mm512_mul_ps(header->minimum, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(minima)));
    } else if (fv_packed_has_minima(type))
        *offset = header->minimum;
    else
        *offset = _mm512_mul_ps(*scale, _mm512_set1_ps(fv_packed_bias(type)));
}

/* `tokens` rows with two eights, `bytes` apart. */
INLINE void sixteen_product(fv_packed_type type, size_t tokens, size_t columns, const uint8_t *eight, size_t bytes,
                            const fv_q8_rows *x, float *out, size_t out_stride) {
    const size_t groups = fv_packed_block_values(type) / 32, scales = fv_packed_by_16(type) ? 2 : 1;
    const float *sums = fv_packed_by_16(type) ? x->sum16 : x->sum32;
    __m512 a[PACKED_TOKENS], b[PACKED_TOKENS];
    const size_t share = SIXTEEN_EIGHTS * fv_packed_block_bytes(type) / groups; /* of the two eights that follow */
    const uint8_t *next = eight + SIXTEEN_EIGHTS * bytes;
    for (size_t t = 0; t < tokens; t++) a[t] = b[t] = _mm512_setzero_ps();
    for (size_t first = 0; first < columns / 32; first += groups, eight += fv_packed_block_bytes(type)) {
        const uint8_t *const block[SIXTEEN_EIGHTS] = {eight, eight + bytes};
        sixteen_header header;
        sixteen_header_load(type, block, &header);
        for (size_t g = 0; g < groups; g++) {
            packed_ask(next, share);
            next += share;
            size_t place = fv_packed_header_bytes(type) + g * fv_packed_group_bytes(type);
            __m512i step[SIXTEEN_EIGHTS][SIXTEEN_STEPS], four[PACKED_TOKENS][SIXTEEN_STEPS];
            for (size_t e = 0; e < SIXTEEN_EIGHTS; e++)
                for (int j = 0; j < SIXTEEN_STEPS; j++) step[e][j] = sixteen_step(type, block[e] + place, j);
            for (size_t t = 0; t < tokens; t++) sixteen_inputs(x->quants + t * columns + 32 * (first + g), four[t]);
            for (size_t half = 0; half < scales; half++) {
                __m512 scale, offset;
                sixteen_scales(type, block, &header, g * scales + half, &scale, &offset);
                for (size_t t = 0; t < tokens; t++) {
                    size_t i = t * (columns / 32) + first + g;
                    __m512 dot = sixteen_dot(SIXTEEN_STEPS / scales * half, SIXTEEN_STEPS / scales, step, four[t]);
                    a[t] = _mm512_fmadd_ps(dot, _mm512_mul_ps(scale, _mm512_set1_ps(x->scale[i])), a[t]);
                    b[t] = _mm512_fmadd_ps(offset, _mm512_set1_ps(sums[i * scales + half]), b[t]);
                }
            }
        }
    }
    for (size_t t = 0; t < tokens; t++) _mm512_storeu_ps(out + t * out_stride, _mm512_add_ps(a[t], b[t]));
}

#endif
