/* Scores and value sums for few rows, keys and values converted in registers.
 * Limit: memory. A load of 16 elements and its conversion serve all rows of the group; up to 16 chains hide the latency
 * of FMA, so that what is left is the stream from DRAM. The chains are those of the f32 kernels: the same bits. */
#include "kernels/kernels.h"
#include "kernels/q4_layout.h"
#include <immintrin.h>
#include <stdbool.h>

#define INLINE static inline __attribute__((always_inline))

typedef enum element { ELEMENT_F16, ELEMENT_BF16, ELEMENT_Q8, ELEMENT_Q4 } element;

/* A decode walks keys and values in turn, too short a way for the hardware to foresee the next stretch: one line is
 * asked for with each line that is read. Into L2, since L1 is too small to hold it until then. */
enum { AHEAD_BYTES = 8192, LINE_BYTES = 64 };

INLINE void ahead(const unsigned char *at) { _mm_prefetch((const char *)at + AHEAD_BYTES, _MM_HINT_T1); }

INLINE size_t panel_bytes(element type, size_t head_dim) {
    return type == ELEMENT_Q4 ? fv_q4_panel_bytes(head_dim) : 16 * head_dim * (type == ELEMENT_Q8 ? 1 : 2);
}

INLINE size_t row_bytes(element type, size_t head_dim) {
    return type == ELEMENT_Q4 ? fv_q4_row_bytes(head_dim) : head_dim * (type == ELEMENT_Q8 ? 1 : 2);
}

/* -8..7, for a permutation that looks at the low four bits alone. */
INLINE __m512 q4_table(void) { return _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7); }

INLINE __m512 widen16(element type, const unsigned char *x) {
    if (type == ELEMENT_F16) return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)x));
    if (type == ELEMENT_BF16)
        return _mm512_castsi512_ps(
            _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)x)), 16));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)x)));
}

INLINE void score_add(size_t rows, size_t stride, const float *query, __m512 keys, __m512 *sum) {
    for (size_t r = 0; r < rows; r++) sum[r] = _mm512_fmadd_ps(_mm512_set1_ps(query[r * stride]), keys, sum[r]);
}

/* One block of channels of Q4_0: `pairs` pairs of channels from `query` on, and half a pair more if `odd`. */
INLINE void score_q4(size_t rows, size_t pages, size_t page_bytes, size_t pairs, bool odd, const float *query,
                     size_t stride, const unsigned char *scales, const unsigned char *quants, __m512 (*sum)[6]) {
    const __m512 table = q4_table();
    __m512 scale[4];
    for (size_t p = 0; p < pages; p++)
        scale[p] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(scales + p * page_bytes)));
    for (size_t i = 0; i < pairs + odd; i++, query += 2, quants += 16)
        for (size_t p = 0; p < pages; p++) {
            if (i % 4 == 0) ahead(quants + p * page_bytes);
            __m512i both =
                _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(quants + p * page_bytes)));
            score_add(rows, stride, query, _mm512_mul_ps(_mm512_permutexvar_ps(both, table), scale[p]), sum[p]);
            if (i == pairs) continue;
            __m512 high = _mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), table);
            score_add(rows, stride, query + 1, _mm512_mul_ps(high, scale[p]), sum[p]);
        }
}

INLINE void score_simple(element type, size_t rows, size_t pages, size_t page_bytes, size_t head_dim,
                         const float *query, size_t stride, const unsigned char *key, __m512 (*sum)[6]) {
    const size_t step = panel_bytes(type, 1);
    for (size_t c = 0; c < head_dim; c++)
        for (size_t p = 0; p < pages; p++) {
            const unsigned char *at = key + p * page_bytes + c * step;
            if (c * step % LINE_BYTES == 0) ahead(at);
            score_add(rows, stride, query + c, widen16(type, at), sum[p]);
        }
}

