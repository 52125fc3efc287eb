/* Limit: byte multiply-adds. 8 rows x 4 inputs fill one register; unsigned 4-bit weights times int8 may be summed eight
 * deep in 16 bits (8 * 2 * 15 * 127 = 30,480), 5-bit four deep, 6-bit two deep, so that widening is rare. */
#include "kernels/avx2/exp_avx2.h"
#include "kernels/avx2/packed_avx2.h"
#include "kernels/avx2/panel_avx2.h"
#include "kernels/kernels.h"
#include <immintrin.h>

/* The largest of eight magnitudes, in the order of their bits. */
INLINE float max_bits8(__m256i x) {
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

void fv_quantize_q8_avx2(size_t n, const float *x, int8_t *quants, float *scale, float *sum16, float *sum32) {
    const __m256 sign = _mm256_set1_ps(-0.0f), top = _mm256_set1_ps(127.0f), bottom = _mm256_set1_ps(-127.0f);
    for (size_t b = 0; b < n / 32; b++, x += 32, quants += 32) {
        __m256 v[4];
        __m256i best = _mm256_setzero_si256();
        for (size_t j = 0; j < 4; j++) {
            v[j] = _mm256_loadu_ps(x + 8 * j);
            best = _mm256_max_epi32(_mm256_castps_si256(_mm256_andnot_ps(sign, v[j])), best); /* a NaN is the largest */
        }
        float step = max_bits8(best) / 127.0f, inverse = step > 0.0f ? 1.0f / step : 0.0f;
        if (!(inverse <= 3.402823466e38f)) inverse = 0.0f;
        __m256i q[4];
        for (size_t j = 0; j < 4; j++) {
            __m256 y = _mm256_mul_ps(v[j], _mm256_set1_ps(inverse));
            y = _mm256_and_ps(y, _mm256_cmp_ps(y, y, _CMP_ORD_Q));
            q[j] = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(y, bottom), top));
        }
        __m256i first = _mm256_add_epi32(q[0], q[1]), second = _mm256_add_epi32(q[2], q[3]);
        __m256i both = _mm256_hadd_epi32(first, second); /* [f f s s | f f s s] */
        __m128i low = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
        int32_t half0 = _mm_extract_epi32(low, 0) + _mm_extract_epi32(low, 1);
        int32_t half1 = _mm_extract_epi32(low, 2) + _mm_extract_epi32(low, 3);
        __m256i words0 = _mm256_packs_epi32(q[0], q[1]), words1 = _mm256_packs_epi32(q[2], q[3]);
        __m256i bytes = _mm256_packs_epi16(words0, words1);
        bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)(void *)quants, bytes);
        scale[b] = step;
        sum16[2 * b] = step * (float)half0;
        sum16[2 * b + 1] = step * (float)half1;
        sum32[b] = step * (float)(half0 + half1);
    }
}

