/* AVX2. The rotation of keys and queries, and a rotated query as integers and tables. Limit: loads and stores of the
 * butterflies, three for two additions. */
#include "kernels/avx2/lanes_avx2.h"
#include "kernels/kernels.h"
#include "numeric/half.h"
#include <float.h>
#include <immintrin.h>
#include <stdbool.h>

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
    for (size_t c = 0; c < dim; c += 8)
        _mm256_storeu_ps(x + c, butterfly8(_mm256_xor_ps(_mm256_loadu_ps(x + c), signs8(c))));
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
            _mm256_storeu_ps(part + c, _mm256_mul_ps(_mm256_loadu_ps(part + c), _mm256_set1_ps(fv_rotate_norms[log])));
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
            _mm256_storeu_ps(part + c, _mm256_mul_ps(_mm256_loadu_ps(part + c), _mm256_set1_ps(fv_rotate_norms[log])));
        done += piece;
    }
}

/* Eight whole numbers as bytes. */
INLINE __m128i narrow8(__m256i x) {
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return _mm_packs_epi16(words, words);
}

/* The tables of channels c..c+15, of which two lie in a register: where a channel's bit is set, the place of the
 * channel among the eight of both, otherwise none. */
INLINE void tables16(__m128i coarse, uint8_t *table) {
    const __m256i second = _mm256_setr_epi64x(0, 0, 0x0404040404040404, 0x0404040404040404),
                  none = _mm256_set1_epi8(-1);
    const __m256i bit[4] = {_mm256_set1_epi16((int16_t)0xFF00), _mm256_set1_epi32((int32_t)0xFFFF0000),
                            _mm256_set1_epi64x((int64_t)0xFFFFFFFF00000000), _mm256_setr_epi64x(0, -1, 0, -1)};
    __m256i eight = _mm256_broadcastsi128_si256(coarse);
    for (size_t pair = 0; pair < 2; pair++, eight = _mm256_bsrli_epi128(eight, 8)) {
        __m256i sum = _mm256_set1_epi8(4 * FV_COARSE_MOST);
        for (size_t i = 0; i < 4; i++) {
            __m256i place = _mm256_add_epi8(second, _mm256_set1_epi8((char)i));
            place = _mm256_or_si256(place, _mm256_xor_si256(bit[i], none));
            sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(eight, place));
        }
        _mm256_storeu_si256((__m256i *)(void *)(table + 32 * pair), sum);
    }
}

float fv_shadow_query_avx2(size_t dim, size_t padded, float *x, int8_t *query, uint8_t *table, int32_t *coarse_sum) {
    if (dim % 8 != 0) return fv_shadow_query_scalar(dim, padded, x, query, table, coarse_sum);
    const __m256i magnitude = _mm256_set1_epi32(INT32_MAX);
    __m256i top = _mm256_setzero_si256(), sum = top;
    rotate_row(dim, x);
    for (size_t c = 0; c < dim; c += 8) /* as integers, so that a NaN is larger than all */
        top = _mm256_max_epi32(top, _mm256_and_si256(load(x + c), magnitude));
    float most = fv_f32_from_bits((uint32_t)_mm256_cvtsi256_si32(spread_max(top)));
    bool fit = most > 0.0f && most <= FLT_MAX;
    __m256 inverse = _mm256_set1_ps(fit ? 127.0f / most : 0.0f),
           coarse_inverse = _mm256_set1_ps(fit ? (float)FV_COARSE_MOST / most : 0.0f);
    for (size_t c = 0; c < padded; c += 16) {
        __m128i rounded[2] = {_mm_setzero_si128(), _mm_setzero_si128()}, coarse[2] = {rounded[0], rounded[0]};
        for (size_t i = 0; fit && i < 2 && c + 8 * i < dim; i++) {
            __m256 y = _mm256_loadu_ps(x + c + 8 * i);
            __m256i part = round_held(_mm256_mul_ps(y, coarse_inverse), (float)FV_COARSE_MOST);
            rounded[i] = narrow8(round_held(_mm256_mul_ps(y, inverse), 127.0f));
            coarse[i] = narrow8(part);
            sum = _mm256_add_epi32(sum, part);
        }
        _mm_storeu_si128((__m128i *)(void *)(query + c), _mm_unpacklo_epi64(rounded[0], rounded[1]));
        tables16(_mm_unpacklo_epi64(coarse[0], coarse[1]), table + 4 * c);
    }
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4E));
    *coarse_sum = _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xB1)));
    return fit ? most : 0.0f;
}