/* `rows` x `pages` pages at once. */
INLINE void score_block(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                        size_t query_stride, const unsigned char *key, const float *key_scale, float *score,
                        size_t score_stride) {
    const size_t page_bytes = panel_bytes(type, head_dim);
    __m512 sum[4][6];
    for (size_t p = 0; p < pages; p++)
        for (size_t r = 0; r < rows; r++) sum[p][r] = _mm512_setzero_ps();
    if (type == ELEMENT_Q4) {
        const unsigned char *quants = key + fv_q4_panel_quants(head_dim);
        size_t c = 0;
        for (; c + FV_Q4_VALUES <= head_dim; c += FV_Q4_VALUES)
            score_q4(rows, pages, page_bytes, FV_Q4_VALUES / 2, false, query + c, query_stride, key + c, quants + c * 8,
                     sum);
        if (c < head_dim)
            score_q4(rows, pages, page_bytes, (head_dim - c) / 2, head_dim % 2, query + c, query_stride, key + c,
                     quants + c * 8, sum);
    } else
        score_simple(type, rows, pages, page_bytes, head_dim, query, query_stride, key, sum);
    for (size_t p = 0; p < pages; p++)
        for (size_t r = 0; r < rows; r++) {
            __m512 value = sum[p][r];
            if (type == ELEMENT_Q8) value = _mm512_mul_ps(value, _mm512_loadu_ps(key_scale + 16 * p));
            _mm512_storeu_ps(score + r * score_stride + 16 * p, value);
        }
}