/* 8 x 8 transpose of dwords: row r of `in` has 32 bytes of weight row r; column k becomes panel step k. */
INLINE void transpose8(const __m256i in[8], __m256i out[8]) {
    __m256i a[8], b[8];
    for (size_t i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
    }
    for (size_t i = 0; i < 2; i++) {
        b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    for (size_t i = 0; i < 4; i++) {
        out[i] = _mm256_permute2x128_si256(b[i], b[4 + i], 0x20);
        out[4 + i] = _mm256_permute2x128_si256(b[i], b[4 + i], 0x31);
    }
}

void fv_panel_pack_avx2(size_t columns, size_t groups, const uint8_t *quants, const float *scale, const float *offset,
                        uint8_t *out_quants, float *out_scale, float *out_offset) {
    for (size_t c = 0; c < columns; c += 32, out_quants += 32 * FV_PANEL_ROWS) {
        __m256i in[8], out[8];
        for (size_t r = 0; r < 8; r++)
            in[r] = _mm256_loadu_si256((const __m256i *)(const void *)(quants + r * columns + c));
        transpose8(in, out);
        for (size_t k = 0; k < 8; k++)
            _mm256_storeu_si256((__m256i *)(void *)(out_quants + k * 4 * FV_PANEL_ROWS), out[k]);
    }
    for (size_t g = 0; g < groups; g++)
        for (size_t r = 0; r < 8; r++) {
            out_scale[g * FV_PANEL_ROWS + r] = scale[r * groups + g];
            out_offset[g * FV_PANEL_ROWS + r] = offset[r * groups + g];
        }
}

/* Sums stay in the order that they are written in: else gcc keeps products waiting, for a balanced tree, and spills. */
INLINE void words_add(__m256i *sum, __m256i product) {
    *sum = _mm256_add_epi16(*sum, product);
    __asm__("" : "+x"(*sum));
}

/* words[token][vector] of four inputs at a time, all the panel's rows: `deep` steps are summed in 16 bits. */
INLINE void dot_words(size_t tokens, size_t deep, size_t columns, const uint8_t *w, const int8_t *x, __m256i *words) {
#pragma GCC unroll 8
    for (size_t k = 0; k < deep; k++) {
        __m256i four[PANEL_TOKENS];
        for (size_t t = 0; t < tokens; t++) four[t] = broadcast4(x + t * columns + 4 * k);
        for (size_t v = 0; v < PANEL_VECTORS; v++) {
            __m256i step = load32(w + k * 4 * FV_PANEL_ROWS + 32 * v);
            for (size_t t = 0; t < tokens; t++) {
                __m256i product = _mm256_maddubs_epi16(step, four[t]);
                if (k == 0)
                    words[t * PANEL_VECTORS + v] = product;
                else
                    words_add(&words[t * PANEL_VECTORS + v], product);
            }
        }
    }
}

/* Full bytes have a bias of 128: it is taken off, |w| * sign(x, w) fits 16 bits twice, and the bias times the sum of x
 * is added back. */
INLINE void dot_bytes(size_t tokens, size_t columns, const uint8_t *w, const int8_t *x, __m256i *dot) {
    const __m256i ones = _mm256_set1_epi16(1), bias = _mm256_set1_epi8((char)0x80);
    for (size_t t = 0; t < tokens; t++) {
        __m256i shift = _mm256_setzero_si256();
        for (size_t k = 0; k < 8; k++)
            shift = _mm256_add_epi32(
                shift, _mm256_madd_epi16(_mm256_maddubs_epi16(bias, broadcast4(x + t * columns + 4 * k)), ones));
        for (size_t v = 0; v < PANEL_VECTORS; v++) dot[t * PANEL_VECTORS + v] = shift;
    }
#pragma GCC unroll 1
    for (size_t k = 0; k < 8; k++)
        for (size_t v = 0; v < PANEL_VECTORS; v++) {
            __m256i step = _mm256_xor_si256(load32(w + k * 4 * FV_PANEL_ROWS + 32 * v), bias);
            __m256i magnitude = _mm256_abs_epi8(step);
            for (size_t t = 0; t < tokens; t++) {
                __m256i product =
                    _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(broadcast4(x + t * columns + 4 * k), step));
                dot[t * PANEL_VECTORS + v] =
                    _mm256_add_epi32(dot[t * PANEL_VECTORS + v], _mm256_madd_epi16(product, ones));
            }
        }
}

INLINE void dot_deep(size_t tokens, size_t group, size_t deep, size_t columns, const uint8_t *w, const int8_t *x,
                     __m256i *dot) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i words[2 * PANEL_VECTORS];
    dot_words(tokens, deep, columns, w, x, words);
    for (size_t i = 0; i < tokens * PANEL_VECTORS; i++) dot[i] = _mm256_madd_epi16(words[i], ones);
    for (size_t first = deep; first < group / 4; first += deep) {
        dot_words(tokens, deep, columns, w + first * 4 * FV_PANEL_ROWS, x + 4 * first, words);
        for (size_t i = 0; i < tokens * PANEL_VECTORS; i++)
            dot[i] = _mm256_add_epi32(dot[i], _mm256_madd_epi16(words[i], ones));
    }
}

/* `deep` steps are summed in 16 bits before widening, 0 = none (8-bit weights). */
INLINE void panel_dots(size_t tokens, size_t group, size_t deep, size_t columns, const uint8_t *w, const int8_t *x,
                       __m256i *dot) {
    if (deep == 0)
        dot_bytes(tokens, columns, w, x, dot);
    else
        dot_deep(tokens, group, deep, columns, w, x, dot);
}

/* Each in a function of its own: together they would share registers badly. */
#define PANEL(name, ...) \
    static __attribute__((noinline)) void name(size_t columns, size_t tokens, const fv_panel *panel, \
                                               const fv_q8_rows *x, float *out, size_t out_stride) { \
        panel_product(panel_dots, 2, __VA_ARGS__, columns, tokens, panel, x, out, out_stride); \
    }
PANEL(product_u4, 32, 8)
PANEL(product_u5, 32, 4)
PANEL(product_u8, 32, 0)
PANEL(product_u6, 16, 2)

void fv_product_panel_avx2(size_t columns, size_t tokens, const fv_panel *panel, const fv_q8_rows *x, float *out,
                           size_t out_stride) {
    if (panel->group == 16)
        product_u6(columns, tokens, panel, x, out, out_stride);
    else if (panel->largest <= 15)
        product_u4(columns, tokens, panel, x, out, out_stride);
    else if (panel->largest <= 31)
        product_u5(columns, tokens, panel, x, out, out_stride);
    else
        product_u8(columns, tokens, panel, x, out, out_stride);
}