/* `together` pages while they fit, then one at a time. */
INLINE void score_rows(element type, size_t rows, size_t together, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *key, const float *key_scale, float *score,
                       size_t score_stride) {
    const size_t page_bytes = panel_bytes(type, head_dim);
    const unsigned char *panel = key;
    size_t p = 0;
    for (; p + together <= pages; p += together)
        score_block(type, rows, together, head_dim, query, query_stride, panel + p * page_bytes,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
    for (; p < pages; p++)
        score_block(type, rows, 1, head_dim, query, query_stride, panel + p * page_bytes,
                    type == ELEMENT_Q8 ? key_scale + 16 * p : NULL, score + 16 * p, score_stride);
}

INLINE void score_page(element type, size_t rows, size_t pages, size_t head_dim, const float *query,
                       size_t query_stride, const void *key, const float *key_scale, float *score,
                       size_t score_stride) {
    for (; rows >= 6; rows -= 6, query += 6 * query_stride, score += 6 * score_stride)
        score_rows(type, 6, 2, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
    if (rows == 5) score_rows(type, 5, 2, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
    if (rows == 4) score_rows(type, 4, 4, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
    if (rows == 3) score_rows(type, 3, 4, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
    if (rows == 2) score_rows(type, 2, 4, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
    if (rows == 1) score_rows(type, 1, 4, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
}

void fv_score_page_f16_avx512(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                              const void *key, const float *key_scale, float *score, size_t score_stride) {
    score_page(ELEMENT_F16, rows, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
}

void fv_score_page_bf16_avx512(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                               const void *key, const float *key_scale, float *score, size_t score_stride) {
    score_page(ELEMENT_BF16, rows, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
}

void fv_score_page_q8_avx512(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                             const void *key, const float *key_scale, float *score, size_t score_stride) {
    score_page(ELEMENT_Q8, rows, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
}

void fv_score_page_q4_avx512(size_t rows, size_t pages, size_t head_dim, const float *query, size_t query_stride,
                             const void *key, const float *key_scale, float *score, size_t score_stride) {
    score_page(ELEMENT_Q4, rows, pages, head_dim, query, query_stride, key, key_scale, score, score_stride);
}

/* Two vectors of a block of Q4_0 from its 18 bytes. */
INLINE void q4_block(const unsigned char *block, __m512 *low, __m512 *high) {
    const __m512 table = q4_table();
    __m512 scale = _mm512_cvtph_ps(_mm256_set1_epi16((short)(block[0] | block[1] << 8)));
    __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(block + 2)));
    *low = _mm512_mul_ps(_mm512_permutexvar_ps(both, table), scale);
    *high = _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), table), scale);
}

/* `vectors` vectors of a row from channel `first` on; `last` masks the last one's channels. */
INLINE void row_widen(element type, size_t vectors, const unsigned char *row, size_t first, __mmask16 last,
                      __m512 *value) {
    if (type == ELEMENT_Q4) {
        for (size_t j = 0; j < vectors; j += 2) {
            __m512 beyond, *high = j + 1 < vectors ? value + j + 1 : &beyond;
            q4_block(row + (first + 16 * j) / FV_Q4_VALUES * FV_Q4_BYTES, value + j, high);
        }
        return;
    }
    const size_t bytes = row_bytes(type, 1);
    for (size_t j = 0; j < vectors; j++) {
        const unsigned char *at = row + (first + 16 * j) * bytes;
        if (j + 1 < vectors || last == 0xFFFF) {
            value[j] = widen16(type, at);
        } else {
            unsigned char held[32];
            if (type == ELEMENT_Q8)
                _mm_storeu_si128((__m128i *)(void *)held, _mm_maskz_loadu_epi8(last, at));
            else
                _mm256_storeu_si256((__m256i *)(void *)held, _mm256_maskz_loadu_epi16(last, at));
            value[j] = widen16(type, held);
        }
    }
}

/* rows x (16 * vectors) channels, from channel `first` on. */
INLINE void value_block(element type, size_t rows, size_t vectors, size_t first, __mmask16 last, size_t head_dim,
                        size_t keys, const float *weight, size_t weight_stride, const unsigned char *value, float *out,
                        size_t out_stride) {
    const size_t bytes = row_bytes(type, head_dim);
    __m512 sum[24], v[8];
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            sum[r * vectors + j] =
                _mm512_maskz_loadu_ps(j + 1 < vectors ? 0xFFFF : last, out + r * out_stride + first + 16 * j);
    for (size_t t = 0; t < keys; t++, value += bytes) {
        const unsigned char *at =
            value + (type == ELEMENT_Q4 ? first / FV_Q4_VALUES * FV_Q4_BYTES : row_bytes(type, first));
        for (size_t i = 0; i < vectors * row_bytes(type, 32) / 2; i += LINE_BYTES) ahead(at + i);
        row_widen(type, vectors, value, first, last, v);
        for (size_t r = 0; r < rows; r++) {
            __m512 w = _mm512_set1_ps(weight[r * weight_stride + t]);
            for (size_t j = 0; j < vectors; j++) sum[r * vectors + j] = _mm512_fmadd_ps(w, v[j], sum[r * vectors + j]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < vectors; j++)
            _mm512_mask_storeu_ps(out + r * out_stride + first + 16 * j, j + 1 < vectors ? 0xFFFF : last,
                                  sum[r * vectors + j]);
}

/* `wide` vectors while they fit, then fewer, two of them a block of Q4_0, then one, or the masked rest. */
INLINE void value_rows(element type, size_t rows, size_t wide, size_t head_dim, size_t keys, const float *weight,
                       size_t weight_stride, const void *value, float *out, size_t out_stride) {
    size_t c = 0;
    for (; wide == 8 && c + 128 <= head_dim; c += 128)
        value_block(type, rows, 8, c, 0xFFFF, head_dim, keys, weight, weight_stride, value, out, out_stride);
    for (; c + 64 <= head_dim; c += 64)
        value_block(type, rows, 4, c, 0xFFFF, head_dim, keys, weight, weight_stride, value, out, out_stride);
    for (; c + 16 < head_dim; c += 32) {
        __mmask16 last = head_dim - c >= 32 ? 0xFFFF : (__mmask16)((1u << (head_dim - c - 16)) - 1);
        value_block(type, rows, 2, c, last, head_dim, keys, weight, weight_stride, value, out, out_stride);
    }
    if (c < head_dim) {
        __mmask16 last = head_dim - c >= 16 ? 0xFFFF : (__mmask16)((1u << (head_dim - c)) - 1);
        value_block(type, rows, 1, c, last, head_dim, keys, weight, weight_stride, value, out, out_stride);
    }
}

INLINE void value_sum(element type, size_t rows, size_t head_dim, size_t keys, const float *weight,
                      size_t weight_stride, const void *value, float *out, size_t out_stride) {
    for (; rows >= 6; rows -= 6, weight += 6 * weight_stride, out += 6 * out_stride)
        value_rows(type, 6, 4, head_dim, keys, weight, weight_stride, value, out, out_stride);
    if (rows == 5) value_rows(type, 5, 4, head_dim, keys, weight, weight_stride, value, out, out_stride);
    if (rows == 4) value_rows(type, 4, 4, head_dim, keys, weight, weight_stride, value, out, out_stride);
    if (rows == 3) value_rows(type, 3, 4, head_dim, keys, weight, weight_stride, value, out, out_stride);
    if (rows == 2) value_rows(type, 2, 8, head_dim, keys, weight, weight_stride, value, out, out_stride);
    if (rows == 1) value_rows(type, 1, 8, head_dim, keys, weight, weight_stride, value, out, out_stride);
}

void fv_value_sum_f16_avx512(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                             const void *value, float *out, size_t out_stride) {
    value_sum(ELEMENT_F16, rows, head_dim, keys, weight, weight_stride, value, out, out_stride);
}

void fv_value_sum_bf16_avx512(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                              const void *value, float *out, size_t out_stride) {
    value_sum(ELEMENT_BF16, rows, head_dim, keys, weight, weight_stride, value, out, out_stride);
}

void fv_value_sum_q8_avx512(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                            const void *value, float *out, size_t out_stride) {
    value_sum(ELEMENT_Q8, rows, head_dim, keys, weight, weight_stride, value, out, out_stride);
}

void fv_value_sum_q4_avx512(size_t rows, size_t head_dim, size_t keys, const float *weight, size_t weight_stride,
                            const void *value, float *out, size_t out_stride) {
    value_sum(ELEMENT_Q4, rows, head_dim, keys, weight, weight_stride, value, out, out_stride);
}

void fv_widen_bf16_avx512(size_t n, const uint16_t *x, float *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) _mm512_storeu_ps(out + i, widen16(ELEMENT_BF16, (const unsigned char *)(x + i)));
    for (; i < n; i++) {
        __m128i bits = _mm_slli_epi32(_mm_cvtsi32_si128(x[i]), 16);
        _mm_store_ss(out + i, _mm_castsi128_ps(bits));
    }
}

void fv_widen_panel_q4_avx512(size_t pages, size_t head_dim, const void *x, float *out) {
    const __m512 table = q4_table();
    for (size_t p = 0; p < pages; p++) {
        const unsigned char *panel = (const unsigned char *)x + p * fv_q4_panel_bytes(head_dim);
        const unsigned char *quants = panel + fv_q4_panel_quants(head_dim);
        for (size_t c = 0; c < head_dim; c += 2, quants += 16, out += 16) {
            __m512 scale =
                _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(panel + c / FV_Q4_VALUES * 32)));
            __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)quants));
            _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_permutexvar_ps(both, table), scale));
            if (c + 1 == head_dim) continue;
            out += 16;
            _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), table), scale));
        }
    }
}

void fv_widen_rows_q4_avx512(size_t rows, size_t head_dim, const void *x, float *out) {
    for (size_t r = 0; r < rows; r++, out += head_dim) {
        const unsigned char *block = (const unsigned char *)x + r * fv_q4_row_bytes(head_dim);
        for (size_t c = 0; c < head_dim; c += FV_Q4_VALUES, block += FV_Q4_BYTES) {
            __m512 low, high;
            size_t n = head_dim - c;
            q4_block(block, &low, &high);
            _mm512_mask_storeu_ps(out + c, n >= 16 ? 0xFFFF : (__mmask16)((1u << n) - 1), low);
            if (n > 16) _mm512_mask_storeu_ps(out + c + 16, n >= 32 ? 0xFFFF : (__mmask16)((1u << (n - 16)) - 1), high);
        }
    }
}
